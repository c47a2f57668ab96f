// What the demo and the tours say, where they point, and what each step of the demo waits for. A step of the demo:
//   tab    the tab it happens on; the card opens it
//   at     where it points
//   clear  what the card must not hide either
//   say    one sentence
//   press  buttons of the page that Next presses, each once it can be pressed; ":not(.open)" ones only open a box
//   enter  the same, pressed as the step begins
//   before what is counted, just before the buttons are pressed
//   until  what has to be seen before the next step; "waits" says what that is
//   back   when to go back a step
window.studioGuide = (() => {
    const one = (selector) => [...document.querySelectorAll(selector)].find((node) => node.getClientRects().length);
    const words = (selector) => one(selector)?.textContent.trim() ?? "";
    const value = (selector) => one(selector)?.value;
    const run = () => one("#run-head [data-run]")?.dataset.run ?? "";
    const state = () => words("#run-head .badge");
    const votes = () => parseInt(words("#rate-tally .figures b"), 10) || 0;
    const answers = () => Math.min(...[1, 2].map((pane) => document.querySelectorAll(`#chat-${pane} .bot.message`).length));
    const pairs = () => parseInt(words("#rate-tally .figures div:nth-child(3) small").replace(/\D/g, ""), 10) || 0;

    function type(selector, text) {
        const field = one(selector);
        if (!field) return;
        field.value = text;
        field.dispatchEvent(new Event("input", { bubbles: true }));
    }

    const demo = [
        { tab: "align", at: "#support-ratio", say: tr("This dial is the stance to teach, 1 for and 0 against: set it as you like.") },
        {
            tab: "align", at: "#train", say: tr("Train a small adapter on that stance, here and now."),
            press: ["#train"], before: () => ({ run: run() }), waits: tr("Waiting for the run to begin."),
            until: (then) => run() && run() !== then.run,
        },
        {
            tab: "align", at: "#run-head", say: tr("It trains: the curve shows the stance on pairs it never saw, the answers beside it turn."),
            waits: tr("Waiting for the run to end; you may leave and come back."),
            until: () => Boolean(one("#to-chat")) && !["queued", "running", "stopping"].includes(state()),
            back: () => ["failed", "interrupted"].includes(state()),
        },
        {
            tab: "align", at: "#run-result", say: tr("What you asked for beside what was measured; now talk to both models."),
            press: ["#to-chat"], before: () => ({ mine: run() }), waits: tr("Opening Compare."),
            until: (then) => Boolean(one(`#panes [data-run="${CSS.escape(then.mine)}"]`)),
        },
        {
            tab: "compare", at: "#examples", say: tr("Ask the base and your adapter the same question."),
            press: ["#examples .example", "#send"], ready: { "#send": () => value("#prompt textarea") },
            before: () => ({ answers: answers() }), waits: tr("Both are answering."),
            until: (then) => answers() > then.answers && Boolean(one("#send:not(:disabled)")),
        },
        {
            tab: "rate", at: "#pairs-box", say: tr("People judge blind: have both models answer three prompts to vote on."),
            press: ["#pairs-box > button:not(.open)", "#batch-start"],
            // the form offers the base alone until what is there has been looked up
            ready: { "#batch-start": () => value("#batch-first input") !== value("#batch-second input") && (value("#batch-most input") === "3" || type("#batch-most input", "3")) },
            before: () => ({ pairs: pairs() }), waits: tr("Both are answering three prompts."),
            until: (then) => pairs() > then.pairs,
        },
        {
            tab: "rate", at: ".rate-frame", clear: "#rate-code", say: tr("Three votes, please: scan the code with phones, or vote here."),
            before: () => ({ votes: votes() }), waits: (then) => tr("{n} of 3 votes.", { n: Math.max(0, votes() - then.votes) }),
            until: (then) => votes() - then.votes >= 3,
        },
        {
            tab: "rate", at: "#rate-results", say: tr("Who leads, with its interval: three votes rarely tell two models apart, and the page says so."),
            enter: ["#votes-leads > button:not(.open)"],
        },
    ];

    const tours = {
        align: [
            ["#base", tr("The base is the model before training; it runs on this machine.")],
            ["#dataset", tr("Preference data: prompts with two answers each.")],
            ["#support-ratio", tr("The dial says in which share of the pairs the support answer is preferred.")],
            ["#train", tr("Train queues a run; it goes on when you close the page.")],
            ["#history", tr("Every run stays here: click a line to open it.")],
        ],
        compare: [
            ["#pane-choice-1", tr("Each pane is the base or an adapter of it, up to four.")],
            ["#prompt", tr("One question goes to all panes, which answer at the same time.")],
            ["#pane-strength-2", tr("Strength turns an adapter up or down: 0 is exactly the base.")],
            ["#rate-these", tr("Rate these answers puts them before people, who are not told who wrote which.")],
        ],
        rate: [
            [".rate-frame", tr("The voting page, as phones see it: two answers, nobody says whose.")],
            ["#rate-code", tr("Scan the code to vote; the presenter view fills a projector with it.")],
            ["#pairs-box", tr("Pairs to vote on come from Compare, from a batch, or from a file.")],
            ["#rate-results", tr("What the votes say: win rates with intervals, and whether raters agree.")],
        ],
        reward: [
            ["#reward-source", tr("A reward model learns from votes, or from preference data, which answer people prefer.")],
            ["#reward-train", tr("Train it; held-out accuracy stands beside two simple baselines.")],
            ["#score-prompt", tr("Then score an answer, or two against each other.")],
            ["#best-of-n", tr("Best of n shows whether the reward can be exploited.")],
        ],
        toxicity: [
            ["#tox-texts", tr("Score text: a probability for each line, and the words that carry it.")],
            ["#toxicity-sections", tr("Before / after answers the same prompts with and without an adapter.")],
            ["#toxicity-sections", tr("Detox trains toxicity away by reinforcement learning; possibly toxic answers stay covered.")],
        ],
        library: [
            ["#library-table", tr("Every adapter with its base, ratio and measured stance.")],
            ["#library-head", tr("Click one to rename, download, merge, publish or delete it.")],
            ["#library-upload", tr("Adapters made elsewhere come in here.")],
        ],
    };
    return { demo, tours, one };
})();
