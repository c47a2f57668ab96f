(() => {
  const $ = (id) => document.getElementById(id);
  const MISSED_MS = 3000;
  const room = new URLSearchParams(location.search).get("room") || "";
  let ends = 0, clock = 0, asked = 0, kept = "";

  /* the address typed on the Rate tab, which this browser keeps */
  function typedAddress() { try { return localStorage.getItem("alignment-studio-rate-address"); } catch { return null; } }

  async function ask(action, more = {}) {
    const typed = typedAddress();
    const address = typed || new URL("rate", location.href.split(/[?#]/)[0]).href;
    const turn = ++asked;
    let answer, data = null;
    try {
      answer = await fetch(`present/api/${action}`, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ address, typed: Boolean(typed), room, ...more }), cache: "no-store",
      });
      data = await answer.json();
    } catch { /* said below */ }
    if (turn !== asked) return;  /* a later answer is on its way */
    if (!answer || !answer.ok || !data) {
      $("failed").textContent = (data && data.error) || tr("The studio cannot be reached; trying again…");
      if (!answer || answer.status >= 500) setTimeout(() => ask("look"), MISSED_MS);
      return;
    }
    $("failed").textContent = "";
    draw(data);
  }

  /* ---- the screen ---- */
  const make = (tag, text = "", className = "") => Object.assign(document.createElement(tag), { textContent: text, className });

  function draw(data) {
    const { progress, code } = data;
    $("votes").textContent = progress.votes;
    $("raters").textContent = progress.raters;
    $("decided").textContent = tr("{decided} of {pairs}", progress);
    const bar = $("decided-bar");
    bar.setAttribute("aria-valuemax", progress.pairs);
    bar.setAttribute("aria-valuenow", progress.decided);
    bar.firstElementChild.style.width = `${progress.pairs ? (100 * progress.decided) / progress.pairs : 0}%`;
    $("state").textContent = !data.open ? tr("Voting is closed") : progress.pairs ? tr("Voting is open") : tr("No pairs to rate yet: add some on the Rate tab.");
    $("title").textContent = data.open ? tr("Which answer is better?") : tr("How the room voted");
    document.body.dataset.screen = data.open ? "vote" : "result";
    $("room").textContent = data.room;
    $("room").hidden = !data.room;
    ends = data.left === null ? 0 : Date.now() + 1000 * data.left;
    tick();
    if ($("address").href !== code.address) drawCode(code);
    if (data.page) kept = data.page;
    if (data.open) kept = "";
    $("keep").hidden = data.open || !data.result || Boolean(kept);
    $("page").hidden = !kept;
    $("page").href = kept;
    if (data.open) return;
    if (data.result) drawOutcome($("outcome"), data.result);
    else $("outcome").replaceChildren(make("p", tr("Nobody has voted."), "ahead"));
    $("pairs-title").hidden = !data.pairs.length;
    $("pairs").replaceChildren(...data.pairs.map(pair));
  }

  function drawCode(code) {
    const SVG = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(SVG, "svg");
    const set = (node, values) => Object.entries(values).forEach(([name, value]) => node.setAttribute(name, value));
    set(svg, { viewBox: `0 0 ${code.size} ${code.size}`, role: "img", "aria-label": tr("QR code of {text}", { text: code.address }), "shape-rendering": "crispEdges" });
    /* black on white also on a dark page: readers need it */
    for (const [fill, d] of [["#fff", `M0 0h${code.size}v${code.size}H0z`], ["#000", code.dots]]) {
      const path = document.createElementNS(SVG, "path");
      set(path, { fill, d });
      svg.append(path);
    }
    $("code").replaceChildren(svg);
    $("address").href = code.address;
    $("address").textContent = code.address.replace(/^https?:\/\//, "");
    $("only-here").hidden = !code.only_here;
  }

  function pair(one) {
    const box = make("article", "", "pair"), two = make("div", "", "two");
    for (const answer of one.answers) {
      const side = make("div", "", answer.won ? "won" : "");
      const who = make("p", "", "who");
      who.append(make("bdi", answer.model), ` · ${answer.votes === 1 ? tr("{votes} vote", answer) : tr("{votes} votes", answer)}${answer.won ? " ✓" : ""}`);
      side.append(who, Object.assign(make("p", answer.text, "text"), { dir: "auto", lang: "" }));
      two.append(side);
    }
    box.append(Object.assign(make("p", one.prompt, "prompt"), { dir: "auto", lang: "" }), two);
    if (one.even) box.append(make("p", tr("{even} for neither", one), "small"));
    return box;
  }

  /* ---- the countdown ---- */
  function tick() {
    clearTimeout(clock);
    const left = ends ? Math.max(0, Math.ceil((ends - Date.now()) / 1000)) : 0;
    $("left").textContent = !ends ? "" : left ? `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}` : tr("Time is up");
    $("left").classList.toggle("over", Boolean(ends) && !left);
    $("start").hidden = Boolean(ends);
    $("stop").hidden = !ends;
    if (left) clock = setTimeout(tick, 250);
  }

  $("countdown").addEventListener("submit", (event) => {
    event.preventDefault();
    ask("count", { minutes: Number($("minutes").value) });
  });
  $("stop").addEventListener("click", () => ask("count", { minutes: 0 }));
  $("close").addEventListener("click", () => ask("close"));
  $("keep").addEventListener("click", () => ask("keep"));
  $("open").addEventListener("click", () => ask("open"));

  /* ---- what the server says has changed ---- */
  const stream = new EventSource("changes");
  let missed = false;
  stream.onmessage = (event) => { if (event.data === "votes") ask("look"); };
  stream.onerror = () => { missed = true; };
  stream.onopen = () => { if (missed) ask("look"); missed = false; };
  ask("look");
})();
