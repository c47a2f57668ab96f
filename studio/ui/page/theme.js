// The switch between light and dark. Gradio draws a page as its address asks ("__theme"), else as the system is set: what was chosen goes
// into the address before Gradio looks there.
(() => {
    const KEY = "alignment-studio-theme";
    const address = new URL(location.href);
    let kept = null;
    try {
        kept = localStorage.getItem(KEY);
    } catch {
        // a frame that may keep nothing: the address says it until the page is left
    }
    if (kept && !address.searchParams.has("__theme")) {
        address.searchParams.set("__theme", kept);
        history.replaceState(history.state, "", address);
    }

    document.addEventListener("change", ({ target }) => {
        if (!(target instanceof HTMLSelectElement) || !target.matches("[data-theme-switch]")) return;
        const there = new URL(location.href);
        try {
            target.value ? localStorage.setItem(KEY, target.value) : localStorage.removeItem(KEY);
        } catch {
            // as above
        }
        target.value ? there.searchParams.set("__theme", target.value) : there.searchParams.delete("__theme");
        location.replace(there);
    });

    new MutationObserver((_, observer) => {
        const box = document.querySelector("select[data-theme-switch]");
        if (!box) return;
        observer.disconnect();
        const theme = new URLSearchParams(location.search).get("__theme");
        box.value = theme === "light" || theme === "dark" ? theme : "";
    }).observe(document, { childList: true, subtree: true });
})();
