"""Ask a reward model: one answer, or two against each other; on the page and as the endpoint ``/score``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from studio.domain.toxicity import RUN, reward_scorer
from studio.errors import InputError
from studio.services import Services
from studio.services.scoring.service import verdict_of
from studio.ui.page.arguments import checked
from studio.ui.page.guard import guarded
from studio.ui.page.lines import SCORING
from studio.ui.page.shared import PRIVATE
from studio.ui.reward import view as reward_view

_MOST = 100_000


def build_score_box(services: Services) -> gr.Dropdown:
    """Draw the box and its endpoint; returns the dropdown of reward runs, whose choices the tab keeps up to date."""
    gr.Markdown("## Score text")
    run = gr.Dropdown([], label="Reward model", elem_id="score-run")
    prompt = gr.Textbox(label="Prompt", lines=2, max_lines=8, max_length=_MOST, elem_id="score-prompt")
    with gr.Row():
        first = gr.Textbox(
            label="Answer A", lines=3, max_lines=12, max_length=_MOST, min_width=280, elem_id="score-first"
        )
        second = gr.Textbox(
            label="Answer B (optional)", lines=3, max_lines=12, max_length=_MOST, min_width=280, elem_id="score-second"
        )
    button = gr.Button("Score", variant="primary", size="sm", elem_id="score")
    result = gr.HTML(elem_id="score-result")

    def score_text(scorer: str | None, question: str, one: str, two: str) -> str:
        if not scorer:
            raise InputError("There is no reward model to score with; train one first.")
        answers = [one, *([two] if two.strip() else [])]
        scores = services.scoring.score_checked(scorer, answers, [question] * len(answers), "Answer").scores
        return reward_view.scores(scores, verdict_of(*scores) if len(scores) == 2 else None)

    button.click(guarded(score_text), [run, prompt, first, second], result, **SCORING, **PRIVATE)
    return run


def add_api(services: Services) -> None:
    """Add the endpoint to the Blocks being built."""

    def score(prompt: str, response: str, run: str = "", response2: str = "") -> dict[str, Any]:
        """Reward of an answer by a reward run (the newest where ``run`` is empty); with ``response2`` also its reward, the
        margin and the probability that the first is preferred."""
        scorer = reward_scorer(run) if run else next((name for _, name in services.scoring.reward_runs()), "")
        if not scorer:
            raise InputError("There is no reward model to score with; train one first.")
        run_id = scorer.removeprefix(RUN)
        if not response2:
            scored = services.scoring.score_checked(scorer, [response], [prompt], "Answer")
            return {"run": run_id, "reward": scored.scores[0].reward}
        verdict = services.scoring.compare(scorer, prompt, response, response2)
        return {
            "run": run_id,
            "reward": verdict.first.reward,
            "reward2": verdict.second.reward,
            "margin": verdict.margin,
            "probability": verdict.probability,
        }

    gr.api(guarded(checked(score)), api_name="score", **SCORING)


def offer(choices: Sequence[tuple[str, str]], chosen: str | None) -> Any:
    """The dropdown with the choices there are now; what was chosen stays while it is there."""
    names = [name for _, name in choices]
    return gr.Dropdown(choices=list(choices), value=chosen if chosen in names else next(iter(names), None))
