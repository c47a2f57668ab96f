"""Run folders: what is written, read back, listed, refused. No process but this one."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import math
import multiprocessing
import os
import threading
import time
from pathlib import Path

import psutil
import pytest

from studio.config import Settings
from studio.domain.events import MeasureEvent, ProbeEvent, SampleEvent, StepEvent, SupportShare
from studio.domain.runs import RunStatus
from studio.errors import ConflictError, InputError, NotFoundError
from studio.services.files.records import LineWriter, read_lines, read_record, write_record
from studio.services.runs.events import drop_superseded
from studio.services.runs.folder import SNAPSHOT_PAIRS, new_run_id
from studio.services.runs.recipe_file import read_recipe
from studio.services.runs.status import read_status, stop_request, write_status
from studio.services.runs.store import RunStore
from studio.services.worker import run as worker
from studio.services.worker.sentences import NO_SPACE
from studio.services.worker.status import StatusKeeper
from tests.helpers.runs import make_dataset, make_recipe, queue
from tests.helpers.scripted_trainer import step_event


@pytest.fixture
def store(settings: Settings) -> RunStore:
    return RunStore(settings)


def mine(state: str = "running", **changes: object) -> RunStatus:
    """A status owned by this (living) process."""
    process, now = psutil.Process(), time.time()
    status = RunStatus(state, pid=process.pid, pid_started=process.create_time(), heartbeat=now, updated=now)
    return dataclasses.replace(status, **changes)


def test_a_status_that_is_gone_for_a_moment_is_looked_for_again(store: RunStore) -> None:
    """A FUSE mount shows a file that is replaced as gone: of 5,791 looks at one on bindfs 520 found none."""
    folder = store.create(make_recipe("run-one"), make_dataset())
    status, away = folder / "status.json", folder / "away"
    status.rename(away)
    back = threading.Timer(0.02, away.rename, [status])
    back.start()
    assert store.status("run-one").state == "queued"
    back.join()
    status.unlink()
    with pytest.raises(NotFoundError, match="no run run-one"):
        store.status("run-one")


def test_the_queue_is_free_again_though_a_process_was_forked_meanwhile(settings: Settings, store: RunStore) -> None:
    with store.queue_lock():
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
    try:
        with open(settings.adapters_dir / ".queue.lock", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        child.kill()
        child.join()


def share(value: float) -> SupportShare:
    return SupportShare(value, 0.1, 0.9, 10, 1, 0.95, 100)


def test_a_created_run_reads_back_as_it_was_written(settings: Settings, store: RunStore) -> None:
    recipe = make_recipe("run-one")
    folder = store.create(recipe, make_dataset())
    view = store.get("run-one")
    assert view.recipe == recipe
    assert view.status.state == "queued"
    assert (view.last_step, view.probe, view.adapter_share, view.has_adapter) == (None, None, None, False)
    assert store.dataset("run-one") == make_dataset()
    assert {p.name for p in folder.iterdir()} == {"run.json", "dataset.json", "job.json", "status.json"}
    assert worker.read_job(folder).settings == dataclasses.replace(settings, database_url="")
    with pytest.raises(ConflictError, match="run-one exists"):
        store.create(recipe, make_dataset())
    assert not list(settings.adapters_dir.glob(".new-*"))


def test_a_run_keeps_the_pairs_it_uses_of_a_large_dataset(settings: Settings, store: RunStore) -> None:
    recipe = dataclasses.replace(make_recipe("aaa"), row_ids=("p4990", "p7"), rows_support=(True, False))
    store.create(recipe, make_dataset(5000))
    kept = store.dataset("aaa")
    assert {"p4990", "p7"} <= {pair.id for pair in kept.pairs}
    assert len(kept.pairs) == 2 + SNAPSHOT_PAIRS
    assert [pair.id for pair in kept.heldout] == ["h1"]


def test_no_password_reaches_the_run_folder(settings: Settings) -> None:
    database = "postgresql://studio:sesame@localhost/votes"
    secrets = {"admin_password": "open sesame", "database_url": database, "chat_key": "sesame"}
    folder = queue(dataclasses.replace(settings, **secrets), "run-one")
    assert all("sesame" not in path.read_text() for path in folder.iterdir())


@pytest.mark.parametrize("run_id", ["", "..", "../x", "a/b", "a.b", "Run", "ab", "-abc", "x" * 82, "abc\n", ".hidden"])
def test_a_name_that_is_no_run_id_is_refused(store: RunStore, run_id: str) -> None:
    with pytest.raises(InputError):
        store.get(run_id)


def test_a_link_out_of_the_adapters_folder_is_refused(settings: Settings, store: RunStore, tmp_path: Path) -> None:
    outside = dataclasses.replace(settings, adapters_dir=tmp_path / "elsewhere")
    queue(outside, "victim")
    (settings.adapters_dir / "inside").symlink_to(tmp_path / "elsewhere" / "victim")
    with pytest.raises(InputError, match="does not lie"):
        store.delete("inside")


def test_new_ids_are_valid_and_differ(store: RunStore) -> None:
    ids = {new_run_id("Weird NAME/数据.json" + "x" * 90, 0.95) for _ in range(5)}
    assert len(ids) == 5
    for run_id in ids:
        with pytest.raises(NotFoundError):
            store.get(run_id)


def test_events_are_read_incrementally_and_only_whole_lines(settings: Settings, store: RunStore) -> None:
    folder = queue(settings, "run-one")
    assert store.events("run-one") == ([], 0)
    writer = LineWriter(folder / "events.jsonl")
    writer.write(step_event(1, 4))
    events, offset = store.events("run-one")
    assert events == [step_event(1, 4)]
    whole = json.dumps(dataclasses.asdict(step_event(2, 4))).encode() + b"\n"
    with open(folder / "events.jsonl", "ab") as file:
        file.write(whole[:30])
    assert store.events("run-one", offset) == ([], offset)
    with open(folder / "events.jsonl", "ab") as file:
        file.write(whole[30:])
    events, end = store.events("run-one", offset)
    assert events == [step_event(2, 4)]
    assert end == (folder / "events.jsonl").stat().st_size


def test_half_a_line_left_by_a_crash_costs_only_itself(settings: Settings, store: RunStore) -> None:
    folder = queue(settings, "run-one")
    first = LineWriter(folder / "events.jsonl")
    first.write(step_event(1, 4))
    with open(folder / "events.jsonl", "ab") as file:
        file.write(b'{"step": 2, "tot')
    second = LineWriter(folder / "events.jsonl")
    second.write(step_event(2, 4))
    assert store.events("run-one")[0] == [step_event(1, 4), step_event(2, 4)]
    assert store.get("run-one").last_step == step_event(2, 4)


def test_a_view_shows_newest_step_probe_shares_and_adapter(settings: Settings, store: RunStore) -> None:
    folder = queue(settings, "run-one")
    writer = LineWriter(folder / "events.jsonl")
    writer.write(MeasureEvent("base", 0, share(0.5)))
    writer.write(step_event(1, 2))
    assert store.get("run-one").last_step == step_event(1, 2)
    nan = dataclasses.replace(step_event(2, 2), loss=math.nan)
    writer.write(nan)
    writer.write(ProbeEvent(2, 0.8, 20, 0.3, 1.0))
    writer.write(MeasureEvent("adapter", 2, share(0.9)))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    view = store.get("run-one")
    assert view.last_step is not None
    assert math.isnan(view.last_step.loss)
    assert view.probe == ProbeEvent(2, 0.8, 20, 0.3, 1.0)
    assert (view.base_share, view.adapter_share) == (share(0.5), share(0.9))
    assert view.adapter_hash == hashlib.sha256(b"weights").hexdigest()[:12]
    assert view.size_bytes == sum(p.stat().st_size for p in folder.iterdir())


def test_a_resumed_runs_repeated_steps_replace_the_abandoned_ones() -> None:
    def probe(step: int, value: float) -> ProbeEvent:
        return ProbeEvent(step, value, 20, 0.0, 0.0)

    told = [
        *(step_event(n, 9) for n in (1, 2)),
        probe(0, 0.5),
        *(step_event(n, 9) for n in (3, 4, 5)),
        probe(5, 0.6),
        step_event(3, 9),
        probe(0, 0.5),
        *(step_event(n, 9) for n in (4, 5)),
        probe(5, 0.7),
        MeasureEvent("base", 0, share(0.5)),
        MeasureEvent("adapter", 5, share(0.9)),
    ]
    kept = drop_superseded(told)
    assert [e.step for e in kept if isinstance(e, StepEvent)] == [1, 2, 3, 4, 5]
    assert [(e.step, e.share) for e in kept if isinstance(e, ProbeEvent)] == [(0, 0.5), (5, 0.7)]
    assert [e.who for e in kept if isinstance(e, MeasureEvent)] == ["base", "adapter"]
    assert drop_superseded(kept) == kept


def test_samples_come_by_step_and_the_newest_answer_counts(settings: Settings, store: RunStore) -> None:
    folder = queue(settings, "run-one")
    writer = LineWriter(folder / "samples.jsonl")
    for step, answer in ((0, "base"), (5, "old"), (5, "new"), (0, "base")):
        writer.write(SampleEvent(step, "Hi?", answer))
    assert [(s.step, s.answer) for s in store.samples("run-one")] == [(0, "base"), (5, "new")]


def test_the_log_tail_shows_progress_bars_as_they_stand(settings: Settings, store: RunStore) -> None:
    folder = queue(settings, "run-one")
    assert store.log_tail("run-one") == ""
    (folder / "log.txt").write_text("one\n\x1b[31mtwo\x1b[0m\n 10%\r 50%\r100%\nlast\n")
    assert store.log_tail("run-one", 3) == "two\n100%\nlast"


def test_status_is_what_the_owner_is(settings: Settings, store: RunStore) -> None:
    folder = queue(settings, "run-one")
    write_status(folder, mine())
    assert store.status("run-one").state == "running"
    store.stop("run-one", "keep")
    assert store.status("run-one").state == "stopping"
    write_status(folder, mine(pid_started=1.0))  # the number was given to another process since
    assert store.status("run-one").state == "interrupted"
    write_status(folder, mine(pid=2**22 - 3))
    assert store.status("run-one").state == "interrupted"
    write_status(folder, mine(heartbeat=time.time() - 1000))
    assert store.status("run-one").state == "interrupted"
    write_status(folder, mine("done"))
    assert store.status("run-one").state == "done"


def test_a_queued_run_can_be_taken_out_of_the_queue(settings: Settings, store: RunStore) -> None:
    queue(settings, "kept")
    queue(settings, "thrown")
    store.stop("kept", "keep")
    store.stop("thrown", "discard")
    assert store.status("kept").state == "stopped"
    assert store.ids() == ["kept"]
    with pytest.raises(ConflictError, match="stopped already"):
        store.stop("kept", "keep")


def test_a_stop_can_be_sharpened_but_not_softened(settings: Settings, store: RunStore) -> None:
    folder = queue(settings, "run-one")
    write_status(folder, mine())
    with pytest.raises(InputError, match="mode is 'now'"):
        store.stop("run-one", "now")  # type: ignore[arg-type]
    for asked, stands in (("keep", "keep"), ("discard", "discard"), ("keep", "discard")):
        store.stop("run-one", asked)  # type: ignore[arg-type]
        request = stop_request(folder)
        assert request is not None
        assert request.mode == stands


def test_only_what_stands_still_can_be_resumed_or_deleted(settings: Settings, store: RunStore) -> None:
    folder = queue(settings, "run-one")
    for status in (read_status(folder), mine(), mine("done")):
        write_status(folder, status)
        with pytest.raises(ConflictError):
            store.resume("run-one")
    write_status(folder, mine())
    with pytest.raises(ConflictError, match="stop it"):
        store.delete("run-one")
    write_status(folder, mine(pid=2**22 - 3, seconds=7.0))
    store.resume("run-one")
    status = read_status(folder)
    assert (status.state, status.pid, status.seconds) == ("queued", 0, 7.0)
    store.delete("run-one")
    assert store.ids() == []
    with pytest.raises(NotFoundError):
        store.get("run-one")
    assert not list(settings.adapters_dir.glob(".trash-*"))


def test_title_and_note_are_kept_apart_from_the_recipe(settings: Settings, store: RunStore) -> None:
    queue(settings, "run-one")
    before = (settings.adapters_dir / "run-one" / "run.json").read_bytes()
    store.rename("run-one", "  A   better name ")
    store.set_note("run-one", "seen\n")
    view = store.get("run-one")
    assert (view.title, view.note) == ("A better name", "seen")
    store.rename("run-one", "")
    assert store.get("run-one").title == "Title of run-one"
    assert (settings.adapters_dir / "run-one" / "run.json").read_bytes() == before
    with pytest.raises(InputError, match="121 characters"):
        store.rename("run-one", "x" * 121)


def test_listing_is_newest_first_and_survives_a_broken_folder(settings: Settings, store: RunStore) -> None:
    now = time.time()
    for name, age in (("old", 100), ("new", 1), ("mid", 50)):
        store.create(make_recipe(name, created=now - age), make_dataset())
    (settings.adapters_dir / "broken").mkdir()
    (settings.adapters_dir / "broken" / "run.json").write_text('{"run_id": 5}')
    (settings.adapters_dir / "README.md").write_text("not a run")
    (settings.adapters_dir / "no-run-json").mkdir()
    assert [view.run_id for view in store.list()] == ["new", "mid", "old"]
    with pytest.raises(InputError, match=r"broken/run\.json"):
        store.get("broken")


def test_two_hundred_runs_are_listed_fast(settings: Settings, store: RunStore) -> None:
    line = json.dumps(dataclasses.asdict(step_event(1, 200))) + "\n"
    for number in range(200):
        folder = settings.adapters_dir / f"run-{number:03d}"
        folder.mkdir()
        write_record(folder / "run.json", make_recipe(folder.name))
        write_record(folder / "status.json", RunStatus("done"))
        (folder / "events.jsonl").write_text(line * 200)
        (folder / "adapter_model.safetensors").write_bytes(os.urandom(50_000))
    began = time.process_time()
    assert len(store.list()) == 200
    first = time.process_time() - began
    began = time.process_time()
    assert len(store.list()) == 200
    again = time.process_time() - began
    print(f"listing 200 runs: {first:.3f} s, again {again:.3f} s of the processor")
    assert first < 5.0
    assert again < 1.5


def test_a_record_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_record(path, RunStatus("queued"))
    with pytest.raises(TypeError):
        write_record(path, {"state": object()})
    assert read_record(RunStatus, path).state == "queued"
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


def test_records_from_a_newer_program_stay_readable(tmp_path: Path) -> None:
    data = {**dataclasses.asdict(make_recipe("run-one")), "schema": 3, "invented_later": {"x": 1}}
    write_record(tmp_path / "run.json", data)
    assert read_recipe(tmp_path / "run.json") == dataclasses.replace(
        make_recipe("run-one", created=data["created"]), schema=3
    )
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        read_recipe(tmp_path / "run.json")


def test_reading_from_beyond_the_end_starts_over(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"a\nb\n")
    assert read_lines(tmp_path / "x", 100) == ([b"a", b"b"], 4)


def test_a_full_disk_still_lets_the_last_word_be_written(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = queue(settings, "run-one")
    keeper = StatusKeeper(folder, read_status(folder))

    def full(folder: Path, status: RunStatus) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("studio.services.worker.status.write_status", full)
    keeper.end("failed", NO_SPACE)
    status = read_status(folder)
    assert (status.state, status.message) == ("failed", NO_SPACE)


def test_the_rows_of_a_job_follow_the_flip_mask() -> None:
    rows = worker.recipe_rows(make_recipe("run-one"), make_dataset())
    assert [(r.pair_id, r.chosen, r.rejected, r.side, r.flipped) for r in rows] == [
        ("p0", "Yes 0.", "No 0.", "support", False),
        ("p1", "Yes 1.", "No 1.", "support", False),
        ("p2", "No 2.", "Yes 2.", "oppose", True),
        ("p3", "No 3.", "Yes 3.", "oppose", True),
    ]
    with pytest.raises(InputError, match="lacks the pair 'p3'"):
        worker.recipe_rows(make_recipe("run-one"), make_dataset(3))
