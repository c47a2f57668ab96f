// Says beside a field what is wrong with it, in the words of its label. A number out of a field's bounds reaches nobody: the field
// goes back to the last one it took, and so does the emptied field of a slider, which Gradio would read as 0. Of an error that the
// server names a field in ("min_votes is 4; it must be odd", or by its label) the sentence stands below that field too, until the field
// is changed; there and in the message the field goes by its label.
(() => {
    const taken = new WeakMap(); // number fields: the last value they took
    const refused = new Map(); // boxes of fields that the server refused: the value it was
    const content = (box) => [...box.querySelectorAll("input, textarea")].map((field) => field.value).join("\n");
    const block = (field) => field.closest(".block") ?? field.parentElement;
    const emptied = (field) => field.value === "" && !field.validity.badInput && block(field).querySelector("input[type=range]");
    const wrong = (field) => field.validity.rangeUnderflow || field.validity.rangeOverflow || field.validity.badInput || emptied(field);

    function labelOf(box) {
        const label = box.querySelector("[data-testid='block-info'], label > span, .label-wrap");
        return (label?.firstChild?.textContent || label?.textContent || tr("This field")).trim();
    }

    function say(box, sentence) {
        quiet(box);
        const line = document.createElement("div");
        line.className = "field-error";
        line.setAttribute("role", "alert");
        line.textContent = sentence;
        box.append(line);
        box.querySelectorAll("input, textarea").forEach((field) => field.setAttribute("aria-invalid", "true"));
    }

    function quiet(box) {
        refused.delete(box);
        box.querySelectorAll(":scope > .field-error").forEach((line) => line.remove());
        box.querySelectorAll("[aria-invalid]").forEach((field) => field.removeAttribute("aria-invalid"));
    }

    function bounds({ min, max }) {
        if (min !== "" && max !== "") return tr("between {min} and {max}", { min, max });
        return min !== "" ? tr("at least {min}", { min }) : max !== "" ? tr("at most {max}", { max }) : tr("a number");
    }

    function typed(event) {
        const field = event.target;
        if (!(field instanceof HTMLElement) || !field.closest(".gradio-container")) return;
        if (!(field instanceof HTMLInputElement) || field.type !== "number") return quiet(block(field));
        if (!wrong(field)) {
            taken.set(field, field.value);
            return quiet(block(field));
        }
        event.stopImmediatePropagation();
        if (emptied(field)) return quiet(block(field)); // another number is about to be typed
        say(block(field), tr("{label} must be {bounds}; {value} is not taken.", { label: labelOf(block(field)), bounds: bounds(field), value: field.value || tr("this") }));
    }

    window.addEventListener("input", typed, true);
    window.addEventListener("focusin", ({ target }) => {
        if (target instanceof HTMLInputElement && target.type === "number" && !wrong(target)) taken.set(target, target.value);
    });
    window.addEventListener("focusout", ({ target }) => {
        if (target instanceof HTMLInputElement && target.type === "number" && wrong(target)) target.value = taken.get(target) ?? "";
    }, true);

    // -- what the server refused ------------------------------------------------------------------------------------------

    const named = /^([^:：]{1,60}[:：] ?)?([a-z]\w*)( (?:is|has|是|有) ?.+)$/s;
    const shown = (box) => box.getClientRects().length > 0;

    function find(name) {
        const id = CSS.escape(name.replaceAll("_", "-"));
        return [...document.querySelectorAll(`#${id}, [id$="-${id}"]`)].find((box) => shown(box) && box.querySelector("input, textarea"));
    }

    // "Values: 'abc' must be numbers": the field of that label, where there is one alone
    function labelled(sentence) {
        const boxes = [...document.querySelectorAll(".block")].filter((box) => shown(box) && box.querySelector("input, textarea"));
        const meant = boxes.filter((box) => {
            const label = labelOf(box);
            return sentence.startsWith(label) && /^(?:[:：]| is | has | ?[是有])/.test(sentence.slice(label.length));
        });
        return meant.length === 1 ? meant[0] : null;
    }

    function refuse(box, sentence) {
        say(box, sentence);
        refused.set(box, content(box));
        box.scrollIntoView({ block: "center" });
    }

    async function place(message) {
        const sentence = message.textContent.trim();
        const parts = named.exec(sentence);
        if (!parts) {
            const box = labelled(sentence);
            return box && refuse(box, sentence);
        }
        const [, before = "", name, rest] = parts;
        if (!find(name)) {
            const closed = [...document.querySelectorAll(".settings > button:not(.open), .settings > .label-wrap:not(.open)")].filter(shown);
            closed.forEach((button) => button.click());
            await new Promise((done) => setTimeout(done, 400));
        }
        const box = find(name);
        if (!box) return;
        const label = labelOf(box);
        // Chinese has no space between its own words
        const said = label + (/[\u2e80-\uffef]$/.test(label) ? rest.replace(/^ (?=[是有])/, "") : rest);
        refuse(box, said);
        message.textContent = before.replace(/[:：] ?$/, "") === label ? said : before + said;
    }

    new MutationObserver((changes) => {
        // a preset or Reset put another value there
        for (const [box, value] of refused) if (content(box) !== value) quiet(box);
        for (const { addedNodes } of changes) {
            for (const node of addedNodes) {
                if (!(node instanceof Element)) continue;
                // each empty chat of Compare would be a landmark of the same name
                node.querySelectorAll(".placeholder-content[role]").forEach((place) => place.removeAttribute("role"));
                if (!node.closest(".toast-wrap")) continue;
                const text = node.querySelector(".toast-body.error .toast-message-text, .toast-message-text.error");
                if (text) place(text);
            }
        }
    }).observe(document, { childList: true, subtree: true });
})();
