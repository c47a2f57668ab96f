"""Several answers to one prompt: it is read once, and they are the answers it gets alone."""

from __future__ import annotations

from typing import Any

import pytest

from studio.domain.chat import Sampling
from studio.ml.measure.answers import continue_ids, drawing, seeded
from studio.ml.models.loading import load_tokenizer
from tests.helpers.chat_models import EMBEDDED
from tests.helpers.families import family

LONG, SHORT = [20, 21, 22, 23, 24, 25, 26, 27], [30, 31, 32]


@pytest.mark.parametrize("name", ["Llama", "Gemma3", "Lfm2"])
def test_equal_prompts_are_read_once(name: str) -> None:
    model, tokenizer, read = family(name), load_tokenizer(EMBEDDED), []
    model.base_model.embed_tokens.register_forward_hook(lambda _, args, __: read.append(args[0].numel()))

    def answers(*rows: list[int], **options: Any) -> list[list[int]]:
        read.clear()
        return continue_ids(model, tokenizer, rows, max_new_tokens=6, **options)

    alone = [answers(row, do_sample=False)[0] for row in (LONG, SHORT)]
    together = answers(LONG, SHORT, LONG, LONG, SHORT, do_sample=False)
    assert together == [alone[0], alone[1], alone[0], alone[0], alone[1]]
    # both prompts once but for their last token, which begins the answers
    assert read[:2] == [2 * (len(LONG) - 1), 5]
    with seeded(model, 3):
        drawn = answers(*[LONG] * 8, **drawing(Sampling(temperature=5.0, top_p=1.0)))
    assert len({tuple(row) for row in drawn}) > 1, "each draws its own"


def test_a_prompt_of_one_token_among_longer_ones() -> None:
    model, tokenizer = family("Llama"), load_tokenizer(EMBEDDED)
    together = continue_ids(model, tokenizer, [[20], LONG, [20]], max_new_tokens=6, do_sample=False)
    assert together[0] == together[2] == continue_ids(model, tokenizer, [[20]], max_new_tokens=6, do_sample=False)[0]
