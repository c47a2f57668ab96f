"""Pairs come in: from panes, from batches in the background, from files; each with who answered, none lost, none twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from compare_helpers import add_run
from conftest import wait_until
from transcripts import transcript_rows, write_rows

from studio.config import Settings
from studio.domain import BASE, Message, Sampling
from studio.errors import ConflictError, DatasetError, InputError, NotFoundError, StudioError
from studio.services import Services, build_services
from studio.services.compare import PaneChat, row_seed
from studio.services.pair_batches import BatchForm, Question
from studio.services.pair_identity import pair_identity
from studio.services.pair_sources import ImportedPairs
from studio.ui import talk as talks
from studio.ui.pairs_box import batch_html, report_html
from studio.ui.talk import Asked, Pane, Talk
from studio.votes import AnswerPair, Origin

#: Wild enough that two answers differ, whatever the base was taught.
HOW = Sampling(temperature=1.8, top_p=0.99, max_new_tokens=12, seed=5)
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    made = build_services(settings)
    yield made
    made.sources.close()
    made.compare.close()
    made.rating.close()


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, Any], Path]:
    def write(name: str, content: Any) -> Path:
        path = tmp_path / name
        text = "".join(json.dumps(row) + "\n" for row in content) if isinstance(content, list) else content
        path.write_text(text, encoding="utf-8")
        return path

    return write


def stored(services: Services) -> tuple[AnswerPair, ...]:
    return services.rating.ballots().pairs


def chat(pane: str, *texts: str) -> PaneChat:
    return PaneChat(pane, tuple(Message("assistant" if i % 2 else "user", text) for i, text in enumerate(texts)))


def both(pair: AnswerPair) -> dict[str, Origin]:
    return {pair.answer_1: pair.origin_1, pair.answer_2: pair.origin_2}


# -- answers on screen --------------------------------------------------------------------------------------------------


def test_answers_on_screen_become_pairs_that_know_who_answered(services: Services) -> None:
    run_id = add_run(services.runs, "run-1", title="First", system="Be kind.")
    answers = [(BASE, "from the base"), (run_id, "from the run")]
    added = services.sources.from_panes("Q?", (), "Be kind.", answers, HOW)
    assert (added.added, added.known, added.identical) == (1, 0, 0)
    (pair,) = stored(services)
    assert pair.id == added.ids[0] == pair_identity("Q?", "from the run", "from the base", (), "Be kind.")
    assert (pair.source, pair.prompt, pair.system_prompt) == ("compare", "Q?", "Be kind.")
    run, base = both(pair)["from the run"], both(pair)["from the base"]
    view = services.runs.get(run_id)
    drawn = {"temperature": 1.8, "top_p": 0.99, "max_new_tokens": 12, "seed": 5}
    known = {"model": "embedded", "fingerprint": view.recipe.base.fingerprint}
    assert base == Origin("base", "Base model", **known, **drawn)
    assert run == Origin(
        "adapter", run.label, run_id=run_id, adapter_hash=view.adapter_hash, ratio=0.9, **known, **drawn
    )
    assert "First" in run.label
    again = services.sources.from_panes("Q?", (), "Be kind.", answers, HOW)
    assert (again.added, again.known, len(stored(services))) == (0, 1, 1)


def test_only_panes_that_were_asked_the_same_make_pairs(services: Services) -> None:
    for name in ("run-1", "run-2"):
        add_run(services.runs, name)
    chats = [
        chat(BASE, "one", "a", "two", "x"),
        chat("run-1", "one", "a", "two", "y"),
        chat("run-2", "one", "b", "two", "z"),
        chat(BASE, "one", "a", "two", " x "),
        chat(BASE, "one", "a", "two"),
    ]
    added = services.sources.from_chats(chats, "", HOW)
    # x-y and y-" x " are one pair, x-" x " are the same answer, z was said after another first answer
    assert (added.added, added.known, added.identical) == (1, 1, 1)
    (pair,) = stored(services)
    assert [turn.content for turn in pair.history] == ["one", "a"]
    for wrong, sentence in (
        ([chats[0], chats[4]], "answers in two panes"),
        ([chats[0], chats[2]], "said different things before"),
        ([chats[0], chat("run-gone", "one", "a", "two", "q")], "run-gone"),
    ):
        with pytest.raises(StudioError, match=sentence):
            services.sources.from_chats(wrong, "", HOW)
    assert len(stored(services)) == 1


def test_the_browser_remembers_how_finished_answers_were_made() -> None:
    asked = Asked("Be kind.", HOW, "embedded")
    done = Talk((Pane(BASE, (Message("user", "Q"), Message("assistant", "A"))),), sampling=Sampling(), asked=asked)
    kept = json.loads(json.dumps(talks.store(done)))
    assert talks.restore(kept) == done
    assert talks.ask(done, "Next?").asked is None
    assert talks.ask_again(done).asked is None
    assert talks.restore({**kept, "asked": None}) == replace(done, asked=None)
    for broken in (["x"], ["", [9, 9, 9, 9], "embedded"], [1, [0.5, 1, 8, 1], ""], "no"):
        assert talks.restore({**kept, "asked": broken}) is None


# -- batches ------------------------------------------------------------------------------------------------------------


def form(services: Services, count: int, first: str, second: str, **changes: Any) -> BatchForm:
    questions = tuple(Question(f"Question {number}?") for number in range(count))
    return BatchForm(questions, first, second, **{"sampling": HOW, **changes})


def finish(services: Services) -> str:
    wait_until(lambda: not services.sources.batch_status().busy, 240)
    return services.sources.batch_status().state


def test_a_batch_answers_every_prompt_by_both_models(services: Services) -> None:
    run_id = add_run(services.runs, "run-1", system="Be kind.")
    wanted = form(services, 11, BASE, run_id, system_prompt="Be kind.")
    services.sources.start_batch(wanted)
    assert finish(services) == "done"
    status = services.sources.batch_status()
    assert (status.done, status.total) == (11, 11)
    assert status.added + status.identical + status.unusable == 11
    assert status.added == len(stored(services)) > 5
    assert "Base model against" in status.title
    assert services.sources.counts() == {"batch": status.added}
    for pair in stored(services):
        first = row_seed(5, int(pair.prompt.split()[1].strip("?")))
        told = (Message("system", "Be kind."), Message("user", pair.prompt))
        for answer, origin in both(pair).items():  # what is recorded is enough to draw the answer again
            assert (origin.kind, origin.run_id, origin.seed) in (("base", "", first), ("adapter", run_id, first + 1))
            pane = origin.run_id or BASE
            again = [*services.compare.stream([PaneChat(pane, told, origin.seed)], HOW)][-1]
            assert again[0].text == answer
        assert (pair.system_prompt, pair.source) == ("Be kind.", "batch")
    services.sources.start_batch(wanted)  # the same again: nothing is stored twice
    assert finish(services) == "done"
    assert services.sources.batch_status().known == status.added == len(stored(services))


def test_two_samples_of_one_model_are_drawn_with_different_seeds(services: Services) -> None:
    wild = Sampling(temperature=2.0, top_p=1.0, max_new_tokens=24, seed=5)  # so that two samples do differ
    history = (Message("user", "Hello"), Message("assistant", "Hi"))
    questions = (Question("And now?", history), Question("What else?"))
    services.sources.start_batch(BatchForm(questions, BASE, BASE, wild, "Be kind."))
    assert finish(services) == "done"
    assert services.sources.batch_status().title == "two samples of Base model"
    found = {pair.prompt: pair for pair in stored(services)}
    assert found["And now?"].history == history
    first = row_seed(5, 0)
    assert {origin.seed for origin in both(found["And now?"]).values()} == {first, first + 1}
    told = (Message("system", "Be kind."), *history, Message("user", "And now?"))
    for answer, origin in both(found["And now?"]).items():  # what is recorded is enough to draw the answer again
        again = [*services.compare.stream([PaneChat(BASE, told, origin.seed)], wild)][-1]
        assert again[0].text == answer


def test_a_batch_is_cancelled_keeps_its_pairs_and_lets_chats_through(services: Services) -> None:
    add_run(services.runs, "run-1")
    services.sources.start_batch(form(services, 400, BASE, "run-1"))
    with pytest.raises(ConflictError, match="being made already"):
        services.sources.start_batch(form(services, 1, BASE, "run-1"))
    wait_until(lambda: services.sources.batch_status().done >= 8, 240)
    answered = [*services.compare.stream([chat(BASE, "Hello")], HOW)][-1]
    assert answered[0].done
    assert services.sources.batch_status().busy
    services.sources.cancel_batch()
    assert finish(services) == "cancelled"
    status = services.sources.batch_status()
    assert 8 <= status.done < 400
    assert status.added == len(stored(services)) > 0
    assert "what was made is kept" in batch_html(status)
    services.sources.start_batch(form(services, 1, BASE, "run-1"))
    assert finish(services) == "done"


def test_a_batch_that_fails_says_why_and_keeps_what_it_made(services: Services) -> None:
    run_id = add_run(services.runs, "run-1")
    services.sources.start_batch(form(services, 400, BASE, run_id))
    wait_until(lambda: services.sources.batch_status().done >= 8, 240)
    services.runs.delete(run_id)
    assert finish(services) == "failed"
    status = services.sources.batch_status()
    assert "run-1" in status.error
    assert status.added == len(stored(services)) > 0
    assert "run-message" in batch_html(status)


def test_a_batch_that_cannot_be_made_is_refused_at_once(services: Services) -> None:
    add_run(services.runs, "run-1")
    good = form(services, 2, BASE, "run-1")
    for wrong, sentence in (
        (replace(good, questions=()), "no prompt"),
        (replace(good, questions=(Question(" "),)), "prompt 1 is empty"),
        (replace(good, second=BASE, sampling=replace(HOW, temperature=0)), "temperature 0"),
        (replace(good, sampling=replace(HOW, top_p=0)), "top_p"),
        (replace(good, second="run-none"), "run-none"),
        (replace(good, second="../x"), "run id"),
        (form(services, 2_001, BASE, "run-1"), "2,001 prompts"),
    ):
        with pytest.raises(StudioError, match=sentence):
            services.sources.start_batch(wrong)
    assert services.sources.batch_status().state == "idle"
    services.sources.cancel_batch()  # nothing to cancel is no fault


def test_prompts_for_a_batch_come_from_datasets(services: Services, put: Callable[[str, Any], Path]) -> None:
    talk = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    rows = [
        {"prompt": [*talk, {"role": "user", "content": f"Q{n}?"}], "chosen": f"yes {n}", "rejected": f"no {n}"}
        for n in range(4)
    ]
    tests = put("tests.txt", "One?\nTwo?\nOne?\n")
    data = services.datasets.import_file(put("a.jsonl", rows), tests, heldout_fraction=0.5).dataset
    offered = {source.id: source.n for source in services.sources.prompt_sources()}
    assert (offered[f"heldout:{data.id}"], offered[f"test:{data.id}"]) == (2, 3)
    assert [q.prompt for q in services.sources.questions(f"test:{data.id}")] == ["One?", "Two?"]
    aside = services.sources.questions(f"heldout:{data.id}")
    assert {q.prompt for q in aside} == {pair.prompt for pair in data.heldout}
    assert [turn.content for turn in aside[0].history] == ["Hello", "Hi"]
    for wrong in ("heldout:none", "lines", "other:x"):
        with pytest.raises(NotFoundError):
            services.sources.questions(wrong)


# -- files --------------------------------------------------------------------------------------------------------------

DOLLY = {"instruction": "Say hi", "input": "", "response-1": "hi", "response-2": "hello", "category": "chat"}


@pytest.mark.parametrize(
    ("name", "content", "prompt", "labels"),
    {
        "dolly": ("dolly.jsonl", [DOLLY], "Say hi", ("dolly: response-1", "dolly: response-2")),
        "dolly, underlined": (
            "d.jsonl",
            [{"prompt": "Say hi", "response_1": "hi", "response_2": "hello"}],
            "Say hi",
            ("d: response_1", "d: response_2"),
        ),
        "dolly with input": (
            "d.jsonl",
            [{**DOLLY, "input": "to her"}],
            "Say hi\n\nto her",
            ("d: response-1", "d: response-2"),
        ),
        "models named": (
            "d.json",
            json.dumps([{**DOLLY, "model-1": "falcon", "model-2": "dolly"}]),
            "Say hi",
            ("falcon", "dolly"),
        ),
        "csv": (
            "c.csv",
            "instruction,response-1,response-2\nSay hi,hi,hello\n",
            "Say hi",
            ("c: response-1", "c: response-2"),
        ),
        "tsv": ("c.tsv", "prompt\tchosen\trejected\nSay hi\thi\thello\n", "Say hi", ("c", "c")),
        "labels": ("l.jsonl", [{"prompt": "Say hi", "chosen": "hi", "rejected": "hello"}], "Say hi", ("l", "l")),
        "sides": (
            "s.jsonl",
            [{"prompt": "Say hi", "support": "hi", "oppose": "hello"}],
            "Say hi",
            ("s: support", "s: oppose"),
        ),
        "own json": (
            "o.json",
            json.dumps({"pairs": [{"prompt": "Say hi", "support": "hi", "oppose": "hello"}]}),
            "Say hi",
            ("o: support", "o: oppose"),
        ),
    }.values(),
)
def test_comparison_data_in_its_shapes(
    services: Services, put: Callable[[str, Any], Path], name: str, content: Any, prompt: str, labels: tuple[str, str]
) -> None:
    done = services.sources.import_file(put(name, content))
    assert (done.rows, done.added, done.skipped) == (1, 1, ())
    (pair,) = stored(services)
    assert (pair.prompt, pair.source, set(both(pair))) == (prompt, "import", {"hi", "hello"})
    assert (both(pair)["hi"].label, both(pair)["hello"].label) == labels
    assert {origin.kind for origin in both(pair).values()} == {"import"}
    if labels[0] == labels[1]:  # labelled data: the label is kept, and no name gives it away
        assert {pair.answer_1: "1", pair.answer_2: "2"}["hi"] == pair.preferred
    else:
        assert pair.preferred == ""


def test_a_hidden_label_is_served_to_nobody(services: Services, put: Callable[[str, Any], Path]) -> None:
    services.sources.import_file(put("l.jsonl", [{"prompt": "Say hi", "chosen": "hi", "rejected": "hello"}]))
    services.rating.set_rules(replace(services.rating.rules(), reveal=True))
    rater, _ = services.rating.register("Ada")
    served = services.rating.serve(rater)
    assert served is not None
    assert not {"preferred", "chosen", "rejected"} & set(json.dumps(asdict(served)).split('"'))
    reveal = services.rating.vote(rater, served.pair_id, served.token, "left", 1.0)
    assert reveal is not None
    assert (reveal.left, reveal.right) == ("l", "l")


def test_pairs_of_this_studio_keep_their_origins_and_labels(
    services: Services, put: Callable[[str, Any], Path], tmp_path: Path
) -> None:
    origin = Origin("adapter", "Mine", model="embedded", run_id="run-x", adapter_hash="abc", ratio=0.9, seed=7)
    row = {
        "id": "whatever",
        "prompt": "And now?",
        "history": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}],
        "system_prompt": "Be kind.",
        "answer_1": "Human: is a word",
        "answer_2": "Human: is another",
        "origin_1": asdict(origin),
        "origin_2": asdict(Origin("base", "Base model", model="embedded")),
        "preferred": "2",
        "winner": "answer_1",
    }
    path = tmp_path / "pairs.parquet"
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    for source in (put("pairs.jsonl", [row]), path):
        done = services.sources.import_file(source)
        assert (done.added + done.known, done.skipped) == (1, ())
    assert "winner" in done.warnings[0]
    (pair,) = stored(services)
    assert both(pair)["Human: is a word"] == origin
    assert (pair.system_prompt, [turn.content for turn in pair.history]) == ("Be kind.", ["Hello", "Hi"])
    assert {pair.answer_1: "1", pair.answer_2: "2"}["Human: is another"] == pair.preferred


def test_every_row_is_accounted_for(services: Services, put: Callable[[str, Any], Path]) -> None:
    rows: list[Any] = [
        {"prompt": "One", "response-1": "a", "response-2": "b"},
        {"prompt": "One", "response-1": "b", "response-2": "a "},
        {"prompt": "Two", "response-1": "same", "response-2": " same"},
        {"prompt": "Three", "response-1": "a"},
        {"prompt": "Four", "response-1": "", "response-2": "b"},
        {"response-1": "a", "response-2": "b"},
        {"prompt": "Six", "response-1": "a\0", "response-2": "b"},
        {"prompt": "Seven", "response-1": "x" * 100_001, "response-2": "b"},
        {"prompt": "Eight", "response-1": 8, "response-2": "b"},
        "nine",
    ]
    done = services.sources.import_file(put("rows.jsonl", rows))
    assert (done.rows, done.added, done.known, done.identical, len(done.skipped)) == (10, 1, 1, 1, 7)
    assert done.rows == done.added + done.known + done.identical + len(done.skipped)
    for place, told in enumerate(
        (
            "response-2 is missing",
            "response-1 holds no answer",
            "prompt",
            "NUL",
            "100,001 characters",
            "number",
            "type str",
        )
    ):
        (said,) = [line for line in done.skipped if f"row {place + 4} " in line]
        assert told in said
    assert "7 skipped" in report_html(done)


def test_a_file_with_nothing_to_use_is_refused_whole(services: Services, put: Callable[[str, Any], Path]) -> None:
    for name, content, sentence in (
        ("a.jsonl", [{"prompt": "p", "answer": "x"}], "no two answers"),
        ("a.jsonl", [{"prompt": "p", "response-1": "x", "response-2": ""}], "no row that can be used"),
        ("a.jsonl", '{"prompt": "p", "chosen": "a", "rejected": "b"}\n{"prompt"', "row 2"),
        ("a.txt", "hello", "known format"),
        ("a.json", "[]", "no rows"),
    ):
        with pytest.raises(DatasetError, match=sentence):
            services.sources.import_file(put(name, content))
    with pytest.raises(DatasetError, match="owner/name"):
        services.sources.import_hub("/etc/passwd")
    with pytest.raises(NotFoundError):
        services.sources.import_file("/no/such/file.jsonl")
    assert stored(services) == ()


def test_what_a_file_says_is_escaped() -> None:
    done = ImportedPairs(2, 1, 0, 0, ("row 1: <img src=x> is missing.",), ("<b>fields",))
    shown = report_html(done)
    assert "<img" not in shown
    assert "<b>" not in shown


# -- a public preference set ----------------------------------------------------------------------------------------------

COUNT = 2_300


@pytest.mark.parametrize("name", ["hh-test.jsonl", "hh-test.jsonl.gz"])
def test_whole_transcripts_come_into_rating_without_a_row_lost(services: Services, tmp_path: Path, name: str) -> None:
    path = write_rows(tmp_path / name, transcript_rows(COUNT))
    done = services.sources.import_file(path)
    # one row in 240 has no answer on one side: there is nothing to vote on, and it is said which
    empty = [f"row {number + 1} " for number in range(COUNT) if number % 240 == 207]
    assert (done.rows, done.added, done.known, done.identical) == (COUNT, COUNT - len(empty), 0, 0)
    assert [line[: len(row)] for line, row in zip(done.skipped, empty, strict=True)] == empty
    assert all("rejected holds no answer" in line for line in done.skipped)
    pairs = stored(services)
    assert len(pairs) == COUNT - len(empty)
    assert all(pair.preferred for pair in pairs)
    assert max(len(pair.history) for pair in pairs) >= 6
    tidy = [pair for pair in pairs if pair.answer_1.startswith("no, ") and pair.answer_2.startswith("yes, ")]
    assert len(tidy) == COUNT - sum(number % 40 == 7 for number in range(COUNT))
    assert all(pair.preferred == "2" for pair in tidy)


def test_the_same_file_comes_into_align_without_a_row_lost(services: Services, tmp_path: Path) -> None:
    rows = transcript_rows(COUNT)
    done = services.datasets.import_file(write_rows(tmp_path / "hh-test.jsonl.gz", rows), heldout_fraction=0.1)
    data = done.dataset
    assert (data.kind, len(data.pairs) + len(data.heldout)) == ("labels", COUNT)
    kept = {pair.id: pair for pair in (*data.pairs, *data.heldout)}
    for number, row in enumerate(rows, 1):
        pair = kept[str(number)]
        assert pair.support != pair.oppose
        assert pair.prompt
        roles = [turn.role for turn in pair.history]
        assert roles == ["user", "assistant"] * (len(roles) // 2), "chat templates want turns to alternate"
        if number % 40 != 8:
            asked = "".join(f"\n\n{'Human' if t.role == 'user' else 'Assistant'}: {t.content}" for t in pair.history)
            for answer, field in ((pair.support, "chosen"), (pair.oppose, "rejected")):
                assert f"{asked}\n\nHuman: {pair.prompt}\n\nAssistant: {answer}" == row[field]
    again = build_services(services.settings).datasets.get(data.id)
    assert (again.pairs, again.content_hash) == (data.pairs, data.content_hash)


def test_untidy_transcripts_are_taken_apart_as_a_reader_would(
    services: Services, put: Callable[[str, Any], Path]
) -> None:
    ask, said = "\n\nHuman: ", "\n\nAssistant: "
    cases = {
        "empty turn": (f"{ask}Q{said}{ask}more{said}a", f"{ask}Q{said}{ask}more{said}b", 0, "Q\n\nmore", "a", "b"),
        "two turns": (f"{ask}Q{said}x{said}a", f"{ask}Q{said}x{said}b", 0, "Q", "x\n\na", "x\n\nb"),
        "human turn": (
            f"{ask}Q{said}x{ask}A{said}a",
            f"{ask}Q{said}x{ask}B{said}b",
            0,
            "Q",
            "x\n\nHuman: A\n\nAssistant: a",
            "x\n\nHuman: B\n\nAssistant: b",
        ),
        "shorter": (f"{ask}Q{said}x", f"{ask}Q{said}x{ask}B{said}b", 0, "Q", "x", "x\n\nHuman: B\n\nAssistant: b"),
        "longer": (f"{ask}Q{said}a{ask}M{said}z", f"{ask}Q{said}b", 0, "Q", "a", "b"),
        "none": (f"{ask}Q{said}a", f"{ask}Q{said}", 0, "Q", "a", ""),
        "ends with a question": (f"{ask}Q{said}a{ask}M", f"{ask}Q{said}b{ask}M", 0, "Q", "a", "b"),
        "several rounds": (f"{ask}P{said}x{ask}Q{said}a", f"{ask}P{said}x{ask}Q{said}b", 2, "Q", "a", "b"),
    }
    path = put("t.jsonl", [{"chosen": case[0], "rejected": case[1]} for case in cases.values()])
    pairs = services.datasets.import_file(path).dataset.pairs
    for pair, (name, case) in zip(pairs, cases.items(), strict=True):
        assert (len(pair.history), pair.prompt, pair.support, pair.oppose) == case[2:], name
    nothing = [{"chosen": f"{ask}A{said}a", "rejected": f"{ask}B{said}b"}]
    with pytest.raises(DatasetError, match=r"row 1 .*share no question"):
        services.datasets.import_file(put("n.jsonl", nothing))


def test_rows_that_prefer_nothing_do_not_refuse_a_labelled_file(
    services: Services, put: Callable[[str, Any], Path]
) -> None:
    rows = [{"prompt": "p", "chosen": "a", "rejected": "b"}, {"prompt": "p", "chosen": "a", "rejected": "a "}]
    path = put("l.jsonl", rows)
    report = services.datasets.import_file(path)
    assert len(report.dataset.pairs) == 1
    assert "1 rows prefer nothing and were left out: row 2 (line 2)" in report.warnings[0]
    done = services.sources.import_file(path)
    assert (done.rows, done.added, done.identical) == (2, 1, 1)
    with pytest.raises(InputError, match="are the same"):
        services.datasets.import_file(put("s.jsonl", [{"prompt": "p", "support": "a", "oppose": "a"}, rows[0]]))
