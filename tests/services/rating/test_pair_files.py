"""Pairs from files: comparison data in its shapes, a whole public preference set."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from studio.domain.votes import Origin
from studio.errors import DatasetError, InputError, NotFoundError
from studio.services import Services, build_services
from studio.services.data.datasets import ImportParts
from studio.services.rating.pair_sources import ImportedPairs
from studio.ui.rating.add_pairs import report_html
from tests.helpers.pair_sources import both, stored
from tests.helpers.preference_transcripts import transcript_rows, write_rows

pytestmark = pytest.mark.timeout(300)


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
    reveal = services.rating.vote(rater, served.pair_id, served.token, "left", 1.0).reveal
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
    assert done.warnings[0] == (
        "rows.jsonl: both answers are the same, so there is nothing to compare (row 3 (line 3))."
    )
    shown, unfolded = report_html(done).split("<details>")
    assert "10 rows read: 1 pairs added, 1 known already, 1 with identical answers, 7 skipped." in shown
    for place, told in ((3, "both answers are the same"), (4, "response-2 is missing"), (5, "holds no answer")):
        assert f"row {place} " in shown, "the first of each kind are named without unfolding anything"
        assert told in shown
    assert "4 more skipped rows" in unfolded
    assert "100,001 characters" in unfolded


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
    done = services.datasets.import_file(
        write_rows(tmp_path / "hh-test.jsonl.gz", rows), ImportParts(heldout_share=0.1)
    )
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
