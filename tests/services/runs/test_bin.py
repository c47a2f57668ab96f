"""Deleted runs: kept in the bin, back in their place, gone for good."""

from __future__ import annotations

import os
import time

import pytest

from studio.config import Settings
from studio.errors import ConflictError, NotFoundError
from studio.services.files.bin import KEPT_DAYS, binned, remove_old
from studio.services.runs.bin import restore
from studio.services.runs.store import RunStore
from tests.helpers.runs import queue


def test_a_deleted_run_is_out_of_sight_and_comes_back_whole_but_at_rest(settings: Settings) -> None:
    runs = RunStore(settings)
    folder = queue(settings, "toy-1")
    files = sorted(path.name for path in folder.iterdir())
    runs.delete("toy-1")
    assert runs.list() == []
    assert runs.damaged() == ()
    assert not folder.exists()
    (one,) = binned(settings.adapters_dir)
    assert (one.name, one.size_bytes > 0, abs(one.deleted - time.time()) < 60) == ("toy-1", True, True)
    restore(settings.adapters_dir, "toy-1")
    assert sorted(path.name for path in folder.iterdir()) == files
    assert runs.status("toy-1").state == "interrupted"  # it was waiting, and must not begin by itself
    assert binned(settings.adapters_dir) == []


def test_what_cannot_come_back_is_refused(settings: Settings) -> None:
    runs = RunStore(settings)
    queue(settings, "toy-1")
    runs.delete("toy-1")
    queue(settings, "toy-1")
    with pytest.raises(ConflictError, match="There is a run toy-1 already"):
        restore(settings.adapters_dir, "toy-1")
    with pytest.raises(NotFoundError, match="no run other"):
        restore(settings.adapters_dir, "other")


def test_old_ones_go_for_good(settings: Settings) -> None:
    runs = RunStore(settings)
    for name in ("old-run", "new-run"):
        queue(settings, name)
        runs.delete(name)
    place = settings.adapters_dir / ".bin"
    (old,) = place.glob("*-old-run")
    os.rename(old, place / f"{int((time.time() - (KEPT_DAYS * 86_400 + 60)) * 1e9)}-old-run")
    assert [run.name for run in binned(settings.adapters_dir)] == ["new-run"]
    remove_old(settings.adapters_dir, days=0)
    assert list(place.iterdir()) == []
