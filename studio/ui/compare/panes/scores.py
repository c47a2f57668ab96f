"""Scores in Compare: what a reward run or a toxicity scorer says of the finished answer in each pane, and the best of several
samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from studio.domain.chat import BASE, Sampling
from studio.domain.toxicity import RUN
from studio.errors import InputError
from studio.i18n import _, said
from studio.services import Services
from studio.services.compare.panes import behind
from studio.services.scoring.service import ranking
from studio.ui.compare import talk as talks
from studio.ui.compare.panes.cast import cast_of
from studio.ui.compare.panes.widgets import PaneWidgets
from studio.ui.compare.talk import Talk
from studio.ui.page.guard import guarded
from studio.ui.page.lines import MODEL, SCORING
from studio.ui.page.quiet import when_opened
from studio.ui.page.shared import PRIVATE, QUIET, Shared
from studio.ui.parts.html import Macros
from studio.ui.reward.score_box import offer
from studio.ui.toxicity.view import OVER, named, pane_line

_HTML = Macros("compare/panes/scores.html")
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
        page: the talk in the browser, the base, the difference switch, system prompt, sampling and the panes' own system prompts, in
            Compare's order.
        settled: events after which the panes' answers may be others.
    """
    with gr.Accordion("Scores", open=False, elem_id="pane-scores"):
        judge = gr.Dropdown(
            [("off", OFF)],
            value=OFF,
            label="Score with",
            info="A reward model of this studio, or a scorer of toxicity; its score of each pane's newest answer stands below it.",
            elem_id="score-with",
        )
        gr.Markdown(
            "**Best of n:** several samples of one model for the last question, as its conversation stands, the highest reward first."
        )
        with gr.Row():
            model = gr.Dropdown([("Base model", BASE)], value=BASE, label="Model", scale=3, elem_id="best-model")
            count = gr.Slider(2, MAX_SAMPLES, value=6, step=1, label="n", scale=2, elem_id="best-count")
        button = gr.Button("Sample and rank", size="sm", elem_id="best-of")
        best = gr.HTML(elem_id="best-result")

    def offer_judges(chosen: str, shown: str) -> tuple[Any, Any]:
        judges = scorers_on_offer(services)
        kept = chosen if chosen in {name for _, name in judges} else OFF
        models = [(c.label, c.id) for c in (*services.compare.panes(), *services.compare.bases())]
        return gr.Dropdown(choices=[("off", OFF), *judges], value=kept), offer(models, shown)

    def pane_rewards(judge: str, stored: Any) -> list[str]:
        talk = talks.restore(stored)
        lines = pane_lines(services, judge, talk) if judge and talk is not None else []
        return [*lines, *[""] * (len(widgets) - len(lines))]

    def best_of(judge: str, pane: str, n: float, stored: Any, base: str, *values: Any) -> str:
        if not judge:
            raise InputError("Choose who scores under Score with first.")
        talk = talks.restore(stored)
        if talk is None:
            raise InputError("There is no question yet; ask the panes something first.")
        _, system, temperature, top_p, tokens, seed, *own = values
        if not temperature:
            raise InputError(
                "Temperature is 0, so all samples would be the same; raise it under System prompt and sampling."
            )
        if len(system or "") > talks.MAX_QUESTION:
            raise InputError(f"The system prompt has {len(system):,} characters; {talks.MAX_QUESTION:,} are allowed.")
        if not 2 <= n <= MAX_SAMPLES:
            raise InputError(f"n is {n:g}; it must be between 2 and {MAX_SAMPLES}.")
        sampling = Sampling(float(temperature), float(top_p), int(tokens), int(seed or 0))
        talk = talks.with_own(replace(talk, system_prompt=(system or "").strip(), sampling=sampling), own)
        return best_of_n(services, judge, talk, pane, int(n), base)

    rewards = [widget.reward for widget in widgets]
    when_opened(judge, app, guarded(offer_judges), [judge, model], [judge, model])
    judge.input(guarded(pane_rewards), [judge, shared.chats], rewards, **SCORING, **QUIET)
    for event in settled:
        event.then(guarded(pane_rewards), [judge, shared.chats], rewards, **SCORING, **QUIET)
    button.click(guarded(best_of), [judge, model, count, *page], best, show_progress_on=button, **MODEL, **PRIVATE)


def pane_lines(services: Services, judge: str, talk: Talk) -> list[str]:
    """What stands below each pane: the score of its newest answer, where it has one. A reward run reads the whole
    conversation; its rewards of answers to different conversations are marked as not comparable."""
    lines = [""] * len(talk.panes)
    rows = [index for index, pane in enumerate(talk.panes) if pane.answer]
    if not rows:
        return lines
    conversations = [talks.conversation(talk, index) for index in rows]
    answers, contexts = [turns[-1].content for turns in conversations], [turns[:-1] for turns in conversations]
    scored = services.scoring.score(judge, answers, contexts)
    comparable = scored.info.kind != "reward" or len(set(contexts)) == 1
    highest = max((score.reward for score in scored.scores if score.reward is not None), default=None)
    for index, score in zip(rows, scored.scores, strict=True):
        leads = score.reward is not None and score.reward == highest and len(rows) > 1
        lines[index] = _HTML.pane(pane_line(scored.info, score), leads, comparable)
    return lines


def best_of_n(services: Services, judge: str, talk: Talk, choice: str, count: int, base: str) -> str:
    """``count`` answers of a model to the last question, behind the conversation it stands in and asked as ``talk`` says,
    best first.

    Raises:
        InputError: nothing was asked yet, or all samples are empty; StudioError: model or scorer cannot be had.
    """
    index, turns = talks.last_question(talk, choice)
    question = behind(talks.system_prompt_of(talk, index), turns)
    made = services.compare.samples(choice, question, count, talk.sampling, cast_of(services, talk, base).shared)
    answers = [text for text in made if text.strip()]
    if not answers:
        raise InputError("All samples were empty; try another question or model.")
    scored = services.scoring.score(judge, answers, [question] * len(answers))
    # the highest reward first, answers the scorer does not cover last
    rows = [(scored.texts[at], scored.scores[at]) for at in ranking(scored.scores)]
    return _HTML.ranked(turns[-1].content, len(turns) - 1, index + 1, scored.info, named(scored.info), rows, OVER)


def scorers_on_offer(services: Services) -> list[tuple[str, str]]:
    """(label, name) of the scorers that can score now: the reward runs, then those of toxicity."""
    others = [
        (_("Toxicity · {label}", label=said(label)), name)
        for label, name in services.scoring.choices()
        if not name.startswith(RUN)
    ]
    return [*services.scoring.reward_runs(), *(choice for choice in others if services.scoring.ready(choice[1]))]
