// Ends a loop of Gradio's: its loading sign counts the seconds at every frame of the screen, and goes on counting once it is gone. The sign of
// the page itself always goes so, and an open page then kept a browser at work (9 % of a core) for as long as nobody looked at anything.
(() => {
    const ask = window.requestAnimationFrame.bind(window);
    const counts = /performance\.now\(\)-.{1,20}\/1e3/;
    const sign = () => document.querySelector("[data-testid=status-tracker]:not(.hide)");

    window.requestAnimationFrame = (draw) => ask(counts.test(draw) ? (now) => { if (sign()) draw(now); } : draw);
})();
