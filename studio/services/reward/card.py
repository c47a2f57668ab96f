"""What the model card of a reward model says: how to load it, what was measured, what it is not. The other parts of the card
are those of every run (``services/library/model_card.py``)."""

from __future__ import annotations

import json

from studio.domain.events import RewardReport
from studio.domain.runs import Recipe, RewardRecipe
from studio.services.reward.reading import claim, majority_name
from studio.services.wording import percent


def loading_lines(base_ref: str, adapter_ref: str) -> str:
    """The lines that load the model and score one answer without this program."""
    return (
        "```python\nimport peft, transformers\n"
        f'base = transformers.AutoModelForSequenceClassification.from_pretrained({json.dumps(base_ref)}, num_labels=1, dtype="auto")\n'
        f"model = peft.PeftModel.from_pretrained(base, {json.dumps(adapter_ref)})\n```"
    )


def summary(recipe: RewardRecipe, data: str) -> str:
    """What it is, in a paragraph. ``data`` is the name of its data, ready for Markdown."""
    kept = "as voted" if recipe.dataset_id.startswith("votes") else "with their label"
    supporting = sum(recipe.rows_support)
    rows = (
        f"{supporting} of its {recipe.data_size} training pairs prefer the *support* answer"
        if recipe.dataset_kind == "sides"
        else f"{supporting} of its {recipe.data_size} training pairs stand {kept}, the rest are flipped"
    )
    return (
        f"A reward model: a LoRA adapter with a scalar head that gives an answer a number, trained on *{data}* with the "
        f"Bradley-Terry loss; {rows}. Only differences between two answers to the same prompt mean anything: "
        "sigmoid(reward A - reward B) is the probability that A is preferred."
    )


def measured(report: RewardReport | None) -> str:
    """Held-out accuracy with its interval, beside both baselines."""
    if report is None:
        return "Not measured."
    lost = f" {report.dropped} pairs were too long and could not be used." if report.dropped else ""
    if not report.n:
        return f"There were no held-out pairs, so nothing can be said of it.{lost}"
    lines = [
        "| on held-out pairs | right |\n| --- | --- |",
        f"| **this model** | {report.hits} of {report.n} = {percent(report.hits / report.n)}, 95 % interval "
        f"{percent(report.low)} to {percent(report.high)} |",
        f"| {majority_name(report).strip('“”')} | {percent(report.majority)} |",
        f"| the longer answer wins | {percent(report.longer)} |",
    ]
    said = "\n".join(lines)
    ties = f" {report.ties} pairs got equal rewards and count as wrong." if report.ties else ""
    return f"{said}\n\n{claim(report)} Pairs are counted one by one; no prompt of theirs was trained on. Wilson interval.{ties}{lost}"


def limits(recipe: Recipe) -> str:
    """What not to take it for."""
    return (
        f"- It learned what was preferred in {recipe.data_size} pairs. On other subjects and for other people its numbers were not "
        "measured, and a model trained to please it will find what it overlooks.\n"
        "- A reward says which of two answers is likelier to be preferred; it says nothing about truth."
    )
