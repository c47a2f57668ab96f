// Explains words of the field where they stand (window.studioTerms, of docs/terms.md, in the page's language): in the studio's own sentences the first of each
// in a paragraph is marked and can be reached by the Tab key; a field whose label has one explains it while it is pointed at or used.
// What models and people wrote is left alone.
(() => {
    let terms, word, keys;
    const idOf = (term) => `term-${term.replaceAll(" ", "-")}`;
    const SENTENCES = ".html-container :is(p, li, .quiet), .prose.quiet :is(p, li)";
    const LABELS = "[data-testid='block-info']";
    const NOT_OURS = "a, button, summary, code, pre, svg, dfn, bdi, [dir=auto], .strip, .said, .chat, .cover, .moved-body, .frame";

    const tip = document.createElement("div");
    tip.id = "term-tip";
    tip.setAttribute("aria-hidden", "true"); // what it says is what the word is described by
    tip.hidden = true;
    const sentences = document.createElement("div");
    sentences.hidden = true;

    function markSentence(box) {
        if (box.closest(NOT_OURS)) return;
        const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
        const texts = [];
        while (walker.nextNode()) texts.push(walker.currentNode);
        const marked = new Set([...box.querySelectorAll("dfn.term")].map((one) => one.dataset.term));
        for (let text of texts) {
            if (text.parentElement.closest(NOT_OURS)) continue;
            for (let found = word.exec(text.data); found; found = word.exec(text.data)) {
                const term = keys.get(found[1].toLowerCase());
                const rest = text.splitText(found.index);
                text = rest.splitText(found[1].length);
                if (marked.has(term)) continue;
                marked.add(term);
                const mark = Object.assign(document.createElement("dfn"), { className: "term", tabIndex: 0, textContent: rest.data });
                mark.dataset.term = term;
                mark.setAttribute("aria-describedby", idOf(term));
                rest.replaceWith(mark);
            }
        }
    }

    // a label's text is Gradio's to change: only attributes are set
    function markLabel(label) {
        const found = word.exec(label.textContent);
        const term = found && keys.get(found[1].toLowerCase());
        const box = label.closest(".block");
        if (!term || !box || label.dataset.term === term) return;
        label.dataset.term = term;
        label.classList.add("term");
        for (const field of box.querySelectorAll("input, textarea")) field.setAttribute("aria-describedby", idOf(term));
    }

    function look(root) {
        for (const [selector, mark] of [[SENTENCES, markSentence], [LABELS, markLabel]]) {
            if (root.matches(selector)) mark(root);
            root.querySelectorAll(selector).forEach(mark);
        }
    }

    let shown = null;

    function show(mark) {
        shown = mark;
        tip.textContent = `${mark.dataset.term}: ${terms[mark.dataset.term]}`;
        tip.hidden = false;
        place();
    }

    function place() {
        if (!shown?.isConnected || !shown.getClientRects().length) return hide();
        const at = shown.getBoundingClientRect();
        const { width, height } = tip.getBoundingClientRect();
        tip.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
        tip.style.top = `${at.top > height + 8 ? at.top - height - 6 : at.bottom + 6}px`;
    }

    function hide() {
        shown = null;
        tip.hidden = true;
    }

    const marked = (target) => target instanceof Element
        ? target.closest(".term") ?? (target.matches("input, textarea") ? target.closest(".block")?.querySelector(`${LABELS}.term`) : null)
        : null;

    function start() {
        terms = window.studioTerms;
        // not \b: a Chinese character is no word's to it
        word = new RegExp(`(?<!\\w)(${Object.keys(terms).sort((a, b) => b.length - a.length).join("|")})(?!\\w)`, "i");
        keys = new Map(Object.keys(terms).map((term) => [term.toLowerCase(), term]));
        for (const [term, meaning] of Object.entries(terms)) {
            sentences.append(Object.assign(document.createElement("p"), { id: idOf(term), textContent: `${term}: ${meaning}` }));
        }
        document.body.append(sentences, tip);
        look(document.body);
        new MutationObserver((changes) => {
            const fresh = new Set();
            for (const { addedNodes } of changes) {
                // HTML alone: a chart adds thousands of SVG elements at each drawing
                for (const node of addedNodes) if (node instanceof HTMLElement && !node.matches("dfn.term")) fresh.add(node);
            }
            fresh.forEach((node) => { if (node.isConnected) look(node); });
        }).observe(document.body, { childList: true, subtree: true });
        for (const kind of ["pointerover", "focusin"]) {
            document.addEventListener(kind, ({ target }) => {
                const mark = marked(kind === "pointerover" && !target.closest?.(".term") ? null : target);
                if (mark) show(mark); else if (kind === "focusin" || !document.activeElement?.closest(".term")) hide();
            });
        }
        document.addEventListener("focusout", hide);
        document.addEventListener("keydown", ({ key }) => { if (key === "Escape") hide(); });
        window.addEventListener("scroll", () => { if (shown) place(); }, true);
    }

    if (document.body) start(); else document.addEventListener("DOMContentLoaded", start);
})();
