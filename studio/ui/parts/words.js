// Words in the page's language: tr("{n} of 3 votes.", {n}) is the sentence of the catalogue, English where it lacks one. The server writes the
// sentences into the page (studioWords). And the switch between languages: what is chosen is remembered by a cookie for a year.
(() => {
    window.tr = (message, fields = {}) => {
        const text = window.studioWords?.[message] ?? message;
        return text.replace(/\{(\w+)\}/g, (place, name) => (name in fields ? fields[name] : place));
    };

    const shown = () => window.studioLanguage ?? document.documentElement.lang;

    document.addEventListener("change", ({ target }) => {
        if (!(target instanceof HTMLSelectElement) || !target.matches("[data-language]")) return;
        // inside another site's frame (a Space) only a cookie for all sites is kept
        const sites = location.protocol === "https:" ? "; SameSite=None; Secure" : "; SameSite=Lax";
        document.cookie = `studio-language=${target.value}; path=/; max-age=31536000${sites}`;
        location.reload();
    });

    function show() {
        for (const box of document.querySelectorAll("select[data-language]")) {
            if (box.value !== shown() && document.activeElement !== box) box.value = shown();
        }
    }
    new MutationObserver(show).observe(document, { childList: true, subtree: true });
    document.addEventListener("DOMContentLoaded", show);
})();
