// Keeps the address true: ?tab=align&run=<id> is the tab and the run (or evaluation, or result of votes) that is shown. What the page
// was opened with, and what the back button leads to, is opened by a hidden button (addresses.py). What is shown says so itself:
// data-run, data-evaluation, data-votes.
(() => {
    const KINDS = ["run", "evaluation", "votes"];
    // until what was asked for is shown; between two times of asking; looks at which it has to be there still: a page that is just
    // being drawn may draw over it what it asked for before
    const PATIENCE_MS = 30000, AGAIN_MS = 4000, LOOKS = 4;
    let seen = null; // the place last looked at
    let wanted = null; // the place that was asked for and is not shown yet
    let touched = false; // until somebody does something, changes are the page's own and no step to go back to

    const same = (a, b) => ["tab", ...KINDS].every((kind) => (a[kind] ?? "") === (b[kind] ?? ""));
    const there = (asked, now) => Object.entries(asked).every(([kind, value]) => !value || now[kind] === value);

    function shown() {
        const tab = document.querySelector("#studio-tabs [role=tab][aria-selected=true]")?.dataset.tabId;
        const place = { tab };
        for (const kind of KINDS) {
            const nodes = [...document.querySelectorAll(`#studio-tabs [data-${kind}]`)];
            place[kind] = nodes.find((node) => node.getClientRects().length)?.dataset[kind] ?? "";
        }
        return tab ? place : null;
    }

    function named() {
        const query = new URLSearchParams(location.search);
        return Object.fromEntries(["tab", ...KINDS].map((name) => [name, query.get(name) ?? ""]).filter(([, value]) => value));
    }

    function address(place) {
        const query = new URLSearchParams(location.search);
        for (const name of ["tab", ...KINDS]) place[name] ? query.set(name, place[name]) : query.delete(name);
        return `${location.pathname}${query.size ? "?" : ""}${query}`;
    }

    function ask(place) {
        wanted = { place, until: Date.now() + PATIENCE_MS, sent: 0, asked: false, looks: 0 };
    }

    function look() {
        const now = shown();
        if (!now) return;
        if (!seen && !wanted && Object.keys(named()).length) ask(named());
        // a page that is just being drawn hears no click yet
        if (wanted) {
            wanted.looks = there(wanted.place, now) ? wanted.looks + 1 : 0;
            if (!wanted.looks && Date.now() - wanted.sent > AGAIN_MS) document.getElementById("open-address")?.click();
            if (wanted.looks < LOOKS && Date.now() < wanted.until) return;
        }
        if (!wanted && seen && same(seen, now)) return;
        // a chat is not undone by going back: Compare is one step, whoever answers there
        const step = seen?.tab !== now.tab || (now.tab !== "compare" && KINDS.some((kind) => seen[kind]));
        if (seen && touched && !wanted && step) history.pushState(now, "", address(now));
        else history.replaceState(now, "", touched || Object.keys(named()).length ? address(now) : location.href);
        seen = now;
        wanted = null;
    }

    window.studioAddress = {
        asked: () => {
            if (wanted) {
                wanted.sent = Date.now();
                if (!wanted.asked) wanted.until = wanted.sent + PATIENCE_MS;
                wanted.asked = true;
            }
            // a click that is heard late, when all is done, opens what is open
            return [new URLSearchParams(wanted?.place ?? { tab: shown()?.tab ?? "" }).toString()];
        },
        refused: () => {
            history.replaceState(null, "", address({}));
            seen ??= {};
            wanted = null;
        },
    };

    async function copy(button) {
        const link = new URL(`?${button.dataset.query}`, location.origin + location.pathname).href;
        try {
            await navigator.clipboard.writeText(link);
            button.textContent = tr("Copied");
        } catch { // no clipboard on plain http beyond this machine
            window.prompt(tr("The link"), link);
        }
        setTimeout(() => { button.textContent = tr("Copy link"); }, 2000);
    }

    // whoever does something meanwhile wants that
    function touch() {
        touched = true;
        if (wanted?.sent) {
            wanted = null;
            seen ??= {};
        }
    }

    for (const kind of ["pointerdown", "keydown"]) window.addEventListener(kind, touch, true);
    window.addEventListener("click", ({ target }) => {
        const button = target instanceof Element && target.closest(".copy-link");
        if (button) copy(button);
    });
    window.addEventListener("popstate", ({ state }) => {
        const place = state ?? named();
        if (!seen || (wanted === null && same(place, seen))) return;
        ask(place.tab === "compare" ? { tab: "compare" } : place);
    });
    setInterval(look, 300);
})();
