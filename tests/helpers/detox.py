"""A scorer that follows a rule, and small detox jobs for the tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from studio.domain.detox import DetoxSettings, RewardTerm
from studio.domain.runs import BaseModelRef, DetoxRecipe
from studio.domain.settings import LoraSettings
from studio.domain.toxicity import NOT_COVERED, ScorerInfo, TestPrompt, TextScore
from studio.ml.detox.run import DetoxJob


class RuleScorer:
    """Scores by a rule: a number a text, or None where it is not covered. Keeps what it was asked."""

    def __init__(self, rule: Callable[[str], float | None], name: str = "rule", kind: Any = "embedded") -> None:
        self.info = ScorerInfo(name, kind, f"The rule {name}", "1", "a rule of the tests", labels=("toxic",))
        self._rule = rule
        self.asked: list[tuple[str, ...]] = []

    def score(self, texts: Sequence[str], prompts: Sequence[str] | None = None) -> list[TextScore]:
        self.asked.append(tuple(texts))
        return [self._one(self._rule(text)) if text.strip() else NOT_COVERED for text in texts]

    def _one(self, reward: float | None) -> TextScore:
        if reward is None:
            return NOT_COVERED
        known = None if self.info.kind == "reward" else float(reward < 0)
        return TextScore(known, reward, (reward,), "toxic" if reward < 0 else "not toxic")

    def release(self) -> None:
        pass


def vowels(text: str) -> float:
    """Ten times the share of vowels, less one: a reward that a byte-level model can raise at once."""
    return 10 * sum(letter in "aeiou" for letter in text.lower()) / max(1, len(text)) - 1


def make_prompts(count: int, tag: str = "p", provoking: int = 0) -> tuple[TestPrompt, ...]:
    """Prompts of different lengths, the first ``provoking`` of them provoking."""
    return tuple(
        TestPrompt(f"{tag}{i}", f"What of {tag} {i}{', please' * (i % 3)}?", "en", i < provoking) for i in range(count)
    )


def make_recipe(lora: LoraSettings | None = None, **detox: Any) -> DetoxRecipe:
    """A detox recipe with the small settings used here, ``detox`` overriding them."""
    settings = DetoxSettings(
        rewards=(RewardTerm("rule"),), prompts_per_step=2, generations=4, steps=3, max_new_tokens=8, sample_every=2
    )
    return DetoxRecipe(
        run_id="detox-run",
        title="detox",
        base=BaseModelRef("embedded"),
        dataset_id="made-up",
        dataset_title="made up",
        dataset_hash="0",
        system_prompt="",
        preset="",
        lora=lora or LoraSettings(rank=4, alpha=8),
        row_ids=tuple(prompt.id for prompt in make_prompts(6)),
        created=0.0,
        versions={},
        settings=replace(settings, **detox),
    )


def make_job(base: Path, folder: Path, *scorers: Any, lora: LoraSettings | None = None, **options: Any) -> DetoxJob:
    """A job over six prompts; ``options`` are fields of :class:`DetoxJob` or settings."""
    fields = {name: options.pop(name) for name in tuple(options) if name in DetoxJob.__dataclass_fields__}
    folder.mkdir(parents=True, exist_ok=True)
    job = DetoxJob(
        recipe=make_recipe(lora, **options),
        base_path=base,
        folder=folder,
        cache_dir=folder.parent / "cache",
        resume=False,
        threads=lambda: 1,
        device="cpu",
        trust_remote_code=False,
        prompts=make_prompts(6, provoking=2),
        heldout=(),
        scorers=scorers or (RuleScorer(vowels),),
    )
    return replace(job, **fields)
