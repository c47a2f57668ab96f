"""Evaluations in the store, on SQLite and on a real PostgreSQL: what goes in comes out, nothing doubles, nothing is left over."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from studio.store import evaluations as store
from studio.store import tables
from studio.store.database import Database
from tests.helpers.evaluations import make_evaluation, make_rows, make_spec


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    made = Database(store_url)
    made.migrate()
    yield made
    made.close()


def test_what_goes_in_comes_out_in_the_order_of_the_prompts(database: Database) -> None:
    made = make_evaluation()
    with database.write() as connection:
        store.add_evaluation(connection, dataclasses.replace(made, rows=()), "somebody")
        store.add_rows(connection, made.id, list(reversed(made.rows)))
    with database.read() as connection:
        assert store.find_evaluation(connection, made.id) == made
        assert store.find_evaluation(connection, "nothing") is None


def test_rows_never_double(database: Database) -> None:
    made = make_evaluation()
    with database.write() as connection:
        store.add_evaluation(connection, dataclasses.replace(made, rows=()), "")
        assert store.add_rows(connection, made.id, made.rows[:5]) == 5
    changed = [dataclasses.replace(row, response_after="other") for row in made.rows]
    with database.write() as connection:
        assert store.add_rows(connection, made.id, changed) == len(made.rows) - 5
    with database.read() as connection:
        found = store.find_evaluation(connection, made.id)
        assert found is not None
        assert len(found.rows) == len(made.rows)
        assert sum(row.response_after == "other" for row in found.rows) == len(made.rows) - 5
        there = store.rows_there(connection, made.id)
    assert there == {(row.adapter, row.prompt_id, row.sample) for row in made.rows}


def test_a_row_belongs_to_an_evaluation(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as connection:
        store.add_rows(connection, "nobody", make_rows(make_spec())[:1])


def test_the_list_counts_rows_and_loads_none(database: Database) -> None:
    old, new = make_evaluation("a" * 16, created=1.0), make_evaluation("b" * 16, created=2.0, state="running")
    with database.write() as connection:
        store.add_evaluation(connection, old, "")
        store.add_evaluation(connection, dataclasses.replace(new, rows=new.rows[:3]), "me")
    with database.read() as connection:
        first, second = store.all_summaries(connection)
        assert store.find_summary(connection, old.id) == second
        assert store.find_summary(connection, "nothing") is None
    assert (first.id, first.done, first.total, first.owner, first.moving) == (new.id, 3, 16, "me", True)
    assert (second.id, second.done, second.moving) == (old.id, 16, False)
    assert second.spec == dataclasses.replace(old.spec, prompts=())


def test_changes_only_where_state_and_owner_are_as_expected(database: Database) -> None:
    made = make_evaluation(state="queued")
    with database.write() as connection:
        store.add_evaluation(connection, made, "me")
    with database.write() as connection:
        assert not store.change(connection, made.id, owned_by="another", state="running")
        assert not store.change(connection, made.id, was=("done", "failed"), state="running")
        assert not store.change(connection, "nothing", kept=True)
        assert store.change(
            connection, made.id, was=("queued",), owned_by="me", state="running", kept=True, title="New"
        )
    with database.read() as connection:
        found = store.find_evaluation(connection, made.id)
    assert found is not None
    assert (found.state, found.kept, found.spec.title) == ("running", True, "New")
    with pytest.raises(IntegrityError), database.write() as connection:
        store.change(connection, made.id, state="lost")


def test_nothing_is_left_of_what_is_deleted(database: Database) -> None:
    with database.write() as connection:
        for name in "abc":
            store.add_evaluation(connection, make_evaluation(name * 16), "")
    with database.write() as connection:
        assert store.remove(connection, ["a" * 16, "c" * 16, "nothing"]) == 2
        assert store.remove(connection, []) == 0
    with database.read() as connection:
        assert [summary.id for summary in store.all_summaries(connection)] == ["b" * 16]
        assert connection.execute(select(func.count()).select_from(tables.evaluation_rows)).scalar_one() == 16
