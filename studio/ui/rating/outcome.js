"use strict";
/* How the room voted, as elements: who is ahead, on what evidence, and a bar for every two models. Texts stay text. */
function drawOutcome(box, result) {
  const make = (tag, text = "", className = "") => Object.assign(document.createElement(tag), { textContent: text, className });
  const parts = result.headline ? [make("p", result.headline, "ahead")] : [];
  parts.push(...result.ahead.map((line) => make("p", line)));
  for (const match of result.matches) {
    const names = make("div", "", "names");
    names.append(make("bdi", match.a), make("bdi", match.b));
    const split = make("div", "", "split");
    split.setAttribute("role", "img");
    split.setAttribute("aria-label", tr("{a}: {wins}, neither: {even}, {b}: {losses}", match));
    for (const [name, count] of [["a", match.wins], ["even", match.even], ["b", match.losses]]) {
      if (!count) continue;
      const part = make("i", String(count), name);
      part.style.flexGrow = count;
      split.append(part);
    }
    parts.push(names, split);
  }
  parts.push(...[result.reasons, result.decided].filter(Boolean).map((line) => make("p", line, "small")));
  box.replaceChildren(...parts);
}
