"""Files of rows as people's tools write them, and as nobody should: each is read, or refused with one sentence."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from studio.errors import DatasetError
from studio.services.data.formats import TwiceNamed, read_document, read_prompts
from studio.services.files.decoding.isolated import read_isolated
from studio.services.files.decoding.rows import MAX_COLUMNS, MAX_DEPTH, Limits
from tests.helpers.datasets import as_csv

LIMIT = 20_000_000
ROWS = [{"prompt": f"question {n}?", "chosen": f"yes, {n}", "rejected": f"no; {n}"} for n in range(3)]


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, Any], Path]:
    def put(name: str, content: Any) -> Path:
        path = tmp_path / name
        if not isinstance(content, bytes):
            content = (content if isinstance(content, str) else json.dumps(content)).encode()
        path.write_bytes(content)
        return path

    return put


def values(path: Path, limit: int = LIMIT) -> list[Any]:
    read = read_document(path, limit)
    assert isinstance(read, list)
    return [row.value for row in read]


def workbook(*rows: list[Any]) -> bytes:
    book, out = openpyxl.Workbook(), io.BytesIO()
    sheet = book.create_sheet("answers")
    for row in rows:
        sheet.append(row)
    book.save(out)
    return out.getvalue()


def columns(kind: Callable[[list[str]], Any]) -> dict[str, Any]:
    return {name: kind([row[name] for row in ROWS]) for name in ROWS[0]}


SPLIT = {"columns": list(ROWS[0]), "index": [0, 1, 2], "data": [list(row.values()) for row in ROWS]}
LAYOUTS: dict[str, tuple[str, Callable[[], Any]]] = {
    "pandas, by column": ("a.json", lambda: columns(lambda texts: {str(n): text for n, text in enumerate(texts)})),
    "lists by column": ("a.json", lambda: columns(list)),
    "pandas, split": ("a.json", lambda: SPLIT),
    "viewer of the Hub": ("a.json", lambda: {"rows": [{"row_idx": n, "row": row} for n, row in enumerate(ROWS)]}),
    **{f"under {key}": ("a.json", lambda key=key: {"version": 1, key: ROWS}) for key in ("train", "data", "rows", "examples")},
    "objects one after the other": ("a.json", lambda: "\n".join(json.dumps(row, indent=1) for row in ROWS)),
    "sep= line": ("a.csv", lambda: "sep=;\r\n" + as_csv(ROWS, ";")),
    "bars": ("a.csv", lambda: as_csv(ROWS, "|")),
    "columns without a name": ("a.csv", lambda: "".join(f"{line},,\n" for line in as_csv(ROWS).splitlines()) + ",,,,\n ,,,,\n"),
    "UTF-16 with its mark": ("a.csv", lambda: as_csv(ROWS).encode("utf-16")),
    "Unicode text of Excel": ("a.txt", lambda: as_csv(ROWS, "\t").encode("utf-16")),
    "gzip in two parts": ("a.jsonl.gz", lambda: b"".join(gzip.compress(json.dumps(row).encode() + b"\n") for row in ROWS)),
    "Excel": ("a.xlsx", lambda: workbook(list(ROWS[0]), [], *(list(row.values()) for row in ROWS))),
    "Excel, columns without a name": ("a.xlsx", lambda: workbook([*ROWS[0], None, " "], *([*row.values(), ""] for row in ROWS))),
    "Parquet with a dictionary": ("a.parquet", lambda: parquet({name: pyarrow.array([row[name] for row in ROWS]).dictionary_encode() for name in ROWS[0]})),
    "Parquet with bytes": ("a.parquet", lambda: parquet({name: [row[name].encode() for row in ROWS] for name in ROWS[0]})),
}  # fmt: skip


def parquet(table: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(table), out)
    return out.getvalue()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_rows(put: Callable[[str, Any], Path], layout: str) -> None:
    name, content = LAYOUTS[layout]
    assert values(put(name, content())) == ROWS


def test_a_row_of_conversations_is_no_table(put: Callable[[str, Any], Path]) -> None:
    row = {"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "user", "content": "b"}]}
    assert values(put("a.json", row)) == [row]


def test_a_column_without_a_name_that_holds_something_is_not_lost(put: Callable[[str, Any], Path]) -> None:
    assert values(put("a.csv", ",prompt\n7,why?\n")) == [{"column 1": "7", "prompt": "why?"}]


def test_json_is_read_in_pieces_whatever_stands_at_their_ends(put: Callable[[str, Any], Path]) -> None:
    rows = [
        {"prompt": 'é\ud83d\\"\n' * n, "n": -1.5e300, "deep": [[True, None, {"a": [n]}]]} for n in range(0, 9000, 77)
    ]
    for spaces in (None, 7):
        assert values(put("a.json", json.dumps(rows, indent=spaces)), 10**9) == rows
    assert values(put("a.json", "[1,2,\n  NaN]"))[:2] == [1, 2]


@pytest.mark.parametrize("kind", ["list", "object", "dict"])
def test_json_faults_are_where_they_are(put: Callable[[str, Any], Path], kind: str) -> None:
    filler = ",\n".join(json.dumps({"prompt": "x" * 300}) for _ in range(1000))
    begin, end = {"list": ("[", "]"), "object": ('{"train": [', "]}"), "dict": ('{"a": 1, "train": [', "]}")}[kind]
    for broken, message in (
        ("{oops", "line 1001"),
        ('{"a": tru}', "line 1001"),
        ('{"a" 1}', "line 1001"),
        ("", "Expecting value"),
    ):
        with pytest.raises(DatasetError, match=rf"a\.json is not JSON: .*{message}"):
            read_document(put("a.json", f"{begin}{filler},\n{broken}{end}"), LIMIT)
    for text in (f"{begin}{filler}", f"{begin}{filler}{end} ]", f'{begin}"no end'):
        with pytest.raises(DatasetError, match=r"a\.json is not JSON"):
            read_document(put("a.json", text), LIMIT)


def test_names_given_twice(put: Callable[[str, Any], Path]) -> None:
    (row,) = values(put("a.jsonl", '{"a": 1, "b": 2, "b": 3, "a": 4}'))
    assert isinstance(row, TwiceNamed)
    assert row.twice == "b"
    document = read_document(put("a.json", '{"pairs": [], "pairs": []}'), LIMIT)
    assert isinstance(document, TwiceNamed)
    for of_visitor in (False, True):
        with pytest.raises(DatasetError, match=r"a\.jsonl, row 1 \(line 1\): prompt is given twice"):
            read_prompts(put("a.jsonl", '{"prompt": "a", "prompt": "b"}'), LIMIT, of_visitor=of_visitor)
        with pytest.raises(DatasetError, match="the column 'prompt' occurs twice in line 1"):
            read_prompts(put("a.csv", "prompt,prompt\na,b\n"), LIMIT, of_visitor=of_visitor)


def test_prompts_in_objects_and_under_other_capitals(put: Callable[[str, Any], Path]) -> None:
    nested = [{"prompt": {"text": "why?", "toxicity": 0.1}}, {"prompt": {"text": "how?"}}]
    assert read_prompts(put("a.json", nested), LIMIT).prompts == ("why?", "how?")
    assert read_prompts(put("a.csv", "ID,Prompt\n1,why?\n"), LIMIT).prompts == ("why?",)
    assert read_prompts(put("a.json", {"prompt": ["why?", "how?"]}), LIMIT).prompts == ("why?", "how?")


def zipped(**parts: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts.items():
            made.writestr(name.replace("__", "/"), content)
    return out.getvalue()


def null_lists(count: int) -> bytes:
    return parquet(
        {
            "prompt": pyarrow.ListArray.from_arrays(
                pyarrow.array([0, count], pyarrow.int32()), pyarrow.nulls(count, pyarrow.string())
            )
        }
    )


MEGABYTE = 2**20
REFUSED: dict[str, tuple[str, Callable[[], Any], str]] = {
    "rows": ("a.jsonl", lambda: "1\n" * 5_001, "more than 5,000 rows"),
    "items": ("a.json", lambda: "[" + "1," * 5_001 + "1]", "more than 5,000 rows"),
    "items under a key": ("a.json", lambda: '{"train": [' + "1," * 5_001 + "1]}", "more than 5,000 rows"),
    "members": ("a.json", lambda: {"prompt": {str(n): "" for n in range(5_001)}}, "more than 5,000 rows"),
    "lines of CSV": ("a.csv", lambda: "prompt\n" + "a\n" * 5_001, "more than 5,000 rows"),
    "rows of Parquet": ("a.parquet", lambda: parquet({"prompt": pyarrow.nulls(5_001, pyarrow.string())}), "more than 5,000 rows"),
    "rows of Excel": ("a.xlsx", lambda: workbook(["prompt"], *([n] for n in range(5_001))), "more than 5,000 rows"),
    "columns": ("a.csv", lambda: ",".join(map(str, range(MAX_COLUMNS + 1))), "columns; at most 1,000"),
    "columns of Excel": ("a.xlsx", lambda: workbook(list(range(MAX_COLUMNS + 1)), [1]), "columns; at most 1,000"),
    "fields": ("a.jsonl", lambda: {str(n): n for n in range(MAX_COLUMNS + 1)}, "columns; at most 1,000"),
    "fields at the top": ("a.json", lambda: {str(n): n for n in range(MAX_COLUMNS + 1)}, "columns; at most 1,000"),
    "depth": ("a.jsonl", lambda: '{"a":' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}", "more than 32 deep"),
    "much depth": ("a.json", lambda: "[" * 100_000, "more than 32 deep"),
    "depth in a whole cell": ("a.csv", lambda: 'prompt\n"' + '[{""a"":' * 20_000 + "1" + "}]" * 20_000 + '"\n', "more than 32 deep"),
    "half a character in a name": ("a.jsonl", lambda: '{"a\\ud83d": 1}', "holds half a character"),
    "a long row": ("a.jsonl", lambda: '{"prompt": "' + "x" * 5_000_000 + '"}', "characters; a row has at most"),
    "a long value": ("a.json", lambda: '[{"prompt": "' + "x" * 5_000_000 + '"}]', "characters; a row has at most"),
    "a long record": ("a.csv", lambda: "prompt\n" + '"\n",' * 1_200_000, "characters; a row has at most"),
    "empty lists": ("a.json", lambda: "[" + "[" + "[]," * 1_300_000 + "[]]]", "more than 100,000 values"),
    "numbers in a line": ("a.jsonl", lambda: "[" + "1," * 200_000 + "1]", "more than 100,000 values"),
    "lists in a cell": ("a.csv", lambda: 'prompt\n"[{},' + "[]," * 200_000 + '[]]"\n', "more than 100,000 values"),
    "gzip": ("a.jsonl.gz", lambda: gzip.compress(b'"' + b"x" * 30 * MEGABYTE), "unpacked, is over the limit|characters"),
    "gzip of many parts": ("a.jsonl.gz", lambda: gzip.compress(b"") * 10_001, "not a sound gzip file: it has over 10,000"),
    "gzip cut short": ("a.jsonl.gz", lambda: gzip.compress(b"[1]" * 999)[:-9], "not a sound gzip file"),
    "one row of null": ("a.parquet", lambda: null_lists(50_000_000), "unpacked, is over the limit"),
    "a dictionary": ("a.parquet", lambda: parquet({"prompt": pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 4_000, pyarrow.int32()), pyarrow.array(["x" * MEGABYTE]))}), "unpacked, is over the limit"),
    "Excel that unpacks": ("a.xlsx", lambda: zipped(**{"xl__sharedStrings.xml": b"<si/>" * 6 * MEGABYTE}), "unpacked, is over the limit"),
    "Excel with a broken sheet": ("a.xlsx", lambda: zipped(**{"[Content_Types].xml": b"<Types"}), "not a sound Excel workbook"),
    "a zip under another name": ("a.csv", lambda: zipped(a=b"1"), "no known format"),
    "a long number": ("a.jsonl", lambda: "1" * 5_000, "not usable JSON"),
}  # fmt: skip


@pytest.mark.parametrize("of_visitor", [False, True], ids=["operator", "visitor"])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_too_much_is_refused_with_a_sentence(
    put: Callable[[str, Any], Path], kind: str, of_visitor: bool
) -> None:
    name, content, message = REFUSED[kind]
    path = put(name, content())
    with pytest.raises(DatasetError, match=message) as caught:
        read_document(path, LIMIT, max_rows=5_000, of_visitor=of_visitor)
    assert str(caught.value).startswith(name)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_prompts_stop_at_their_bound_while_they_are_read(put: Callable[[str, Any], Path]) -> None:
    path = put("a.jsonl", '{"prompt": "why?"}\n' * 10 + "{broken")
    for of_visitor in (False, True):
        with pytest.raises(DatasetError, match="has more than 10 prompts; at most 10 can be read"):
            read_prompts(put("b.jsonl", '{"prompt": "why?"}\n' * 11 + "{broken"), LIMIT, 10, of_visitor=of_visitor)
        with pytest.raises(DatasetError, match="row 11"):
            read_prompts(path, LIMIT, 11, of_visitor=of_visitor)


def test_a_child_that_takes_too_long_is_ended(put: Callable[[str, Any], Path]) -> None:
    path = put("a.jsonl", "".join(f'{{"prompt": "{n}"}}\n' for n in range(300_000)))
    with pytest.raises(DatasetError, match=r"takes more than 0\.1 seconds of computing"):
        list(read_isolated(path, Limits(10**9, 10**6, 0.1)))


def test_a_child_that_takes_too_much_memory_is_ended(put: Callable[[str, Any], Path]) -> None:
    path = put("a.json", "[" + ",".join([json.dumps("x" * 3_900_000)] * 20) + "]")
    with pytest.raises(DatasetError, match="needs more than 320 MB of memory"):
        read_isolated(
            put(
                "b.json",
                f'{{"a": {path.read_text()}, "b": {path.read_text()}, "c": {path.read_text()}, "d": {path.read_text()}}}',
            ),
            Limits(10**9),
        )


def test_the_file_of_the_child_is_a_file_of_rows_only(put: Callable[[str, Any], Path]) -> None:
    assert list(read_isolated(put("a.json", ROWS), Limits(LIMIT)))[2].value == ROWS[2]  # type: ignore[arg-type, union-attr]
    assert read_isolated(put("a.json", {"some": {"thing": 1}}), Limits(LIMIT)) == {"some": {"thing": 1}}
