"""Rewards in Compare: the reward of the finished answer in each pane, and the best of several samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from studio.domain import BASE, Message, Sampling
from studio.errors import InputError
from studio.services import Services
from studio.services.scores import ranking
from studio.ui import talk as talks
from studio.ui.compare_api import MODEL
from studio.ui.guard import guarded
from studio.ui.pane_widgets import PaneWidgets
from studio.ui.score_box import SCORING, offer
from studio.ui.shared import PRIVATE, Shared
from studio.ui.talk import Talk

QUIET: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
OFF = ""
MAX_SAMPLES = 16


def build_pane_scores(
    services: Services,
    shared: Shared,
    app: gr.Blocks,
    widgets: Sequence[PaneWidgets],
    page: Sequence[Any],
    settled: Sequence[Any],
) -> None:
    """Draw the box and bind it.

    Args:
        page: the talk in the browser, the base, the difference switch, system prompt and sampling, in Compare's order.
        settled: events after which the panes' answers may be others.
    """
    with gr.Accordion("Rewards", open=False, elem_id="pane-scores"):
        judge = gr.Dropdown(
            [("off", OFF)],
            value=OFF,
            label="Score with",
            info="A reward model of this studio; the reward of each pane's newest answer stands below it.",
            elem_id="score-with",
        )
        gr.Markdown("**Best of n:** several samples of one model for the last question, the highest reward first.")
        with gr.Row():
            model = gr.Dropdown([("Base model", BASE)], value=BASE, label="Model", scale=3, elem_id="best-model")
            count = gr.Slider(2, MAX_SAMPLES, value=6, step=1, label="n", scale=2, elem_id="best-count")
        button = gr.Button("Sample and rank", size="sm", elem_id="best-of")
        best = gr.HTML(elem_id="best-result")

    def offer_judges(chosen: str, shown: str) -> tuple[Any, Any]:
        judges = services.scores.choices()
        kept = chosen if chosen in {run_id for _, run_id in judges} else OFF
        models = [(choice.label, choice.id) for choice in services.compare.panes()]
        return gr.Dropdown(choices=[("off", OFF), *judges], value=kept), offer(models, shown)

    def pane_rewards(run_id: str, stored: Any) -> list[str]:
        """What stands below each pane."""
        talk = talks.restore(stored)
        lines = [""] * len(widgets)
        if not run_id or talk is None:
            return lines
        rows = [index for index, pane in enumerate(talk.panes) if pane.answer]
        if not rows:
            return lines
        found = services.scores.score_conversations(run_id, [_conversation(talk, index) for index in rows])
        top = max(one.reward for one in found)
        for index, one in zip(rows, found, strict=True):
            mark = " · highest" if one.reward == top and len(rows) > 1 else ""
            lines[index] = f'<div class="pane-reward">reward <b>{one.reward:+.3f}</b>{mark}</div>'
        return lines

    def best_of(run_id: str, pane: str, n: float, stored: Any, base: str, *values: Any) -> str:
        if not run_id:
            raise InputError("Choose a reward model under Score with first.")
        talk = talks.restore(stored)
        asked = (
            next((m.content for p in talk.panes for m in reversed(p.messages) if m.role == "user"), "") if talk else ""
        )
        if not asked:
            raise InputError("There is no question yet; ask the panes something first.")
        _, system, temperature, top_p, tokens, seed = values
        if not temperature:
            raise InputError(
                "Temperature is 0, so all samples would be the same; raise it under System prompt and sampling."
            )
        sampling = Sampling(float(temperature), float(top_p), int(tokens), int(seed or 0))
        told = (system or "").strip()
        table = deque(services.compare.table([asked] * int(n), (pane,), sampling, told, base=base), maxlen=1).pop()
        answers = [row.answers[0] for row in table.rows if row.answers[0].strip()]
        if not answers:
            raise InputError("All samples were empty; try another question or model.")
        question = (*([Message("system", told)] if told else []), Message("user", asked))
        found = services.scores.score_conversations(run_id, [(*question, Message("assistant", a)) for a in answers])
        return _ranked(asked, answers, [one.reward for one in found])

    rewards = [widget.reward for widget in widgets]
    app.load(guarded(offer_judges), [judge, model], [judge, model], **QUIET)
    shared.tabs.select(guarded(offer_judges), [judge, model], [judge, model], **QUIET)
    judge.input(guarded(pane_rewards), [judge, shared.chats], rewards, **SCORING, **QUIET)
    for event in settled:
        event.then(guarded(pane_rewards), [judge, shared.chats], rewards, **SCORING, **QUIET)
    button.click(guarded(best_of), [judge, model, count, *page], best, show_progress_on=button, **MODEL, **PRIVATE)


def _conversation(talk: Talk, index: int) -> tuple[Message, ...]:
    told = (Message("system", talk.system_prompt),) if talk.system_prompt else ()
    return (*told, *talk.panes[index].messages)


def _ranked(question: str, answers: Sequence[str], rewards: Sequence[float]) -> str:
    rows = "".join(
        f"<tr><td>{place}</td><td><b>{rewards[index]:+.3f}</b></td><td>{escape(answers[index])}</td></tr>"
        for place, index in enumerate(ranking(rewards), 1)
    )
    return (
        f"<div class='quiet'>{escape(question)}</div><table class='strip best'><thead><tr><th></th><th>reward</th><th>answer</th></tr>"
        f"</thead><tbody>{rows}</tbody></table>"
    )
