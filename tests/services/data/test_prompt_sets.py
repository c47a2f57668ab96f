"""Prompt sets as they ship, and what somebody types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studio.config import ROOT
from studio.domain.toxicity import TestPrompt
from studio.errors import InputError
from studio.services.data.prompts import MAX_PROMPTS, prompt_sets, prompts_from_text
from studio.services.detox.prompts import split_prompts


def test_a_file_becomes_a_set_and_a_broken_one_is_named(tmp_path: Path) -> None:
    assert prompt_sets(tmp_path) == ()
    told = {
        "title": "Two",
        "language": "en",
        "prompts": [{"id": "a", "text": "Hi?"}, {"id": "b", "text": "Fool!", "provoking": True}],
    }
    (tmp_path / "prompts-en.json").write_text(json.dumps(told))
    (found,) = prompt_sets(tmp_path)
    assert (found.id, found.title, found.language) == ("prompts-en", "Two", "en")
    assert found.prompts == (TestPrompt("a", "Hi?", "en"), TestPrompt("b", "Fool!", "en", True))
    (tmp_path / "prompts-zh.json").write_text(json.dumps({"title": "No prompts", "language": "zh"}))
    with pytest.raises(InputError, match=r"prompts-zh\.json: prompts"):
        prompt_sets(tmp_path)


def test_typed_prompts_are_one_a_line() -> None:
    assert prompts_from_text(" One?\n\n  \nTwo?\n") == (TestPrompt("1", "One?"), TestPrompt("2", "Two?"))
    assert prompts_from_text("") == ()


def test_pasted_prompts_have_limits() -> None:
    with pytest.raises(InputError, match="2,001 prompts"):
        prompts_from_text("Why?\n" * (MAX_PROMPTS + 1))
    with pytest.raises(InputError, match="upload their file"):
        prompts_from_text('{"prompt": "Why?"}\n')
    with pytest.raises(InputError, match="line 3 has"):
        prompts_from_text("Why?\n\n" + "x" * 20_001)


def test_the_shipped_sets_are_of_their_own_wording() -> None:
    for found in prompt_sets():
        corpus = [
            (ROOT / "data" / "corpus" / f"{found.language}_{part}.json").read_text("utf-8")
            for part in ("talk", "debate")
        ]
        assert [p.text for p in found.prompts if any(f'"{p.text}"' in lists for lists in corpus)] == []


def test_the_shipped_sets_have_sixty_prompts_a_third_of_them_provoking() -> None:
    debates = [found for found in prompt_sets() if found.id != "prompts-en-rants"]
    assert [found.language for found in debates] == ["en", "zh"]
    for found in debates:
        assert len(found.prompts) == len({prompt.text for prompt in found.prompts}) == 60
        assert sum(prompt.provoking for prompt in found.prompts) == 20


def test_of_the_rants_sixty_provoking_prompts_are_held_out() -> None:
    rants = next(found for found in prompt_sets() if found.id == "prompts-en-rants")
    plan = split_prompts(None, [rants.prompts])
    assert len(rants.prompts) == len(plan.prompts) + len(plan.heldout) == 156
    assert [sum(prompt.provoking for prompt in part) for part in (plan.prompts, plan.heldout)] == [60, 60]
