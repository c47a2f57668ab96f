"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const asked = new URLSearchParams(location.search);
  /* A step of an arrow key, and of one up or down; a dial that moves on is not asked at every step. */
  const STRIDE = 0.25, FINE = 0.05, PAUSE_MS = 150;
  /* Nats that get the full colour at least, as in Compare; how many words are named. */
  const LEAST_SCALE = 1, NAMED = 5;

  const { theme } = document.documentElement.dataset;
  if (theme) $("back").href = `./?__theme=${theme}`;

  let state = null, chosen = asked.get("run") || "", room = asked.get("room") || "", value = null, seed = 1;
  /* panes: the answers on screen, null while the film-strip or nothing stands there; call: the answer being given */
  let panes = null, call = null, turning = 0;

  /* ---- the server ---- */
  async function get(dial) {
    let seen = null;
    try { seen = localStorage.getItem("alignment-studio-rate-address"); } catch { /* private window */ }
    const rate = seen || new URL("rate", location.href.split(/[?#]/)[0]).href;
    const answer = await fetch(`stage/state?${new URLSearchParams({ dial, rate, room })}`, { cache: "no-store" });
    const data = await answer.json().catch(() => null);
    if (!answer.ok || !data) throw new Error((data && data.error) || tr("The studio cannot be reached."));
    return data;
  }

  /* The states of an endpoint's answer, as they come. Ended by `mine.stop()`: the server then ends its work. */
  async function* events(mine, name, data) {
    const place = `gradio_api/call/${name}`;
    const posted = await fetch(place, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ data }) });
    const reply = await posted.json().catch(() => null);
    if (!posted.ok || !reply) throw new Error((reply && reply.detail) || tr("The studio cannot be reached."));
    const reader = (await fetch(`${place}/${reply.event_id}`)).body.pipeThrough(new TextDecoderStream()).getReader();
    mine.reader = reader;
    if (mine.stopped) await reader.cancel();
    let rest = "";
    while (!mine.stopped) {
      const { value: part, done } = await reader.read();
      if (done) return;
      rest += part;
      for (let end; (end = rest.indexOf("\n\n")) >= 0; rest = rest.slice(end + 2)) {
        const [kind, content] = rest.slice(0, end).split("\n").map((line) => line.slice(line.indexOf(":") + 1).trim());
        const message = JSON.parse(content);
        /* the sentence comes escaped, for pages that show it as HTML */
        if (kind === "error") throw new Error(new DOMParser().parseFromString((message && message.error) || tr("That failed."), "text/html").documentElement.textContent);
        yield [kind, message];
      }
    }
  }

  /* ---- asking ---- */
  function stop() {
    clearTimeout(turning);
    if (!call) return;
    call.stopped = true;
    if (call.reader) call.reader.cancel().catch(() => {});
    call = null;
  }

  const question = () => $("question").value.trim();
  const strength = () => (state.dial.second ? 1 : value);
  const weight = () => (state.dial.second ? value : 0.5);

  async function ask(again) {
    stop();
    const dial = state && state.dial, text = question();
    if (!dial) return say(tr("There is no adapter yet; train one in the studio."));
    if (!text) return say(tr("There is no question; press E and write one."));
    say("");
    if (again && panes && panes.question === text) seed += 1;
    const mine = call = { stopped: false, reader: null };
    /* the base answers a question with a seed once, wherever the dial stands */
    const kept = panes && panes.question === text && panes.seed === seed && panes.dial === dial.id && panes.base.whole;
    const here = panes = { question: text, seed, dial: dial.id, base: kept ? panes.base : { text: "" }, tuned: { text: "" }, words: null };
    draw();
    const { temperature, top_p, max_new_tokens } = dial.sampling, names = kept ? [dial.run] : ["base", dial.run];
    const seconds = dial.second ? names.map((name) => (name === "base" ? "" : dial.second)) : null;
    const at = [strength(), weight()];
    try {
      const sent = [text, names, dial.system_prompt, temperature, top_p, max_new_tokens, seed, "embedded", names.map(() => at[0]), seconds, seconds && seconds.map(() => at[1])];
      for await (const [kind, message] of events(mine, "stream", sent)) {
        if (mine.stopped) return;
        if (kind !== "generating") continue;
        for (const one of message[0]) here[one.pane === "base" ? "base" : "tuned"] = { text: one.answer, note: one.note };
        if (!kept) here.base.verified = message[0][0].base_verified;
        draw();
      }
      if (mine.stopped) return;
      here.base.whole = here.tuned.whole = true;
      draw();
      if (here.tuned.text.trim() && at[0] !== 0) {
        for await (const [kind, message] of events(mine, "explain", [dial.run, text, here.tuned.text, dial.system_prompt, at[0], dial.second, at[1]])) {
          if (mine.stopped) return;
          if (kind === "complete") here.words = message[0].tokens;
        }
      }
    } catch (error) {
      here.trouble = error.message || tr("The studio cannot be reached.");
    } finally {
      if (call === mine) call = null;
      if (!mine.stopped) draw();
    }
  }

  function turn(to) {
    const dial = state && state.dial;
    if (!dial) return;
    const next = Math.min(dial.high, Math.max(dial.low, Math.round(to / FINE) * FINE));
    if (Math.abs(next - value) < 1e-9) return;
    value = Number(next.toFixed(2));
    drawDial();
    /* what is on screen was answered at another setting */
    if (!panes) return;
    stop();
    turning = setTimeout(() => ask(false), PAUSE_MS);
  }

  function pick(number) {
    const text = state && state.questions[number];
    if (!text) return;
    stop();
    panes = null;
    $("question").value = text;
    say("");
    draw();
  }

  /* ---- the screen ---- */
  function say(text) { if ($("note").textContent !== text) $("note").textContent = text; }

  const percent = (share) => `${Math.round(100 * share)} %`;
  const signed = (number) => (number < 0 ? "−" : "+") + Math.abs(number).toFixed(1);

  function film() {
    const training = state && state.training;
    return training && !panes ? training.film.find((one) => one.prompt === question()) : null;
  }

  function draw() {
    const strip = film(), shown = strip ? { base: { text: strip.base }, tuned: { text: strip.answer } } : panes;
    $("base-title").textContent = shown && shown.base.verified === false ? tr("Base (the check failed)") : tr("Base");
    $("tuned-title").textContent = strip ? tr("Adapted, step {step}", state.training) : tr("Adapted");
    $("base-text").textContent = shown ? shown.base.text : "";
    const words = shown && shown.words;
    if (words) drawWords(shown.tuned.text, words); else $("tuned-text").textContent = shown ? shown.tuned.text : "";
    $("words").hidden = !words;
    for (const name of ["base", "tuned"]) $(`${name}-text`).classList.toggle("waiting", Boolean(call && !strip && !shown[name].whole));
    /* what is said of an answer: before its first word, and once it is whole */
    if (panes) say(panes.trouble || (panes.tuned.text && !panes.tuned.whole ? "" : panes.tuned.note || ""));
    [...$("questions").children].forEach((button, number) => button.setAttribute("aria-pressed", String(state.questions[number] === question())));
    grow();
    fit();
  }

  /* The answer token by token, in colour by how much likelier the adapter makes each; and those that moved most. */
  function drawWords(answer, tokens) {
    const scale = Math.max(LEAST_SCALE, ...tokens.map((token) => Math.abs(token.difference)));
    /* the end of an answer, of some bases two tokens, is no word of it */
    let length = 0;
    const written = tokens.filter((token) => (length += token.text.length) - token.text.length < answer.trim().length);
    $("tuned-text").replaceChildren(...written.map((token) => {
      const part = document.createElement("span"), size = Math.abs(token.difference) / scale, up = token.difference > 0;
      part.textContent = token.text;
      part.className = up ? "moved" : "moved down";
      part.style.backgroundColor = `rgba(var(--${up ? "up" : "down"}), ${(0.5 * size).toFixed(2)})`;
      part.style.borderBottomWidth = `${(4 * size).toFixed(1)}px`;
      return part;
    }));
    const named = written.filter((token) => token.text.trim()).sort((a, b) => Math.abs(b.difference) - Math.abs(a.difference)).slice(0, NAMED);
    $("words").replaceChildren(tr("Words that moved (nats): "), ...named.flatMap((token) => {
      const word = document.createElement("b");
      word.textContent = token.text.trim();
      word.className = token.difference > 0 ? "" : "down";
      return [word, ` ${signed(token.difference)}  `];
    }));
  }

  /* The field of the question is as high as its text. */
  function grow() {
    if (CSS.supports("field-sizing", "content")) return;
    $("question").style.height = "auto";
    $("question").style.height = `${$("question").scrollHeight}px`;
  }

  /* The largest type in which each answer fits. */
  const small = matchMedia("(max-width: 760px), (max-height: 560px)");
  function fit() {
    const boxes = [$("base-text"), $("tuned-text")];
    for (const box of boxes) box.style.fontSize = "";
    if (small.matches) return;
    for (const box of boxes) {
      for (let size = 34; size >= 20 && box.scrollHeight > box.clientHeight + 1; size -= 2) box.style.fontSize = `${size}px`;
    }
    for (const box of boxes) if (call) box.scrollTop = box.scrollHeight;
  }

  function drawDial() {
    const dial = state.dial, slider = $("dial");
    slider.disabled = $("gauge-box").hidden = !dial;
    if (!dial) { $("dial-value").textContent = tr("No adapter yet"); return; }
    Object.assign(slider, { min: dial.low, max: dial.high, value });
    const share = Number(value.toFixed(2)), rest = Number((1 - value).toFixed(2));
    const [low, high] = dial.poles.length ? dial.poles : [dial.low, dial.high].map((at) => tr("strength {at}", { at: String(at).replace("-", "−") }));
    const alone = { 0: tr("the base"), 1: tr("as trained") }[share];
    const words = dial.second
      ? share === 1 ? tr("Trained at {pole}", { pole: high }) : share === 0 ? tr("Trained at {pole}", { pole: low }) : tr("Blend: {share} × {high} + {rest} × {low}", { share, high, rest, low })
      : tr("Strength {at}", { at: String(share).replace("-", "−") }) + (alone ? `, ${alone}` : "");
    $("dial-value").textContent = words;
    slider.setAttribute("aria-valuetext", words);
    $("dial-low").textContent = low;
    $("dial-high").textContent = high;
    $("dial-marks").replaceChildren(...dial.measured.map((one) => {
      const mark = document.createElement("i");
      mark.style.left = `${100 * (one.at - dial.low) / (dial.high - dial.low)}%`;
      return mark;
    }));
    drawGauge(dial);
  }

  function drawGauge(dial) {
    const found = dial.measured.find((one) => Math.abs(one.at - value) < 1e-6);
    $("gauge-title").textContent = dial.measure;
    $("gauge-share").textContent = found ? percent(found.share) : "–";
    for (const [id, shown] of [["gauge-interval", found], ["gauge-point", found], ["gauge-base", dial.base]]) $(id).hidden = !shown;
    if (found) {
      $("gauge-interval").style.left = `${100 * found.low}%`;
      $("gauge-interval").style.width = `${100 * (found.high - found.low)}%`;
      $("gauge-point").style.left = `${100 * found.share}%`;
    }
    if (dial.base) $("gauge-base").style.left = `${100 * dial.base.share}%`;
    const base = dial.base ? ` ${tr("Dotted: the base, {share}.", { share: percent(dial.base.share) })}` : "";
    const note = found
      ? tr("95 % interval {low} to {high}, {n} answers.", { low: percent(found.low), high: percent(found.high), n: found.n }) + base
      : dial.measured.length ? tr("Not measured at this setting; the dots under the dial are.") + base : tr("Nothing was measured along this dial.");
    $("gauge-note").textContent = note;
    $("gauge").setAttribute("aria-label", `${dial.measure}: ${found ? percent(found.share) : tr("not measured here")}. ${note}`);
  }

  function drawTraining() {
    const training = state.training;
    $("training").hidden = !training;
    if (!training) return;
    $("training-title").textContent = training.title;
    $("training-figures").textContent = `${training.state} · ${training.figures}`;
    $("training-bar").setAttribute("aria-valuenow", Math.round(100 * training.share));
    $("training-bar").firstElementChild.style.width = `${100 * training.share}%`;
  }

  function drawCode() {
    const code = state.code;
    room = state.room;
    const rooms = JSON.stringify(state.rooms);
    if ($("room").dataset.rooms !== rooms) { /* an open menu would close */
      $("room").dataset.rooms = rooms;
      $("room").hidden = state.rooms.length < 2;
      $("room").replaceChildren(...state.rooms.map((one) => new Option(one.title, one.code)));
    }
    $("room").value = room;
    $("code").hidden = !code;
    if (!code) return $("large").close();
    if ($("address").textContent === code.address) return;
    for (const place of document.querySelectorAll(".qr")) {
      const made = (name, fields, inside) => {
        const node = document.createElementNS("http://www.w3.org/2000/svg", name);
        for (const [key, text] of Object.entries(fields)) node.setAttribute(key, text);
        if (inside) node.append(...inside);
        return node;
      };
      /* black on white also on a dark page: readers need it */
      place.replaceChildren(made("svg", { viewBox: `0 0 ${code.size} ${code.size}`, "shape-rendering": "crispEdges", role: "img", "aria-label": tr("QR code of {text}", { text: code.address }) }, [
        made("path", { fill: "#fff", d: `M0 0h${code.size}v${code.size}H0z` }), made("path", { fill: "#000", d: code.dots }),
      ]));
    }
    $("address").textContent = $("address").href = code.address;
    $("only-here").hidden = !code.only_here;
  }

  function drawChoices() {
    const select = $("which");
    select.replaceChildren(...state.dials.map((one) => new Option(one.label, one.id)));
    select.hidden = !state.dials.length;
    if (state.dial) select.value = state.dial.id;
    $("questions").replaceChildren(...state.questions.map((text, number) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: String(number + 1), title: text });
      button.setAttribute("aria-label", tr("Question {number}: {text}", { number: number + 1, text }));
      button.setAttribute("aria-keyshortcuts", String(number + 1));
      button.addEventListener("click", () => pick(number));
      return button;
    }));
  }

  /* ---- what the server knows ---- */
  let loading = Promise.resolve();
  const load = () => (loading = loading.then(look).catch((error) => say(error.message || tr("The studio cannot be reached."))));

  async function look() {
    const before = state, worked = before && before.training && before.training.run;
    let next, trouble = "";
    try { next = await get(chosen); } catch (error) {
      if (!chosen) throw error;
      trouble = error.message; /* that run is gone, or came to nothing */
      chosen = "";
      next = await get("");
    }
    if (worked && !(next.training && next.training.run === worked)) {
      try { next = await get(worked); chosen = worked; trouble = tr("{title} is trained; press Space to ask it.", before.training); } catch (error) { trouble = error.message; }
      stop();
      panes = null;
    }
    const other = !before || (before.dial && before.dial.id) !== (next.dial && next.dial.id);
    const began = before && next.training && next.training.run !== worked && !call;
    state = next;
    if (other || value === null) { value = state.dial ? state.dial.start : 1; stop(); }
    if (other || began) panes = null;
    if (!before || JSON.stringify([before.dials, before.questions]) !== JSON.stringify([next.dials, next.questions]) || other) drawChoices();
    if (state.questions.length && (!question() || (!panes && before && before.questions.includes(question()) && !state.questions.includes(question())))) $("question").value = state.questions[0];
    if (trouble) say(trouble);
    drawDial();
    drawTraining();
    drawCode();
    draw();
  }

  let stream = null, missed = false; /* what happened while nobody listened is not known */
  function listen() {
    if (document.hidden && stream) { stream.close(); stream = null; missed = true; } else if (!document.hidden && !stream) {
      stream = new EventSource("changes");
      stream.onmessage = (event) => { if (event.data === "runs") load(); };
      stream.onerror = () => { missed = true; };
      stream.onopen = () => { if (missed) load(); missed = false; };
    }
  }

  /* ---- hands ---- */
  const ACTIONS = {
    " ": () => ask(true),
    ArrowRight: () => turn(Math.floor(value / STRIDE + 1 + 1e-6) * STRIDE),
    ArrowLeft: () => turn(Math.ceil(value / STRIDE - 1 - 1e-6) * STRIDE),
    ArrowUp: () => turn(value + FINE),
    ArrowDown: () => turn(value - FINE),
    Escape: () => { stop(); if (panes) draw(); },
    e: () => { $("question").focus(); $("question").select(); },
    q: () => { if (!$("code").hidden) $("large").showModal(); },
    f: () => (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen().catch(() => {})),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    const at = event.target, key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (at === $("question")) {
      if (key === "Escape" || (key === "Enter" && !event.shiftKey)) { event.preventDefault(); at.blur(); }
      if (key === "Enter" && !event.shiftKey) ask(false);
      return;
    }
    if ($("large").open) { if (key === "q") $("large").close(); return; }
    if (at.closest("select") || (key === " " && at.closest("button, a"))) return;
    const digit = /^(?:Digit)?([1-4])$/.exec(/^\d$/.test(key) ? key : event.code); /* by its place where digits need Shift */
    const action = digit ? () => pick(Number(digit[1]) - 1) : ACTIONS[key];
    if (!action || (at.closest(".text") && /^Arrow(Up|Down)$/.test(key))) return;
    event.preventDefault();
    if (!event.repeat || key.startsWith("Arrow")) action();
  });
  /* after a click the keys are the page's again */
  document.addEventListener("click", (event) => { if (event.detail && event.target.closest("button")) event.target.closest("button").blur(); });
  $("dial").addEventListener("input", () => turn(Number($("dial").value)));
  $("ask").addEventListener("click", ACTIONS[" "]);
  $("write").addEventListener("click", ACTIONS.e);
  $("screen").addEventListener("click", ACTIONS.f);
  $("code").addEventListener("click", ACTIONS.q);
  $("close").addEventListener("click", () => $("large").close());
  $("room").addEventListener("change", () => { room = $("room").value; $("room").blur(); load(); });
  $("which").addEventListener("change", () => { chosen = $("which").value; $("which").blur(); load(); });
  $("question").addEventListener("input", () => { grow(); if (panes && panes.question !== question()) { stop(); panes = null; draw(); } });
  addEventListener("resize", fit);
  document.addEventListener("visibilitychange", listen);
  listen();
  load();
})();
