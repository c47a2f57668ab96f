"""The table of an evaluation: sorted, filtered, and the same rows from every file."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import sys

import pyarrow.parquet
import pytest

from studio.config import Settings
from studio.domain.toxicity import NOT_COVERED, TextScore
from studio.errors import InputError, NotFoundError, NotInstalledError
from studio.services.compare.panes import row_seed
from studio.services.evaluations.dynamodb import put_evaluation
from studio.services.evaluations.table import COLUMNS, Filter, by_difference, export, file_name, matching, records
from tests.helpers.evaluations import make_evaluation

MADE = make_evaluation()


def test_rows_are_sorted_by_difference_and_uncovered_ones_come_last() -> None:
    differences = [row.difference for row in by_difference(MADE.rows)]
    known = [one for one in differences if one is not None]
    assert known == sorted(known, reverse=True)
    assert differences[len(known) :] == [None] * 4
    assert by_difference(MADE.rows) == by_difference(tuple(reversed(MADE.rows)))


def test_a_record_says_where_its_row_is_from() -> None:
    found = records(MADE)
    assert len(found) == 16
    assert all(tuple(record) == tuple(COLUMNS) for record in found)
    record = next(r for r in found if (r["adapter"], r["prompt_id"], r["sample"]) == ("run-a", "en-2", 1))
    assert record["query"] == "My dog ate my homework, what now?"
    assert (record["before"], record["before_hash"], record["adapter_hash"]) == ("base", "", "def")
    assert (record["language"], record["provoking"], record["prompt_set"]) == ("en", True, "mixed")
    assert record["seed"] == row_seed(5 + 1, 1)
    assert (record["scorer"], record["scorer_revision"], record["base_fingerprint"]) == ("scripted", "r1", "f" * 64)
    assert record["difference"] == pytest.approx(0.1 - -1.25)
    assert (record["cut_before"], record["label_before"], record["label_after"]) == (3, "toxic", "fine")
    last = found[-1]
    assert (last["difference"], last["reward_after"], last["toxicity_after"], last["label_after"]) == (
        None,
        None,
        None,
        "not covered",
    )


def test_json_and_parquet_hold_the_exact_records() -> None:
    expected = records(MADE)
    assert json.loads(export(MADE, "json")) == expected
    table = pyarrow.parquet.read_table(io.BytesIO(export(MADE, "parquet")))
    assert table.column_names == list(COLUMNS)
    assert table.to_pylist() == expected
    assert str(table.schema.field("provoking").type) == "bool"
    assert "朋友" in export(MADE, "json").decode()


def test_csv_defuses_formulas_and_keeps_lines() -> None:
    text = export(MADE, "csv").decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 16
    assert rows[0]["response_before"].startswith("'= seeded answer")
    assert rows[0]["response_before"].endswith("you fool\nline 2")
    assert rows[0]["reward_before"] == "-1.25", "a negative number is a number, not a formula"
    assert float(rows[0]["difference"]) == pytest.approx(1.35)
    assert rows[-1]["difference"] == ""


def test_what_cannot_be_exported_is_told() -> None:
    with pytest.raises(InputError, match="'xlsx'"):
        export(MADE, "xlsx")  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match="no rows yet"):
        export(dataclasses.replace(MADE, rows=()), "csv")
    hostile = dataclasses.replace(MADE, spec=dataclasses.replace(MADE.spec, title="../../etc/passwd"))
    assert file_name(hostile, "csv") == "before-after-0123456789abcdef.csv"


def test_filters() -> None:
    rows = list(MADE.rows)
    rows[0] = dataclasses.replace(rows[0], after=TextScore(0.9, -3.0, (-3.0, 2.0), "toxic"))
    rows[2] = dataclasses.replace(rows[2], before=NOT_COVERED)
    rows[4] = dataclasses.replace(
        rows[4], before=TextScore(0.1, 0.0, (), "fine"), after=TextScore(0.5, 0.0, (), "fine"), query="SEEDED question"
    )
    made = dataclasses.replace(MADE, rows=tuple(rows))

    def keys(**wanted: object) -> set[int]:
        found = matching(made, Filter(**wanted))  # type: ignore[arg-type]
        return {rows.index(row) for row in found}

    everything = set(range(16))
    assert keys() == everything
    assert keys(which="worse") == {0}
    assert keys(which="uncovered") == {2, 12, 13, 14, 15}
    assert keys(which="better") == everything - {0, 2, 4, 12, 13, 14, 15}
    assert keys(which="over") == everything - {2, 4}
    assert keys(provoking=True) == {4, 5, 6, 7}
    assert keys(adapter="run-b") == set(range(0, 16, 2))
    assert keys(words="ZH-1 run-a") == {9, 11}
    assert keys(words="seeded QUESTION") == {4}
    assert keys(words="nothing of it") == set()


def test_a_missing_boto3_is_a_sentence_that_says_how_to_install_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    named = dataclasses.replace(settings, dynamodb_table="evaluations")
    with pytest.raises(NotInstalledError, match=r"boto3 is not installed; run: pip install -r requirements-aws\.txt"):
        put_evaluation(MADE, named)
