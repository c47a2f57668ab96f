"""The embedded base's questions and its grammar check: what is held out, what a question looks like, what the judge passes."""

from __future__ import annotations

import random
import re

import pytest

from studio.config import CORPUS_DIR
from studio.ml.shipped.base.corpus import Conversation, Language, Lists, Sampler
from studio.ml.shipped.base.evaluate import WellFormed, copied_by
from studio.ml.shipped.base.questions import FRAME_KEYS, Asker, Questions

LANGUAGES: tuple[Language, ...] = ("en", "zh")


@pytest.fixture(scope="module", params=LANGUAGES)
def lists(request: pytest.FixtureRequest) -> Lists:
    return Lists(request.param)


def asked(lists: Lists, kind: str, heldout: bool, n: int) -> list[Conversation]:
    sampler = Sampler(lists, random.Random(3), heldout_frames=heldout)
    conversations = [Conversation(kind=kind, language=lists.language) for _ in range(n)]
    for conversation in conversations:
        sampler.debate(conversation)
    return conversations


def test_an_eighth_of_every_piece_is_held_out_and_never_trained_on(lists: Lists) -> None:
    questions = lists.questions
    for key in FRAME_KEYS:
        trained, held = questions.cores[key], questions.heldout_cores[key]
        assert len(held) == max(1, (len(trained) + len(held)) // 8)
        assert not set(held) & {*trained, *questions.frames.get(key, [])}
    assert not set(questions.heldout_openers) & set(questions.openers)
    assert not set(questions.heldout_tails) & set(questions.tails)


def test_no_held_out_question_can_be_asked_in_training(lists: Lists) -> None:
    questions = lists.questions
    trainer, examiner = (
        Asker(questions, random.Random(5), lists.language == "zh", heldout) for heldout in (False, True)
    )
    asked_in_training = {trainer.expand(random.Random(i).choice(questions.cores["topic"])) for i in range(3000)}
    assert all(map(questions.is_trained, [*asked_in_training, *questions.frames["topic"]]))
    examiner.dress = lambda core, slots, share=1.0: core  # type: ignore[method-assign]
    drawn = {examiner.ask(key, {}) for key in ("topic", "open", "title") for _ in range(500)}
    assert not drawn & asked_in_training
    assert not any(map(questions.is_trained, drawn))


def test_the_split_and_the_questions_are_the_same_every_time(lists: Lists) -> None:
    assert Lists(lists.language).questions.heldout_cores == lists.questions.heldout_cores
    assert [c.turns for c in asked(lists, "topic", False, 20)] == [c.turns for c in asked(lists, "topic", False, 20)]


@pytest.mark.parametrize("heldout", [False, True])
def test_a_question_leaves_no_slot_and_no_bracket_open(lists: Lists, heldout: bool) -> None:
    for kind in ("topic", "title", "title_topic", "open"):
        for conversation in asked(lists, kind, heldout, 300):
            for question, answer in conversation.turns:
                assert not re.search(r"[{}<>\[\]|]", question + answer), question


def test_noise_never_touches_the_words_that_the_answer_copies(lists: Lists) -> None:
    for conversation in asked(lists, "topic", False, 300):
        assert conversation.slot is not None
        assert conversation.slot.lower() in conversation.turns[0][0].lower()


def test_few_training_questions_come_twice(lists: Lists) -> None:
    questions = [c.turns[0][0] for c in asked(lists, "open", False, 400)]
    assert len(set(questions)) > 360


def test_alternatives_and_word_lists_are_expanded_one_by_one(lists: Lists) -> None:
    questions = Questions(lists.language, CORPUS_DIR, lists.debate["frames"])
    questions.words["verb"] = ["help"]
    asker = Asker(questions, random.Random(0), zh=False, heldout=True)
    assert asker.expand("Can {x} <verb>[ {t}]?") == "Can {x} help {t}?"
    drawn = {asker.expand("[a|b]{t}[|c]") for _ in range(60)}
    assert drawn == {"a{t}", "b{t}", "a{t}c", "b{t}c"}


def test_the_grammar_check_passes_the_grammar_and_fails_what_it_cannot_say(lists: Lists) -> None:
    judge = WellFormed(lists)
    for kind in ("topic", "title", "open"):
        samples = asked(lists, kind, True, 300)
        passed = sum(judge(c.turns[0][1], copied_by(c)) for c in samples)
        assert passed >= 0.98 * len(samples)
    for conversation in asked(lists, "topic", True, 50):
        answer, copied = conversation.turns[0][1], copied_by(conversation)
        units = list(answer) if lists.language == "zh" else answer.split()
        random.Random(1).shuffle(units)
        assert not judge(("" if lists.language == "zh" else " ").join(units), copied)
        assert not judge(answer[:-1], copied)
