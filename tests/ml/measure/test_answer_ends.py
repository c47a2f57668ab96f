"""An answer ends at the same place whoever asks: the chat, what is measured, a detox run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.domain.chat import Sampling
from studio.domain.data import Message
from studio.domain.events import DetoxEvent, TranscriptEvent
from studio.ml.chat.engine import ChatEngine, GenRow
from studio.ml.detox.run import train_detox
from studio.ml.measure.answers import greedy_answers, sample_answers
from studio.ml.models.loading import load_model, load_tokenizer
from studio.ml.models.prompts import cut_answer, next_turn
from tests.helpers.chain_base import PLAIN_HEADINGS, QUESTIONS, TURNS, USERS, make_chain
from tests.helpers.chat_models import source
from tests.helpers.detox import RuleScorer, make_job, vowels

LONGEST = 12


@pytest.fixture(scope="module", params=["turns", "questions", "users"])
def chain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bases that answer "!" and would go on with further turns: one whose template ends turns with a token that is not its
    end of text, one in the studio's frame, one with headings of plain text."""
    folder = tmp_path_factory.mktemp("chain")
    return {
        "turns": lambda: make_chain(folder, TURNS),
        "questions": lambda: make_chain(folder, QUESTIONS, None),
        "users": lambda: make_chain(folder, USERS, PLAIN_HEADINGS),
    }[request.param]()


def chat(base: Path) -> list[str]:
    engine = ChatEngine()
    try:
        *_, last = engine.generate(
            source(base), [GenRow((Message("user", "Well?"),))], {}, Sampling(max_new_tokens=LONGEST)
        )
        return [pane.text for pane in last]
    finally:
        engine.close()


def measured(answers: Callable[..., list[str]], **options: Any) -> Callable[[Path], list[str]]:
    def ask(base: Path) -> list[str]:
        model, tokenizer = load_model(base, device="cpu"), load_tokenizer(base)
        return answers(model, tokenizer, ["Well?", "And now?"], "", max_new_tokens=LONGEST, **options)

    return ask


@pytest.mark.parametrize(
    "answers", [chat, measured(greedy_answers), measured(sample_answers, seed=1)], ids=["chat", "greedy", "sampled"]
)
def test_an_answer_ends_with_its_turn(chain: Path, answers: Callable[[Path], list[str]]) -> None:
    assert set(answers(chain)) == {"!"}


@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_a_detox_run_learns_from_answers_that_end_with_their_turn(chain: Path, tmp_path: Path, algorithm: str) -> None:
    scorer, events = RuleScorer(vowels), list[Any]()
    job = make_job(chain, tmp_path, scorer, algorithm=algorithm, steps=1, max_new_tokens=LONGEST)
    train_detox(job, events.append, lambda: False)
    assert {text for asked in scorer.asked for text in asked} == {"!"}
    step = next(event for event in events if isinstance(event, DetoxEvent))
    assert step.clipped == 0
    assert step.length == 1
    assert {event.answer for event in events if isinstance(event, TranscriptEvent)} == {"!"}


def test_a_heading_cut_by_the_longest_answer_is_no_part_of_it() -> None:
    mark = "\n### User:"
    for tail in ("", "\n#", "\n###", "\n\n### Us", "\n### User:", "\n### User: More"):
        assert cut_answer(f"Yes, indeed.{tail}", mark) == "Yes, indeed."
    assert cut_answer("A list:\n#1", mark) == "A list:\n#1"
    assert cut_answer("Yes.\n###", "") == "Yes.\n###"


@pytest.mark.parametrize(
    ("template", "mark"),
    [
        (PLAIN_HEADINGS, "\nUser:"),
        ("{% for m in messages %}### {{ m.role }}\n{{ m.content }}\n\n{% endfor %}### assistant\n", "\n### user"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}\n{% endfor %}assistant:", "\nuser:"),
        ("{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}<|assistant|>\n", ""),
        ("{% for m in messages %}[INST] {{ m.content }} [/INST]{{ eos_token }}{% endfor %}", ""),
    ],
)
def test_the_heading_of_the_next_turn_is_read_off_the_template(tmp_path: Path, template: str, mark: str) -> None:
    assert next_turn(load_tokenizer(make_chain(tmp_path / "base", TURNS, template))) == mark
