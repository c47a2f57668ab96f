"""CSV with other people's text in it: a spreadsheet must not run it."""

from __future__ import annotations

import csv
import io

import pytest

from studio.services.files.tables import csv_text
from studio.ui.compare.prompt_table import KEYS, to_csv


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", " ="])
def test_formulas_are_defused_and_the_rest_is_left_alone(start: str) -> None:
    hostile = f'{start}HYPERLINK("http://evil","x"),1'
    rows = list(csv.reader(io.StringIO(csv_text(["text", "n"], [{"text": hostile, "n": -1.5}]), newline="")))
    assert rows == [["text", "n"], [f"'{hostile}", "-1.5"]]
    plain = 'Two lines,\n"quoted", 2-1=1'
    assert next(csv.DictReader(io.StringIO(csv_text(["text"], [{"text": plain}]), newline="")))["text"] == plain


def test_the_table_of_test_prompts_is_defused_too() -> None:
    record = dict.fromkeys(KEYS, "=1+1") | {"id": "1"}
    (row,) = csv.DictReader(io.StringIO(to_csv([record]), newline=""))
    assert set(row.values()) == {"1", "'=1+1"}
