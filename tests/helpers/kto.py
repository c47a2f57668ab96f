"""Answers with thumbs and jobs for the tests of KTO."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from studio.domain.data import RatedAnswer
from studio.domain.runs import BaseModelRef, KtoRecipe
from studio.domain.settings import KtoSettings, LoraSettings
from studio.ml.kto.run import KtoJob
from tests.helpers.dpo import make_pairs


def make_rated(count: int, first: int = 0) -> tuple[RatedAnswer, ...]:
    """Answers of different lengths, those of the *support* side liked, two to each prompt."""
    return tuple(
        answer
        for pair in make_pairs(count // 2, first=first)
        for answer in (
            RatedAnswer(f"{pair.id}-up", pair.prompt, pair.support, True),
            RatedAnswer(f"{pair.id}-down", pair.prompt, pair.oppose, False),
        )
    )


def make_kto_job(
    base: Path,
    folder: Path,
    *,
    rows: tuple[RatedAnswer, ...] | None = None,
    resume: bool = False,
    lora: LoraSettings | None = None,
    **kto: Any,
) -> KtoJob:
    """A job over made-up answers; ``kto`` overrides the small settings used here."""
    rows = make_rated(12) if rows is None else rows
    settings = replace(KtoSettings(batch_size=4, epochs=2, probe_every=2, sample_every=3, warmup_ratio=0.0), **kto)
    recipe = KtoRecipe(
        run_id="test-run",
        title="test",
        base=BaseModelRef("embedded"),
        dataset_id="made-up",
        dataset_title="made up",
        dataset_hash="0",
        row_ids=tuple(row.id for row in rows),
        rows_liked=tuple(row.liked for row in rows),
        system_prompt="",
        preset="",
        lora=lora or LoraSettings(),
        settings=settings,
        created=0.0,
        versions={},
    )
    folder.mkdir(parents=True, exist_ok=True)
    return KtoJob(
        recipe=recipe,
        rows=rows,
        heldout=make_pairs(4, "h", 100),
        judge_pairs=make_pairs(6),
        test_prompts=(),
        base_path=base,
        folder=folder,
        cache_dir=folder.parent / "cache",
        resume=resume,
        threads=lambda: 1,
        device="cpu",
        trust_remote_code=False,
    )
