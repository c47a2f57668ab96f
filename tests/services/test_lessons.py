"""The shipped lessons are whole and their data is there; a broken one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.config import ROOT, Settings
from studio.errors import InputError
from studio.services.align.form import AlignForm
from studio.services.lessons import read_lessons
from studio.services.recipes.presets import PRESETS
from tests.helpers.services import opened


def test_the_seven_shipped_lessons_can_be_trained(settings: Settings) -> None:
    lessons = read_lessons(ROOT / "data" / "lessons")
    assert len(lessons) == 7
    assert len({lesson.title for lesson in lessons}) == 7
    preset = PRESETS["embedded"]
    with opened(settings) as services:
        for lesson in lessons:
            rows = services.align.preview(
                AlignForm(
                    base="embedded",
                    dataset_id=lesson.dataset_id,
                    support_ratio=lesson.ratio,
                    data_size=lesson.data_size,
                    preset=preset.name,
                    lora=preset.lora,
                    settings=preset.settings,
                )
            )
            assert len(rows) == lesson.data_size
            assert sum(not row.flipped for row in rows) == round(lesson.ratio * lesson.data_size)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no head", "broken.md has no title"),
        ("---\ntitle: A\ndata: x\nratio: often\npairs: 5\nask: How?\n---\nB\n\n## After\n\nC\n", "must be numbers"),
        ("---\ntitle: A\ndata: x\nratio: 1\npairs: 5\nask: How?\n---\nB\n", "below '## After'"),
    ],
)
def test_a_broken_lesson_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "broken.md").write_text(text)
    with pytest.raises(InputError, match=words):
        read_lessons(tmp_path)
