// The card of the demo and of the tours (steps.js). It points at the page's own buttons, presses them on Next, and waits for what they
// bring about. The browser keeps where the demo was left and which tours were seen.
(() => {
    const KEY = "alignment-studio-guide";
    const { demo, tours, one } = window.studioGuide;
    const buttonOf = (tab) => document.querySelector(`#studio-tabs [role=tab][data-tab-id="${tab}"]`);
    const tabNow = () => document.querySelector("#studio-tabs [role=tab][aria-selected=true]")?.dataset.tabId;
    let card = null; // {name, steps, at, then, waiting}
    let kept = {}; // where the browser keeps nothing, as long as the page is open

    function memory() {
        try { kept = JSON.parse(localStorage.getItem(KEY)) ?? kept; } catch { /* not ours, or no storage */ }
        const at = Number.isInteger(kept?.demo) && demo[kept.demo] ? kept.demo : null;
        return { demo: at, then: kept?.then ?? {}, done: Boolean(kept?.done), tours: { ...kept?.tours } };
    }

    function keep(changes) {
        kept = { ...memory(), ...changes };
        try { localStorage.setItem(KEY, JSON.stringify(kept)); } catch { /* no storage */ }
        label();
    }

    function label() {
        const start = document.getElementById("demo-start"), tour = document.getElementById("tour-start");
        if (!start || !tour) return;
        const known = memory();
        const text = known.demo === null ? tr("Run the demo") : tr("Continue the demo");
        if (start.textContent !== text) start.textContent = text;
        start.classList.toggle("fresh", !known.done);
        tour.classList.toggle("fresh", known.done && !known.tours[tabNow()]);
    }

    // -- the card -------------------------------------------------------------------------------------------------------------

    function element(tag, className, text = "") {
        const node = document.createElement(tag);
        node.className = className;
        node.textContent = text;
        return node;
    }

    function open(name, steps, at, then = {}) {
        close();
        const box = element("section", "guide-card");
        box.setAttribute("role", "dialog");
        box.setAttribute("aria-label", name === "demo" ? tr("Demo") : tr("Tour"));
        const said = element("p", "said"), waits = element("div", "waits"), where = element("span", "where");
        said.setAttribute("aria-live", "polite");
        const leave = element("button", "leave", name === "demo" ? tr("Leave") : tr("Skip")), next = element("button", "next", tr("Next"));
        const row = element("div", "row");
        row.append(where, leave, next);
        box.append(said, waits, row);
        document.body.append(box);
        card = { name, steps, at, then, waiting: false, pressing: false, box, said, waits, where, next };
        leave.onclick = left;
        next.onclick = forward;
        show();
        next.focus({ preventScroll: true });
    }

    function close() {
        card?.box.remove();
        card = null;
        point(null);
        label();
    }

    function show() {
        const step = card.steps[card.at];
        card.waiting = false;
        if (step.before && !step.press) card.then = { ...step.before(), ...card.then };
        step.enter?.forEach((selector) => press(selector));
        if (card.name === "demo") keep({ demo: card.at, then: card.then });
        if (step.tab && tabNow() !== step.tab) buttonOf(step.tab)?.click();
        card.said.textContent = step.say;
        card.where.textContent = `${card.at + 1} / ${card.steps.length}`;
        card.target = null;
        draw();
    }

    function point(node) {
        document.querySelectorAll(".guide-target").forEach((old) => old !== node && old.classList.remove("guide-target"));
        if (!node || node.classList.contains("guide-target")) return;
        node.classList.add("guide-target");
        const { top, bottom, height } = node.getBoundingClientRect();
        const fits = height < window.innerHeight / 2;
        if (top < 0 || (fits ? bottom : top) > window.innerHeight) node.scrollIntoView({ block: fits ? "center" : "start" });
    }

    // Into the first corner that hides none of these; where each hides one, back to its own.
    function aside(...nodes) {
        const shown = nodes.filter(Boolean).map((node) => node.getBoundingClientRect());
        for (const corner of [card.box.className.slice("guide-card ".length), "", "left", "top", "left top"]) {
            card.box.className = `guide-card ${corner}`;
            const here = card.box.getBoundingClientRect();
            if (shown.every((at) => here.right < at.left || here.left > at.right || here.bottom < at.top || here.top > at.bottom)) return;
        }
        card.box.className = "guide-card";
    }

    // Ten times in three seconds: what the step waits for, where it points; the page may have drawn itself anew.
    function draw() {
        if (!card) return;
        const step = card.steps[card.at], node = one(step.at) ?? null;
        if (node !== card.target) point(node);
        card.target = node;
        aside(node, step.clear && one(step.clear));
        // what was refused may be tried again
        if (card.waiting && !card.pressing && one(".toast-body.error")) card.waiting = false;
        const waits = card.waiting || (step.until && !step.press);
        const done = !card.pressing && (!step.until || step.until(card.then));
        const text = waits && !done ? (typeof step.waits === "function" ? step.waits(card.then) : step.waits) : "";
        if (card.waits.textContent !== text) card.waits.textContent = text;
        if (step.back?.()) return to(card.at - 1);
        if (card.waiting && done) return to(card.at + 1);
        card.next.disabled = Boolean(waits && !done);
        card.next.textContent = card.at + 1 === card.steps.length ? tr("Finish") : tr("Next");
    }

    function to(at) {
        if (at < card.steps.length) {
            card.at = at;
            return show();
        }
        keep(card.name === "demo" ? { demo: null, then: {}, done: true } : { tours: { ...memory().tours, [card.name]: true } });
        close();
    }

    // a tour that was skipped counts as seen; the demo goes on where it was left
    function left() {
        if (card.name !== "demo") keep({ tours: { ...memory().tours, [card.name]: true } });
        close();
    }

    async function forward() {
        const step = card.steps[card.at], mine = card;
        if (!step.press) return to(card.at + 1);
        if (step.before) card.then = { ...card.then, ...step.before() };
        keep({ then: card.then });
        card.pressing = card.waiting = true;
        draw();
        for (const selector of step.press) if (!(await press(selector, step.ready?.[selector]))) mine.waiting = false;
        mine.pressing = false;
    }

    // Within thirty seconds, which a page on a busy machine may take to draw a tab; whether it was pressed, or is open already.
    async function press(selector, ready = () => true) {
        for (let tries = 0; tries < 150; tries += 1) {
            const button = one(selector);
            if (button && !button.disabled && ready()) {
                button.click();
                return true;
            }
            if (!button && one(selector.replace(":not(.open)", ".open"))) return true;
            await new Promise((done) => setTimeout(done, 200));
        }
        return false;
    }

    // -- beginning ------------------------------------------------------------------------------------------------------------

    function start({ target }) {
        const id = target instanceof Element && target.closest("#demo-start, #tour-start")?.id;
        const known = memory();
        if (id === "demo-start") open("demo", demo, known.demo ?? 0, known.then);
        const tab = tabNow();
        if (id === "tour-start") open(tab, tours[tab].map(([at, say]) => ({ at, say })), 0);
    }

    window.addEventListener("click", start);
    window.addEventListener("keydown", ({ key, target }) => {
        if (key === "Escape" && card && (target === document.body || card.box.contains(target))) left();
    });
    setInterval(() => { label(); draw(); }, 300);
})();
