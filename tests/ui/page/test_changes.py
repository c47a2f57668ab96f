"""What pages are told of: one message for what changed, none while nothing does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from studio.config import Settings
from studio.errors import StoreError
from studio.services.runs.changes import runs_stamp
from studio.services.runs.store import RunStore
from studio.ui.page import changes as changes_module
from studio.ui.page.changes import Changes, changes_of
from tests.helpers.runs import queue
from tests.helpers.services import opened
from tests.helpers.waiting import run_async


def test_only_what_changed_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes_module, "LOOK_S", 0.0)
    values = {"runs": 1, "votes": 1}
    changes = Changes({name: lambda name=name: values[name] for name in values})

    async def counted() -> list[dict[str, int]]:
        seen = [await changes.counts(), await changes.counts()]
        values["votes"] = 2
        return [*seen, await changes.counts(), await changes.counts()]

    nothing, voted = {"runs": 0, "votes": 0}, {"runs": 0, "votes": 1}
    assert run_async(counted()) == [nothing, nothing, voted, voted]


def test_a_source_that_is_away_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes_module, "LOOK_S", 0.0)
    values = iter([1, 2])

    def away() -> int:
        raise StoreError("The database cannot be used just now.")

    changes = Changes({"votes": away, "runs": lambda: next(values)})

    async def counted() -> dict[str, int]:
        await changes.counts()
        return await changes.counts()

    assert run_async(counted()) == {"votes": 0, "runs": 1}


def test_runs_that_come_move_are_renamed_or_go_change_the_stamp(settings: Settings) -> None:
    runs, stamps = RunStore(settings), []
    stamps.append(runs_stamp(settings.adapters_dir))
    queue(settings, "toy-1")
    stamps.append(runs_stamp(settings.adapters_dir))
    assert runs_stamp(settings.adapters_dir) == stamps[-1]
    runs.rename("toy-1", "Another")
    stamps.append(runs_stamp(settings.adapters_dir))
    runs.stop("toy-1", "keep")
    stamps.append(runs_stamp(settings.adapters_dir))
    runs.delete("toy-1")
    stamps.append(runs_stamp(settings.adapters_dir))
    assert len(set(stamps)) == 4
    assert stamps[0] == stamps[-1]


def test_a_server_has_all_four(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes_module, "LOOK_S", 0.0)
    with opened(settings) as services:
        changes = changes_of(services)

        async def counted() -> dict[str, int]:
            await changes.counts()
            queue(settings, "toy-1")
            services.rating.set_rules(replace(services.rating.rules(), open=False))
            return await changes.counts()

        assert run_async(counted()) == {"runs": 1, "votes": 1, "batch": 0, "evaluations": 0}
