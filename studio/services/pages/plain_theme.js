// Light or dark, as the address asks ("__theme"), else as was chosen in the studio (page/theme.js), else as the system is set.
(() => {
    let theme = new URLSearchParams(location.search).get("__theme");
    try {
        theme ??= localStorage.getItem("alignment-studio-theme");
    } catch {
        // a frame that may keep nothing
    }
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
})();
