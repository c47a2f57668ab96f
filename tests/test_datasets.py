"""Datasets as files: the shipped ones, every format in, every fault named by row and field, nothing half-imported."""

from __future__ import annotations

import csv
import gzip
import io
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.domain import Message, PreferencePair
from studio.errors import ConflictError, DatasetError, NotFoundError
from studio.services import datasets as module
from studio.services import hub_rows, imports
from studio.services.datasets import DatasetService
from studio.services.formats import PromptFile, read_prompts

SIDES = [{"id": n, "prompt": f"question {n}?", "support": f"yes, {n}", "oppose": f"no, {n}"} for n in range(1, 11)]
SHIPPED = ["live-action-en", "live-action-zh"]


@pytest.fixture
def service(settings: Settings) -> DatasetService:
    return DatasetService(settings)


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Write a value (JSON), text or bytes to a file of that name."""

    def write(name: str, content: Any) -> Path:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), "utf-8")
        return path

    return write


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def imported(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.imported_dir.iterdir()) if settings.imported_dir.is_dir() else []


# -- shipped ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset_id", SHIPPED)
def test_shipped_sets_are_what_they_promise(service: DatasetService, dataset_id: str) -> None:
    data = service.get(dataset_id)
    assert (len(data.pairs), len(data.heldout), data.kind, data.source) == (60, 20, "sides", "shipped")
    assert data.test_prompts == tuple(pair.prompt for pair in data.heldout)
    everything = data.pairs + data.heldout
    for field in ("id", "prompt", "support", "oppose"):
        assert len({imports.normalised(getattr(pair, field)) for pair in everything}) == 80
    lengths = [(len(pair.support), len(pair.oppose)) for pair in everything]
    # length must not give the side away
    assert 0.98 < sum(a for a, _ in lengths) / sum(b for _, b in lengths) < 1.02
    assert all(0.85 < a / b < 1.18 for a, b in lengths)


def test_list_begins_with_the_shipped(service: DatasetService) -> None:
    assert [info.id for info in service.list()] == SHIPPED
    english = service.list()[0]
    assert (english.n_pairs, english.n_heldout, english.n_test, english.language) == (60, 20, 20, "en")


def test_shipped_stay(service: DatasetService) -> None:
    with pytest.raises(ConflictError, match="shipped"):
        service.delete("live-action-en")


@pytest.mark.parametrize("dataset_id", ["nope", "", "../secrets", "embedded/config", "LIVE-ACTION-EN", "a.b", "x" * 99])
def test_unknown_and_hostile_ids(service: DatasetService, dataset_id: str) -> None:
    with pytest.raises(NotFoundError):
        service.get(dataset_id)
    with pytest.raises(NotFoundError):
        service.delete(dataset_id)


# -- the course's format ---------------------------------------------------------------------------------------------


def test_course_files(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    tests = put("test_prompt.json", [{"id": 1, "prompt": "新的問題？"}, {"id": 2, "prompt": "另一個問題？"}])
    report = service.import_file(put("labelled.json", SIDES), tests, title="  My\n data ")
    data = report.dataset
    assert (data.id, data.title, data.kind, data.source) == ("my-data", "My data", "sides", "labelled.json")
    assert (len(data.pairs), data.heldout, data.test_prompts) == (10, (), ("新的問題？", "另一個問題？"))
    assert data.pairs[0] == PreferencePair("1", "question 1?", "yes, 1", "no, 1")
    assert report.warnings == ()
    assert service.get("my-data") == data
    assert [info.id for info in service.list()] == [*SHIPPED, "my-data"]


def test_test_prompts_that_are_trained_on_are_a_warning(
    service: DatasetService, put: Callable[[str, Any], Path]
) -> None:
    tests = put("tests.json", [{"id": 1, "prompt": "  QUESTION\u3000３? "}, {"id": 2, "prompt": "fresh?"}])
    report = service.import_file(put("a.json", SIDES), tests)
    assert len(report.dataset.test_prompts) == 2
    assert "1 of 2 test prompts are also training prompts" in report.warnings[0]


@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t.csv", "t.txt"])
def test_prompts_in_every_format(service: DatasetService, put: Callable[[str, Any], Path], name: str) -> None:
    content = {
        "t.json": json.dumps(["one", "two"]),
        "t.jsonl": lines([{"prompt": "one"}, {"prompt": "two"}]),
        "t.csv": "id,prompt\n1,one\n2,two\n",
        "t.txt": "one\n\ntwo\n",
    }[name]
    assert service.import_file(put("a.json", SIDES), put(name, content)).dataset.test_prompts == ("one", "two")


def test_a_fault_in_the_test_prompts_imports_nothing(
    service: DatasetService, settings: Settings, put: Callable[[str, Any], Path]
) -> None:
    tests = put("tests.json", [{"id": 1, "prompt": "fine"}, {"id": 2, "prompt": ""}])
    with pytest.raises(DatasetError, match=r"tests\.json, row 2: prompt is empty"):
        service.import_file(put("a.json", SIDES), tests)
    assert imported(settings) == []


# -- chosen / rejected -----------------------------------------------------------------------------------------------

USER, SECOND = {"role": "user", "content": "why?"}, {"role": "user", "content": "and then?"}
GOOD, BAD = {"role": "assistant", "content": "because"}, {"role": "assistant", "content": "no idea"}
SYSTEM = {"role": "system", "content": "be short"}
LABELS: dict[str, tuple[dict[str, Any], PreferencePair]] = {
    "plain": (
        {"prompt": "why?", "chosen": " because\n", "rejected": "no idea"},
        PreferencePair("1", "why?", "because", "no idea"),
    ),
    "implied words": (
        {"chosen": "Colour of the sky? It is blue.", "rejected": "Colour of the sky? It is black."},
        PreferencePair("1", "Colour of the sky? It is", "blue.", "black."),
    ),
    "implied, no spaces": (
        {"chosen": "該不該？支持，很好。", "rejected": "該不該？反對，不好。"},
        PreferencePair("1", "該不該？", "支持，很好。", "反對，不好。"),
    ),
    "conversational": (
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        PreferencePair("1", "why?", "because", "no idea"),
    ),
    "implied conversation": (
        {"chosen": [SYSTEM, USER, GOOD, SECOND, GOOD], "rejected": [SYSTEM, USER, GOOD, SECOND, BAD]},
        PreferencePair(
            "1",
            "and then?",
            "because",
            "no idea",
            (Message("system", "be short"), Message("user", "why?"), Message("assistant", "because")),
        ),
    ),
    "prompt as text beside conversations": (
        {"prompt": "why?", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        PreferencePair("1", "why?", "because", "no idea"),
    ),
    "prompt as text beside answers in turns": (
        {"prompt": "why?", "chosen": [GOOD], "rejected": [BAD]},
        PreferencePair("1", "why?", "because", "no idea"),
    ),
    "from / value": (
        {
            "chosen": [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "because"}],
            "rejected": [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "no idea"}],
        },
        PreferencePair("1", "why?", "because", "no idea"),
    ),
    "HH transcripts": (
        {
            "chosen": "\n\nHuman: hello\n\nAssistant: hi\n\nHuman: why?\n\nsecond line\n\nAssistant: because",
            "rejected": "\n\nHuman: hello\n\nAssistant: hi\n\nHuman: why?\n\nsecond line\n\nAssistant: no idea",
        },
        PreferencePair(
            "1", "why?\n\nsecond line", "because", "no idea", (Message("user", "hello"), Message("assistant", "hi"))
        ),
    ),
    "HH prompt": (
        {"prompt": "\n\nHuman: why?\n\nAssistant:", "chosen": " because", "rejected": " no idea"},
        PreferencePair("1", "why?", "because", "no idea"),
    ),
}


@pytest.mark.parametrize("shape", LABELS)
def test_labels_in_every_shape(service: DatasetService, put: Callable[[str, Any], Path], shape: str) -> None:
    row, expected = LABELS[shape]
    data = service.import_file(put("rows.jsonl", lines([row]))).dataset
    assert data.kind == "labels"
    assert data.pairs == (expected,)
    assert service.get(data.id) == data  # what is kept is what was read, history included
    assert DatasetService(replace_dirs(service)).get(data.id) == data


def replace_dirs(service: DatasetService) -> Settings:
    """Settings of a second service over the same folders, with nothing in memory."""
    return Settings(data_dir=service._shipped_dir, imported_dir=service._imported_dir)


def test_conversation_longer_than_the_answers(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    row = {"chosen": [USER, GOOD, SECOND, GOOD], "rejected": [USER, BAD]}
    report = service.import_file(put("rows.jsonl", lines([row])))
    assert report.dataset.pairs[0].support == "because"
    assert "goes on after the first answer" in report.warnings[0]
    assert "row 1 (line 1)" in report.warnings[0]


def test_labels_agree_with_trls_own_reading(tmp_path: Path) -> None:
    """The implied prompt of a conversation is what TRL takes it to be."""
    data_utils = pytest.importorskip("trl.data_utils")
    row = LABELS["implied conversation"][0]
    theirs = data_utils.extract_prompt(row)
    pair = imports.parse_rows([module.imports.RawRow("row 1", row)], "x").pairs[0]
    turns = [{"role": m.role, "content": m.content} for m in pair.history] + [{"role": "user", "content": pair.prompt}]
    assert theirs["prompt"] == turns
    assert theirs["chosen"] == [{"role": "assistant", "content": pair.support}]
    assert theirs["rejected"] == [{"role": "assistant", "content": pair.oppose}]


# -- files -----------------------------------------------------------------------------------------------------------


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys(), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    import pandas

    out = io.BytesIO()
    pandas.DataFrame(rows).to_parquet(out)
    return out.getvalue()


FILES: dict[str, Callable[[], Any]] = {
    "a.json": lambda: SIDES,
    "wrapped.json": lambda: {"data": SIDES},
    "bom.json": lambda: b"\xef\xbb\xbf" + json.dumps(SIDES).encode(),
    "lines.json": lambda: lines(SIDES),
    "a.jsonl": lambda: lines(SIDES),
    "crlf.ndjson": lambda: lines(SIDES).replace("\n", "\r\n\r\n"),
    "a.jsonl.gz": lambda: gzip.compress(lines(SIDES).encode()),
    "A.JSON.GZ": lambda: gzip.compress(json.dumps(SIDES).encode()),
    "a.csv": lambda: as_csv(SIDES),
    "semicolon.csv": lambda: as_csv(SIDES, ";"),
    "a.tsv": lambda: as_csv(SIDES, "\t"),
    "a.csv.gz": lambda: gzip.compress(as_csv(SIDES).encode()),
    "a.parquet": lambda: as_parquet(SIDES),
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_same_pairs(
    service: DatasetService, put: Callable[[str, Any], Path], name: str
) -> None:
    data = service.import_file(put(name, FILES[name]())).dataset
    assert data.pairs == tuple(PreferencePair(str(r["id"]), r["prompt"], r["support"], r["oppose"]) for r in SIDES)


def test_csv_keeps_line_breaks_quotes_long_cells_and_conversations(
    service: DatasetService, put: Callable[[str, Any], Path]
) -> None:
    long = "長" * 200_000
    rows = [
        {"prompt": 'say "x",\nplease', "chosen": long, "rejected": "short"},
        {"prompt": "", "chosen": json.dumps([USER, GOOD]), "rejected": json.dumps([USER, BAD])},
    ]
    pairs = service.import_file(put("a.csv", as_csv(rows))).dataset.pairs
    assert (pairs[0].prompt, pairs[0].support) == ('say "x",\nplease', long)
    assert (pairs[1].prompt, pairs[1].support) == ("why?", "because")


def test_parquet_with_conversations_and_absent_values(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    rows = [{"chosen": [USER, GOOD], "rejected": [USER, BAD], "score": 3.5}]
    report = service.import_file(put("a.parquet", as_parquet(rows)))
    assert report.dataset.pairs == (PreferencePair("1", "why?", "because", "no idea"),)
    assert report.warnings == ("a.parquet: fields not used: score.",)
    with pytest.raises(DatasetError, match="row 2: rejected is missing"):
        service.import_file(put("b.parquet", as_parquet([*rows, {"chosen": [USER, GOOD], "rejected": None}])))


def test_line_separators_inside_json_strings(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    row = {"prompt": "a\u2028b\x0bc?", "support": "yes\u0085", "oppose": "no\x1c1"}
    assert service.import_file(put("a.jsonl", lines([row]))).dataset.pairs[0].prompt == "a\u2028b\x0bc?"


# -- refusals: each names the row and the field ----------------------------------------------------------------------


def broken(number: int, **changes: Any) -> list[dict[str, Any]]:
    rows = [dict(row) for row in SIDES]
    rows[number - 1].update(changes)
    for field in [field for field, value in changes.items() if value is ...]:
        del rows[number - 1][field]
    return rows


SURROGATE = '[{"prompt": "\\ud83d", "support": "a", "oppose": "b"}]'
FAULTS: dict[str, tuple[str, Any, str]] = {
    "missing answer": ("a.json", broken(3, oppose=...), r"a\.json, row 3: oppose is missing"),
    "missing prompt": ("a.jsonl", lines(broken(4, prompt=...)), r"row 4 \(line 4\): prompt is missing"),
    "null": ("a.json", broken(2, support=None), "row 2: support is missing"),
    "empty": ("a.json", broken(2, support=" \n\u3000"), "row 2: support is empty"),
    "equal": ("a.json", broken(5, support="same ", oppose="same"), "row 5: support and oppose are the same"),
    "number": ("a.json", broken(6, support=7), r"row 6: support is a number \(7\); it must be text"),
    "bool prompt": ("a.json", broken(6, prompt=True), "row 6: prompt is true/false"),
    "object": ("a.json", broken(6, oppose={}), "row 6: support is text, oppose is an object|row 6: oppose is an object"),
    "id": ("a.json", broken(6, id=[1]), "row 6: id is a list"),
    "row": ("a.json", [SIDES[0], "text"], "row 2 is of type str; it must be an object"),
    "twice": ("a.json", '[{"prompt": "a", "prompt": "b", "support": "c", "oppose": "d"}]', "row 1: prompt is given twice"),
    "surrogate": ("a.json", SURROGATE, "row 1: prompt has half a character"),
    "csv columns": ("a.csv", "prompt,support,oppose\na,b,c\nd,e\n", r"row 2 \(line 3\) has 2 columns; the header has 3"),
    "csv empty cell": ("a.csv", 'prompt,support,oppose\n"a\nb",b,c\nd,,f\n', r"row 2 \(line 4\): support is empty"),
    "csv quote": ("a.csv", 'prompt,support,oppose\n"a,b,c\n', "after line"),
    "csv header twice": ("a.csv", "prompt,support,support\na,b,c\n", "'support' occurs twice"),
    "header only": ("a.csv", "prompt,support,oppose\n", "holds no rows"),
    "no rows": ("a.json", [], "holds no rows"),
    "empty file": ("a.json", "  \n", "is empty"),
    "strange fields": ("a.json", [{"question": "a", "answer": "b"}], "row 1: support and oppose .* missing; it has question"),
    "not JSON": ("a.json", '[{"prompt": }]', r"not JSON: Expecting value \(line 1, column 13\)"),
    "bad line": ("a.jsonl", lines(SIDES[:2]) + "{oops\n", r"row 3 \(line 3\) is not JSON"),
    "deep": ("a.json", "[" * 100_000, "not usable JSON|not JSON"),
    "scalar": ("a.json", "3", "holds a number"),
    "object at the top": ("a.json", {"rows": SIDES}, "holds one object"),
    "not UTF-8": ("a.json", '[{"prompt": "\n動"}]'.encode("big5"), r"not UTF-8 \(byte 0x\w\w in line 2\)"),
    "UTF-16": ("a.csv", as_csv(SIDES).encode("utf-16"), "not UTF-8"),
    "suffix": ("a.xlsx", "x", "no known format"),
    "no suffix": ("data", "x", "no known format"),
    "bad gzip": ("a.json.gz", gzip.compress(b"[]" * 999)[:-9], "not a sound gzip file"),
    "bad parquet": ("a.parquet", b"PAR1 nonsense", "not a sound Parquet file"),
    "no shared beginning": ("a.json", [{"chosen": "yes", "rejected": "no"}], "row 1: prompt is missing"),
    "answer is the prompt": ("a.json", [{"chosen": "a b", "rejected": "a b c"}], "row 1: chosen is nothing but the prompt"),
    "equal plain": ("a.json", [{"chosen": "a b", "rejected": "a b"}], "row 1: chosen and rejected are the same"),
    "equal turns": ("a.json", [{"chosen": [USER, GOOD], "rejected": [USER, GOOD]}], "row 1: .* are the same"),
    "only a beginning": ("a.json", [{"chosen": [USER, GOOD], "rejected": [USER]}], "row 1: one of .* beginning"),
    "user differs": ("a.json", [{"chosen": [USER, GOOD], "rejected": [SECOND, BAD]}], "row 1: chosen differs in a turn of the user"),
    "mixed shapes": ("a.json", [{"prompt": "p", "chosen": [GOOD], "rejected": "x"}], "row 1: chosen is a list, rejected is text"),
    "role": ("a.json", [{"prompt": "p", "chosen": [{"role": "tool", "content": "x"}], "rejected": [BAD]}], "row 1: chosen, turn 1: role is 'tool'"),
    "content": ("a.json", [{"prompt": [{"role": "user"}], "chosen": [GOOD], "rejected": [BAD]}], "row 1: prompt, turn 1: content is missing"),
    "prompt of the assistant": ("a.json", [{"prompt": [USER, GOOD], "chosen": [GOOD], "rejected": [BAD]}], "row 1: prompt ends with a turn of the assistant"),
    "own kind": ("a.json", {"pairs": SIDES, "kind": "odd"}, "kind is 'odd'"),
    "own pairs": ("a.json", {"pairs": {}}, "pairs is an object"),
    "own version": ("a.json", {"format": 9, "pairs": SIDES}, "format is 9"),
    "own row": ("a.json", {"pairs": SIDES, "heldout": [{"prompt": "x", "support": "y"}]}, "heldout row 1: oppose is missing"),
    "own overlap": (
        "a.json",
        {"pairs": SIDES, "heldout": [{"prompt": "\uff31uestion  3?", "support": "a", "oppose": "b"}]},
        "heldout row 1: prompt is also that of pairs row 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_and_nothing_is_kept(
    service: DatasetService, settings: Settings, put: Callable[[str, Any], Path], fault: str
) -> None:
    name, content, message = FAULTS[fault]
    with pytest.raises(DatasetError, match=message) as caught:
        service.import_file(put(name, content))
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)
    assert imported(settings) == []
    assert [info.id for info in service.list()] == SHIPPED


def test_several_faults_are_counted(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    rows: list[dict[str, Any]] = [{**row, "support": ""} for row in SIDES]
    with pytest.raises(DatasetError, match=r"row 1: .* row 2: .* row 3: support is empty\. \(and 7 more rows"):
        service.import_file(put("a.json", rows))


def test_broken_rows_can_be_left_out(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    report = service.import_file(put("a.json", broken(3, oppose="")), skip_broken=True)
    assert [pair.id for pair in report.dataset.pairs] == ["1", "2", "4", "5", "6", "7", "8", "9", "10"]
    assert "1 broken rows left out: row 3: oppose is empty." in report.warnings[0]


def test_missing_file_and_folder(service: DatasetService, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        service.import_file(tmp_path / "absent.json")
    with pytest.raises(DatasetError, match="not a file"):
        service.import_file(tmp_path)


def test_size_limit_counts_unpacked_bytes(settings: Settings, put: Callable[[str, Any], Path]) -> None:
    service = DatasetService(replace(settings, max_upload_mb=1))
    with pytest.raises(DatasetError, match=r"a\.json is over the limit of 1 MB"):
        service.import_file(put("a.json", " " * 2**21))
    with pytest.raises(DatasetError, match=r"a\.json\.gz, unpacked, is over the limit"):
        service.import_file(put("a.json.gz", gzip.compress(b" " * 2**24)))
    same = [{"prompt": "p", "chosen": "x" * 2**20, "rejected": str(n)} for n in range(8)]
    with pytest.raises(DatasetError, match="unpacked, is over the limit"):
        service.import_file(put("a.parquet", as_parquet(same)))
    assert imported(settings) == []


# -- keeping ---------------------------------------------------------------------------------------------------------


def test_held_out_fraction_splits_by_prompt(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    rows = [
        {"prompt": f"Q  {n // 2}" if n % 2 else f"q {n // 2}", "support": f"y{n}", "oppose": f"n{n}"} for n in range(40)
    ]
    path = put("a.json", rows)
    data = service.import_file(path, heldout_fraction=0.2, seed=3).dataset
    assert (len(data.pairs), len(data.heldout)) == (32, 8)  # 4 of 20 distinct prompts, both rows of each
    trained = {imports.normalised(pair.prompt) for pair in data.pairs}
    assert not trained & {imports.normalised(pair.prompt) for pair in data.heldout}
    assert data.test_prompts == tuple(pair.prompt for pair in data.heldout)
    assert service.import_file(path, heldout_fraction=0.2, seed=3).dataset.content_hash == data.content_hash
    assert service.import_file(path, heldout_fraction=0.2, seed=4).dataset.content_hash != data.content_hash


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan"), True])
def test_held_out_fraction_out_of_range(
    service: DatasetService, put: Callable[[str, Any], Path], fraction: float
) -> None:
    with pytest.raises(DatasetError, match="heldout_fraction is"):
        service.import_file(put("a.json", SIDES), heldout_fraction=fraction)


def test_one_prompt_cannot_be_split(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    with pytest.raises(DatasetError, match="same prompt"):
        service.import_file(put("a.json", SIDES[:1]), heldout_fraction=0.5)


def test_own_format_comes_back_whole(service: DatasetService, settings: Settings) -> None:
    original = service.get("live-action-zh")
    report = service.import_file(
        settings.data_dir / "live-action-zh.json", title="live action zh", heldout_fraction=0.2
    )
    copy = report.dataset
    assert copy.id == "live-action-zh-2"  # the shipped one keeps its name
    assert (copy.pairs, copy.heldout, copy.content_hash) == (original.pairs, original.heldout, original.content_hash)
    assert "held-out part of its own" in report.warnings[0]


def test_names_clash_politely(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    path = put("動漫.json", SIDES)
    ids = [service.import_file(path).dataset.id for _ in range(3)]
    assert ids == ["dataset", "dataset-2", "dataset-3"]
    assert service.get("dataset").title == "動漫"
    service.delete("dataset-2")
    with pytest.raises(NotFoundError):
        service.get("dataset-2")
    assert sorted(info.id for info in service.list()) == ["dataset", "dataset-3", *SHIPPED]


def test_imports_at_the_same_time_all_land(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    path = put("a.json", SIDES)
    threads = [threading.Thread(target=service.import_file, args=(path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(service.list()) == len(SHIPPED) + 8


def test_row_ids_are_made_unique(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    rows = [{**SIDES[0], "id": "x"}, {**SIDES[1], "id": "x"}, {**SIDES[2], "id": "x-2"}, {**SIDES[3], "id": None}]
    report = service.import_file(put("a.json", rows))
    assert [pair.id for pair in report.dataset.pairs] == ["x", "x-2", "x-2-2", "4"]
    assert "id occurs before" in report.warnings[0]


def test_repeated_rows_are_kept_and_told(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    report = service.import_file(put("a.json", [*SIDES, SIDES[0]]))
    assert len(report.dataset.pairs) == 11
    assert any("1 rows repeat" in warning for warning in report.warnings)


def test_full_disk_leaves_nothing_behind(
    service: DatasetService, settings: Settings, put: Callable[[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(DatasetError, match=r"No space left on device.*nothing was imported"):
        service.import_file(put("a.json", SIDES))
    assert imported(settings) == []


def test_a_broken_kept_file_hides_only_itself(service: DatasetService, settings: Settings) -> None:
    settings.imported_dir.mkdir()
    (settings.imported_dir / "half.json").write_text('{"pairs": [{"prompt": "a"')
    (settings.imported_dir / "list.json").write_text("[]")
    assert [info.id for info in service.list()] == SHIPPED
    with pytest.raises(DatasetError):
        service.get("half")


def test_a_changed_file_is_read_again(service: DatasetService, put: Callable[[str, Any], Path]) -> None:
    data = service.import_file(put("a.json", SIDES)).dataset
    path = service._imported_dir / f"{data.id}.json"
    path.write_text(json.dumps({"pairs": SIDES[:4]}))
    assert len(service.get(data.id).pairs) == 4
    assert service.list()[-1].n_pairs == 4


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("動漫應該真人化嗎", "zh"),
        ("アニメの実写化は良いか", "ja"),
        ("애니메이션을 영화로", "ko"),
        ("the end of it is to be and not", "en"),
        ("¿qué tal?", ""),
    ],
)
def test_language_is_a_guess_or_nothing(
    service: DatasetService, put: Callable[[str, Any], Path], text: str, language: str
) -> None:
    row = {"prompt": text, "support": f"{text} +", "oppose": f"{text} -"}
    assert service.import_file(put("a.json", [row])).dataset.language == language


# -- the Hub ---------------------------------------------------------------------------------------------------------


def test_no_hub_is_said_plainly(service: DatasetService, settings: Settings) -> None:
    with pytest.raises(
        DatasetError, match=r"owner/name could not be fetched: the Hub is not reachable.*import the file"
    ):
        service.import_hub("owner/name")
    assert imported(settings) == []


@pytest.mark.parametrize("dataset_id", ["json", "../x", "/etc/passwd", "a/b/c", "a b/c", "", "data/corpus"])
def test_what_is_no_hub_id(service: DatasetService, dataset_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(service._shipped_dir.parent)  # where data/corpus is a folder, which the library would read
    with pytest.raises(DatasetError, match="not a dataset id of the Hub"):
        service.import_hub(dataset_id)


def test_hub_arguments_are_checked(service: DatasetService) -> None:
    with pytest.raises(DatasetError, match="limit is 0"):
        service.import_hub("a/b", limit=0)
    with pytest.raises(DatasetError, match="split is"):
        service.import_hub("a/b", split="train[:3]")


@pytest.fixture
def hub(put: Callable[[str, Any], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub with one dataset, read by the real library from a local file."""
    import datasets
    import huggingface_hub

    rows = [{"chosen": [USER, {"role": "assistant", "content": f"yes {n}"}], "rejected": [USER, BAD]} for n in range(9)]
    path = put("hub.parquet", as_parquet(rows))
    load = datasets.load_dataset

    def local(dataset_id: str, name: str | None, split: str, streaming: bool) -> Any:
        return load("parquet", data_files={"train": str(path)}, split=split, streaming=streaming)

    monkeypatch.setattr(datasets, "load_dataset", local)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda self, dataset_id, timeout: None)


