// Fewer stops of the Tab key: tabs are one, so is the head of the page, within which the arrow keys move; and of a slider, which has a field
// for its number, the field alone.
(() => {
    const GROUPS = [["[role=tablist]", "[role=tab]"], ["#studio-head", "#demo-start, #tour-start, #head-switches select"]];
    const STEPS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    const membersOf = (group, selector) => [...group.querySelectorAll(selector)].filter((one) => one.getClientRects().length);

    function look() {
        for (const [groups, selector] of GROUPS) {
            for (const group of document.querySelectorAll(groups)) {
                const members = membersOf(group, selector);
                const stop = members.find((one) => one === document.activeElement) ?? members.find((one) => one.ariaSelected === "true")
                    ?? members.find((one) => one.tabIndex === 0) ?? members[0];
                for (const one of members) one.tabIndex = one === stop ? 0 : -1;
            }
        }
        const head = document.getElementById("studio-head");
        if (head && !head.role) Object.assign(head, { role: "toolbar", ariaLabel: tr("Help and language") });
        for (const range of document.querySelectorAll("input[type=range]:not([tabindex])")) {
            if (range.closest(".block")?.querySelector("input[type=number]")) range.tabIndex = -1;
        }
    }

    window.addEventListener("keydown", (event) => {
        const { target, key } = event;
        if (!(target instanceof Element) || !(key in STEPS) || event.altKey || event.ctrlKey || event.metaKey) return;
        for (const [groups, selector] of GROUPS) {
            if (!target.matches(selector) || !target.closest(groups)) continue;
            const members = membersOf(target.closest(groups), selector);
            const at = Math.min(members.length - 1, Math.max(0, members.indexOf(target) + STEPS[key]));
            members[at].focus();
            event.preventDefault();
            return;
        }
    }, true);

    let waiting = 0;
    const soon = () => { waiting ||= setTimeout(() => { waiting = 0; look(); }, 100); };
    new MutationObserver(soon).observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ["aria-selected"] });
    document.addEventListener("focusin", soon);
    window.addEventListener("resize", soon);
})();
