(() => {
  const $ = (id) => document.getElementById(id);
  const KEYS = { 1: "left", 2: "right", 3: "tie", 4: "both_bad", 0: "skip", u: "undo", U: "undo",
    Digit1: "left", Digit2: "right", Digit3: "tie", Digit4: "both_bad", Digit0: "skip" };
  const WORDS = { left: "A", right: "B", tie: tr("tie"), both_bad: tr("both bad"), skip: tr("skipped") };
  const POLL_MS = 4000, TIMEOUT_MS = 20000, RETRY_MS = [2000, 4000, 8000, 15000];
  /* A second tap that was meant for the pair before does not vote on the one that just appeared. */
  const SETTLE_MS = 300;
  const buttons = [...document.querySelectorAll("#buttons button")];
  const reasons = [...document.querySelectorAll("#reasons button")];

  /* in the studio's own frame the studio's switch is above it */
  $("language").hidden = new URLSearchParams(location.search).has("embed");

  /* ---- what this browser keeps: who votes, and a choice that did not reach the server yet ---- */
  const room = (new URLSearchParams(location.search).get("room") || "").trim().toUpperCase();
  const place = location.pathname.replace(/\/+$/, "") + (room && `?room=${room}`);
  if (room) $("login-link").href = `login/huggingface?_target_url=${encodeURIComponent(`/rate?room=${room}`)}`;
  const memory = {};
  const keep = {
    get(key) { try { return localStorage.getItem(`${place}:${key}`); } catch { return memory[key] ?? null; } },
    set(key, value) {
      memory[key] = value;
      try { value === null ? localStorage.removeItem(`${place}:${key}`) : localStorage.setItem(`${place}:${key}`, value); } catch { /* private window: memory it is */ }
    },
  };
  let token = keep.get("rater"), kept = null, pair = null, busy = false, tries = 0;
  let seen = 0, drawn = 0, pollTimer = 0, retryTimer = 0, guidelines = null;
  try { kept = JSON.parse(keep.get("unsent")); } catch { kept = null; }

  /* ---- the server ---- */
  class Refused extends Error { constructor(text, status) { super(text); this.status = status; } }

  async function ask(action, body) {
    let answer;
    try {
      answer = await fetch(`rate/api/${action}`, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ room, ...body }), cache: "no-store",
        signal: AbortSignal.timeout ? AbortSignal.timeout(TIMEOUT_MS) : undefined,
      });
    } catch { throw new Error(tr("the studio cannot be reached")); }
    const data = await answer.json().catch(() => null);
    if (answer.ok && data) return data;
    const text = (data && data.error) || tr("the studio cannot be reached");
    /* what the server will say again however often it is asked, and what may pass */
    if (data && answer.status >= 400 && answer.status < 500) throw new Refused(text, answer.status);
    throw new Error(text);
  }

  /* ---- the screen ---- */
  function screen(name) { document.body.dataset.screen = name; }

  function fill(box, ...parts) {
    box.replaceChildren(...parts.map(([tag, text]) => {
      const node = document.createElement(tag);
      node.textContent = text;
      return node;
    }));
  }

  function say(...parts) { fill($("said"), ...parts); fail(""); }

  function fail(text, again = false) {
    $("failed").textContent = text;
    $("again").hidden = !again;
    if (text) $("said").replaceChildren();
  }

  function note(title, text, undo = false, result = null) {
    pair = null;
    for (const [id, words] of [["note-title", title], ["note-text", text]]) if ($(id).textContent !== words) $(id).textContent = words;
    document.body.toggleAttribute("data-undo", undo);
    document.body.toggleAttribute("data-result", Boolean(result));
    $("outcome").hidden = !result;
    if (result) drawOutcome($("outcome"), result);
    drawThumbs(result ? result.pairs : []);
    screen("note");
    mark();
  }

  /* The answers of the pairs that were voted on, each with a thumb up and down; which were pressed this browser remembers. */
  let thumbs = {}, listed = "";
  try { thumbs = JSON.parse(keep.get("thumbs")) || {}; } catch { thumbs = {}; }

  function drawThumbs(pairs) {
    $("thumbs").hidden = !pairs.length || !token;
    if (JSON.stringify(pairs) === listed) return;
    listed = JSON.stringify(pairs);
    $("thumbs").replaceChildren(...(pairs.length ? [Object.assign(document.createElement("h2"), { textContent: tr("Rate single answers") })] : []),
      ...pairs.map(pairBox));
  }

  function pairBox(one) {
    const box = document.createElement("section");
    fill(box, ["h3", one.prompt]);
    box.firstChild.dir = "auto";
    for (const said of one.answers) {
      const line = document.createElement("div"), key = `${one.pair}:${said.answer}`;
      fill(line, ["p", said.text], ["button", "👍"], ["button", "👎"]);
      line.firstChild.dir = "auto";
      const [up, down] = line.querySelectorAll("button");
      const draw = () => [[up, true], [down, false]].forEach(([button, liked]) => choose(button, thumbs[key] === liked));
      for (const [button, liked, label] of [[up, true, tr("Thumb up")], [down, false, tr("Thumb down")]]) {
        Object.assign(button, { type: "button", title: label, ariaLabel: label, onclick: () => thumb(one.pair, said.answer, key, liked, draw) });
      }
      draw();
      box.append(line);
    }
    return box;
  }

  async function thumb(of, answer, key, liked, draw) {
    const now = thumbs[key] === liked ? null : liked;
    try {
      await ask("thumb", { token, pair: of, answer, liked: now });
      thumbs[key] = now;
      keep.set("thumbs", JSON.stringify(thumbs));
      draw();
      say(["span", now === null ? tr("Thumb taken back.") : tr("✓ Thumb saved.")]);
    } catch (error) {
      fail(`Not saved: ${bare(error.message)}.`);
    }
  }

  function bar(id, value, total) {
    const share = total > 0 ? Math.min(1, value / total) : 0;
    $(id).setAttribute("aria-valuemax", total);
    $(id).setAttribute("aria-valuenow", value);
    $(id).firstElementChild.style.width = `${100 * share}%`;
  }

  function counts(p) {
    $("own").textContent = p.own_total ? tr("You: {own} of {total}", { own: p.own, total: p.own_total }) : "";
    $("overall").textContent = p.pairs
      ? `${tr("All: {decided} of {pairs} with enough votes", p)} · ${p.votes === 1 ? tr("{votes} vote", p) : tr("{votes} votes", p)}` : "";
    bar("own-bar", p.own, p.own_total);
    bar("all-bar", p.decided, p.pairs);
  }

  function guide(rules) {
    if (!rules) return;
    for (const button of buttons) if (["tie", "both_bad"].includes(button.dataset.act)) button.hidden = !rules.ties;
    $("reasons").hidden = !rules.reasons;
    if (rules.guidelines_html === guidelines) return;
    guidelines = rules.guidelines_html;
    /* The one place that takes HTML: the operator's Markdown, rendered by the server with HTML switched off. */
    $("welcome-guide").innerHTML = $("guide-text").innerHTML = guidelines;
    $("welcome-guide").hidden = $("guide-open").hidden = !guidelines;
  }

  function turn(message) {
    const box = document.createElement("div");
    fill(box, ["p", { user: tr("Earlier question"), assistant: tr("Earlier answer"), system: tr("Instruction") }[message.role] || message.role], ["div", message.content]);
    box.firstChild.className = "who";
    Object.assign(box.lastChild, { className: "text", dir: "auto", lang: "" });
    return box;
  }

  function show(next) {
    if (pair && pair.pair_id === next.pair_id && document.body.dataset.screen === "pair") return;
    pair = next;
    $("history").replaceChildren(...next.history.map(turn));
    for (const [id, text] of [["prompt", next.prompt], ["left", next.left], ["right", next.right]]) $(id).textContent = text;
    screen("pair");
    for (const id of ["left", "right"]) $(id).scrollTop = 0;
    document.querySelector("main").scrollTop = 0;
    $("talk").scrollTop = $("history").childElementCount ? $("talk").scrollHeight : 0;
    $("answers").classList.remove("fresh");
    void $("answers").offsetWidth;
    $("answers").classList.add("fresh");
    drawn = performance.now();
    seen = document.visibilityState === "visible" ? drawn : 0;
    for (const button of reasons) choose(button, false);
    mark(next.choice);
  }

  function choose(button, on) { button.setAttribute("aria-pressed", String(on)); }

  /* Which button was pressed, and whether pressing does anything now. */
  function mark(choice) {
    for (const button of buttons) {
      button.classList.toggle("pressed", button.dataset.act === choice);
      button.setAttribute("aria-disabled", String(busy));
    }
    $("left").parentElement.classList.toggle("chosen", choice === "left");
    $("right").parentElement.classList.toggle("chosen", choice === "right");
  }

  /* ---- how long the vote is open still, where that is limited ---- */
  let ends = 0, clock = 0;

  function tick() {
    clearTimeout(clock);
    const left = ends ? Math.max(0, Math.ceil((ends - Date.now()) / 1000)) : 0;
    $("clock").textContent = left ? tr("{time} left", { time: `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}` }) : "";
    if (left) clock = setTimeout(tick, 250);
    else if (ends) { ends = 0; if (!busy && token) next(); }
  }

  /* ---- the flow ---- */
  function take(answer) {
    guide(answer.rules);
    counts(answer.progress);
    ends = answer.left === null ? 0 : Date.now() + 1000 * answer.left;
    tick();
    if (!answer.open) note(tr("Voting is closed"), tr("Thank you. This page goes on by itself once voting is opened again."), false, answer.result);
    else if (answer.pair) show(answer.pair);
    else if (answer.progress.own_total) note(tr("All done, thank you!"), tr("You have rated every pair there is. New ones appear here by themselves."), true);
    else note(tr("Nothing to rate yet"), tr("The first pair appears here by itself."));
    clearTimeout(pollTimer);
    if (!pair) pollTimer = setTimeout(poll, POLL_MS);
  }

  async function poll() {
    clearTimeout(pollTimer);
    if (document.visibilityState !== "visible" || busy) { pollTimer = setTimeout(poll, POLL_MS); return; }
    await next();
  }

  async function next() {
    try {
      take(await ask("next", { token }));
    } catch (error) {
      if (error instanceof Refused && error.status === 403) return leave(error.message);
      if (error instanceof Refused && error.status === 404) return noRoom(error.message);
      wait(error, poll);
    }
  }

  /* Whatever hinders the page, it goes on by itself once that is mended. */
  function wait(error, then) {
    note(tr("One moment"), tr("{what}; trying again…", { what: capital(bare(error.message)) }));
    clearTimeout(pollTimer);
    pollTimer = setTimeout(then, POLL_MS);
  }

  /* The address names a room that is not there; waiting would not help. */
  function noRoom(why) {
    note(tr("No such room"), why);
    clearTimeout(pollTimer);
  }

  /* The server does not know this browser's rater (a new store): ask for a name again. */
  function leave(why) {
    token = kept = null;
    for (const key of ["rater", "unsent", "account"]) keep.set(key, null);
    $("join-error").textContent = why;
    screen("welcome");
  }

  async function start() {
    try {
      const hello = await ask("hello", {});
      guide(hello.rules);
      $("room").textContent = hello.room;
      $("room").hidden = !hello.room;
      $("login").hidden = !hello.login || Boolean(hello.account);
      if (hello.account && hello.account !== keep.get("account")) {
        /* signed in to Hugging Face: the same rater in every browser, whatever name was typed here before */
        await register("");
        keep.set("account", hello.account);
      }
      if (!token) return screen("welcome");
      if (kept) { await send(); if (kept) note(tr("One vote is not saved yet"), tr("It is kept here and sent as soon as the studio can be reached.")); return; }
      await next();
    } catch (error) {
      if (error instanceof Refused && error.status === 404) return noRoom(error.message);
      wait(error, start);
    }
  }

  async function register(name) {
    const answer = await ask("register", { name });
    token = answer.token;
    keep.set("rater", token);
    return answer;
  }

  async function join(event) {
    event.preventDefault();
    if (busy) return;
    busy = true;
    $("join-error").textContent = "";
    try {
      take(await register($("name").value));
    } catch (error) {
      $("join-error").textContent = capital(error.message);
    } finally {
      busy = false;
      mark(pair && pair.choice);
    }
  }

  function vote(press) {
    if (!pair || performance.now() - drawn < SETTLE_MS) return;
    const seconds = seen ? (performance.now() - seen) / 1000 : 0;
    const why = reasons.filter((button) => button.getAttribute("aria-pressed") === "true").map((button) => button.dataset.reason);
    kept = { pair: pair.pair_id, proof: pair.token, press, seconds: Math.round(seconds * 1000) / 1000, reasons: why };
    keep.set("unsent", JSON.stringify(kept));
    tries = 0;
    send();
  }

  async function send() {
    if (busy || !kept) return;
    clearTimeout(retryTimer);
    busy = true;
    const sent = kept;
    mark(sent.press);
    fail("");
    let answer = null, refused = null;
    try {
      answer = await ask("vote", { token, ...sent });
    } catch (error) {
      if (error instanceof Refused) refused = error.message;
      else {
        fail(tr("Not saved: {what}. Your choice ({choice}) is kept.", { what: bare(error.message), choice: WORDS[sent.press] }), true);
        retryTimer = setTimeout(send, RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)]);
      }
    }
    busy = false;
    if (!answer && !refused) return mark(sent.press);
    kept = null;
    keep.set("unsent", null);
    if (refused) {
      await next();
      return fail(capital(refused));
    }
    saved(sent.press, answer.reveal);
    take(answer);
  }

  function saved(press, reveal) {
    const line = [["b", tr("✓ Saved")], ["span", tr(": {choice}.", { choice: WORDS[press] })]];
    if (reveal) line.push(["span", tr(" A was ")], ["bdi", reveal.left], ["span", tr(", B was ")], ["bdi", reveal.right], ["span", tr(".")]);
    say(...line);
  }

  async function undo() {
    if (kept) {  /* it may have reached the server or not: the server's word decides what comes next */
      clearTimeout(retryTimer);
      kept = null;
      keep.set("unsent", null);
      fail("");
      return next();
    }
    busy = true;
    mark();
    try {
      const answer = await ask("undo", { token });
      busy = false;
      if (!answer.undone) return say(["span", tr("There is nothing to take back.")]);
      pair = null;
      take(answer);
      for (const button of reasons) choose(button, answer.reasons.includes(button.dataset.reason));
      say(["span", tr("Taken back. Choose again.")]);
    } catch (error) {
      fail(tr("Not taken back: {what}", { what: error.message }));
    } finally {
      busy = false;
      mark(pair && pair.choice);
    }
  }

  function act(name) {
    if (busy || document.body.dataset.screen === "welcome" || $("guide").open) return;
    if (name === "undo") undo();
    else vote(name);
  }

  const bare = (text) => text.replace(/[.;。；]$/, "");
  const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

  /* ---- hands ---- */
  for (const button of buttons) button.addEventListener("click", () => act(button.dataset.act));
  for (const button of reasons) button.addEventListener("click", () => choose(button, button.getAttribute("aria-pressed") !== "true"));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || event.repeat || event.isComposing) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    /* by its place where the digits need Shift, as on French keyboards */
    const name = KEYS[event.key] || KEYS[event.code];
    if (!name || buttons.some((button) => button.dataset.act === name && button.hidden)) return;
    event.preventDefault();
    act(name);
  });
  $("join").addEventListener("submit", join);
  $("again").addEventListener("click", send);
  $("guide-open").addEventListener("click", () => $("guide").showModal());
  $("guide-close").addEventListener("click", () => $("guide").close());
  addEventListener("online", () => { if (kept) send(); else if (!pair && token) poll(); });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible") return;
    if (pair && !seen) seen = performance.now();
    if (!pair && token && document.body.dataset.screen === "note") poll();
  });
  start();
})();
