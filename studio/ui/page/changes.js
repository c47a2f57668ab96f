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

    let stream = null;
    let missed = false; // what happened while nobody listened is not known

    function listen() {
        stream = new EventSource("changes");
        stream.onmessage = (event) => changed(event.data);
        stream.onerror = () => { missed = true; };
        stream.onopen = () => {
            if (missed) ["runs", "votes", "batch", "evaluations"].forEach(changed);
            missed = false;
        };
    }

    // A browser opens six connections to a server for all its tabs together: a tab in the background keeps none here.
    function look() {
        if (document.hidden && stream) {
            stream.close();
            stream = null;
            missed = true;
        } else if (!document.hidden && !stream) listen();
    }

    function start() {
        look();
        document.addEventListener("visibilitychange", look);
        setInterval(press, 500);
    }

    // Gradio puts scripts into a page that may be loaded already
    if (document.readyState === "complete") start();
    else window.addEventListener("load", start);
})();
