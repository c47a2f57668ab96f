// Presses the hidden buttons of what the server says has changed (changes.py): at once where they can be seen, else once they can.
(() => {
    const counts = {}; // changes so far, by name; a button keeps the count it was pressed at
    const seen = (button) => button.parentElement.getClientRects().length > 0;

    function press() {
        for (const [name, count] of Object.entries(counts)) {
            for (const button of document.querySelectorAll(`.changed-${name}`)) {
                if (button.dataset.count === String(count) || !seen(button)) continue;
                button.dataset.count = count;
                button.click();
            }
        }
    }

    function changed(name) {
        counts[name] = (counts[name] ?? 0) + 1;
        press();
    }

    window.addEventListener("load", () => {
        const stream = new EventSource("changes");
        let broken = false;
        stream.onmessage = (event) => changed(event.data);
        stream.onerror = () => { broken = true; };
        stream.onopen = () => {
            if (broken) ["runs", "votes", "batch", "evaluations"].forEach(changed); // what happened meanwhile is not known
            broken = false;
        };
        setInterval(press, 500);
    });
})();
