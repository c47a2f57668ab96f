"""The before/after table a browser keeps: what goes in comes out, and what a browser may have made of it is checked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from studio.domain.chat import BASE, Sampling
from studio.services.compare.table import TableProgress, TableRow
from studio.ui.compare.kept_table import MAX_CHARACTERS, KeptTable, restore, store
from studio.ui.compare.prompt_table import file_name

ROWS = (TableRow("1", "你好", ("<b>嗨</b>", "")), TableRow("q-7", "Hi", ("Hello.", "Hey!")))
TABLE = KeptTable("run-1", Sampling(0.7, 0.9, 64, 3), TableProgress((BASE, "run-1"), 2, 3, ROWS, False, "Cancelled."))


def test_a_table_survives_the_browser() -> None:
    assert restore(json.loads(json.dumps(store(TABLE)))) == TABLE
    assert TABLE.made_with == "run-1 · temperature 0.7, top-p 0.9, seed 3 · at most 64 tokens"


def test_nothing_and_too_much_are_not_kept() -> None:
    assert store(KeptTable("run-1", Sampling(), TableProgress((BASE, "run-1"), 0, 3, (), False))) is None
    long = TableRow("1", "a", ("b" * MAX_CHARACTERS, ""))
    assert store(KeptTable("run-1", Sampling(), TableProgress((BASE, "run-1"), 1, 1, (long,), True))) is None


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"rows": []},
        {"rows": [["1", "a", "b"]]},
        {"rows": [["1", "a", "b", 4]]},
        {"rows": [["1", "a", "b", "c" * (MAX_CHARACTERS + 1)]]},
        {"total": 1},
        {"sampling": [9, 0.9, 64, 3]},
        {"sampling": ["warm", 0.9, 64, 3]},
        {"run": 7},
        {"run": "r" * 2_000},
        {"note": None},
    ],
)
def test_what_is_no_table_is_left_alone(change: dict[str, Any]) -> None:
    kept = store(TABLE)
    assert kept is not None
    assert restore(kept | change) is None
    assert restore("a table") is None


def test_a_run_id_from_a_browser_is_no_path() -> None:
    assert file_name("../../etc/passwd") == "______etc_passwd"