@pytest.mark.usefixtures("hub")
def test_hub_rows_are_streamed_and_limited(service: DatasetService) -> None:
    data = service.import_hub("owner/some-name", limit=4).dataset
    assert (data.id, data.source, data.kind, len(data.pairs)) == ("owner-some-name", "hub:owner/some-name", "labels", 4)
    assert data.pairs[3] == PreferencePair("4", "why?", "yes 3", "no idea")


@pytest.mark.usefixtures("hub")
def test_hub_unknown_split_and_size(service: DatasetService) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        service.import_hub("owner/some-name", split="nowhere")
    with pytest.raises(DatasetError, match="at row 2; give a limit"):
        hub_rows.hub_rows("owner/some-name", "train", None, None, 200)


# -- test prompts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "ids", "warned"),
    [
        ([{"id": 7, "prompt": "a"}, {"id": "q-2", "prompt": "b"}], ("7", "q-2"), ()),
        (["a", "b"], (), ()),
        ([{"id": 7, "prompt": "a"}, {"prompt": "b"}], (), ("t.json: 1 of 2 prompts have an id, so all are numbered.",)),
    ],
)
def test_prompts_keep_their_files_own_ids(
    put: Callable[[str, Any], Path], rows: Any, ids: tuple[str, ...], warned: tuple[str, ...]
) -> None:
    assert read_prompts(put("t.json", rows), 1_000_000) == PromptFile(("a", "b"), ids, warned)


def test_an_id_that_is_no_name_is_named(put: Callable[[str, Any], Path]) -> None:
    with pytest.raises(DatasetError, match=r"t\.json, row 1: id is .*; it must be text or a whole number"):
        read_prompts(put("t.json", [{"id": [1], "prompt": "a"}]), 1_000_000)
