// Presses the hidden buttons of what the server says has changed (changes.py): at once where they can be seen, else once they can.
(() => {
    const waiting = new Set();
    const seen = (button) => button.parentElement.getClientRects().length > 0;

    function press() {
        for (const button of waiting) {
            if (button.isConnected && !seen(button)) continue;
            waiting.delete(button);
            if (button.isConnected) button.click();
        }
    }

    function changed(name) {
        document.querySelectorAll(name ? `.changed-${name}` : ".changed").forEach((button) => waiting.add(button));
        press();
    }

    window.addEventListener("load", () => {
        const stream = new EventSource("changes");
        let broken = false;
        stream.onmessage = (event) => changed(event.data);
        stream.onerror = () => { broken = true; };
        stream.onopen = () => {
            if (broken) changed(""); // what happened meanwhile is not known
            broken = false;
        };
        setInterval(press, 500);
    });
})();
