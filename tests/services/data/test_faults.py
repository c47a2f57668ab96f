"""Faulty preference data is refused whole, each fault named by row and field."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.errors import DatasetError, NotFoundError
from studio.services.data.datasets import DatasetService
from studio.services.data.row_reader import ReadOptions
from tests.helpers.datasets import BAD, GOOD, SECOND, SHIPPED, SIDES, USER, as_csv, as_parquet, imported, lines


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
    "object at the top": ("a.json", {"lines of it": SIDES[0]}, "holds one object"),
    "not UTF-8": ("a.json", '[{"prompt": "\n動"}]'.encode("big5"), r"not UTF-8 \(byte 0x\w\w in line 2\)"),
    "UTF-16 without a mark": ("a.csv", as_csv(SIDES).encode("utf-16-be"), "not UTF-8"),
    "suffix": ("a.docx", "x", "no known format"),
    "no workbook": ("a.xlsx", "x", "not a sound Excel workbook"),
    "old workbook": ("a.xls", "x", "save it as .xlsx or CSV"),
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
    report = service.import_file(put("a.json", broken(3, oppose="")), options=ReadOptions(skip_broken=True))
    assert [pair.id for pair in report.dataset.pairs] == ["1", "2", "4", "5", "6", "7", "8", "9", "10"]
    assert "1 broken rows left out: row 3: oppose is empty." in report.warnings[0]


def test_missing_file_and_folder(service: DatasetService, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        service.import_file(tmp_path / "absent.json")
    with pytest.raises(DatasetError, match="not a file"):
        service.import_file(tmp_path)


def test_rows_of_one_import_are_limited_by_the_setting(settings: Settings, put: Callable[[str, Any], Path]) -> None:
    service = DatasetService(replace(settings, max_rows=2))
    rows = [{"prompt": f"p{n}", "chosen": "a", "rejected": "b"} for n in range(3)]
    with pytest.raises(DatasetError, match="2 rows"):
        service.import_file(put("a.json", rows))
    assert len(service.import_file(put("b.json", rows[:2])).dataset.pairs) == 2


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
