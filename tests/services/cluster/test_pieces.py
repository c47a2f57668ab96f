"""What of a cluster needs no cluster: a folder in pieces, what a run waits for, other versions, an address where nobody is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from studio.config import Settings
from studio.domain.detox import RewardTerm
from studio.errors import InputError, NotInstalledError
from studio.services.cluster.compute import RayCompute
from studio.services.cluster.desk import Node, mismatch, needed_runs
from studio.services.cluster.mirror import PIECE_BYTES, Mirror, listed, read_piece, remove_file, write_piece
from studio.services.cluster.resources import waits_for, wanted
from studio.services.recipes.queue import check_ray
from studio.services.runs.store import RunStore
from tests.helpers.detox_records import detox_recipe
from tests.helpers.runs import make_recipe, queue


def carry(mirror: Mirror, there: Path) -> None:
    for piece in mirror.pieces():
        assert len(piece.data) <= PIECE_BYTES
        write_piece(there, piece)
    for name in mirror.gone():
        remove_file(there, name)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_mirrored_folder_has_what_changed(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        (folder / "checkpoint").mkdir(parents=True)
        (folder / "events.jsonl").write_bytes(b"one\n")
        (folder / "checkpoint" / "old").write_bytes(b"old")
    mirror = Mirror(here)
    carry(mirror, there)
    with open(here / "events.jsonl", "ab") as events:
        events.write(b"two\n")
    (here / "checkpoint" / "old").unlink()
    (here / "checkpoint" / "9").mkdir()
    (here / "checkpoint" / "9" / "optimizer.pt").write_bytes(b"x" * (PIECE_BYTES + 1))
    (here / "empty").touch()
    (here / "status.json").write_text("the node's own")
    (here / ".hidden").touch()
    carry(mirror, there)
    wanted_files = {name: data for name, data in contents(here).items() if name not in ("status.json", ".hidden")}
    assert contents(there) == wanted_files
    assert sorted(listed(there)) == sorted(wanted_files)
    for name in wanted_files:
        (here / name).unlink()
    carry(mirror, there)
    assert contents(there) == {}
    assert not (there / "checkpoint").exists()


def test_what_makes_a_folder_whole_comes_last(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path)
    (tmp_path / "checkpoint").mkdir()
    for name in ("adapter_model.safetensors", "checkpoint/trainer_state.json", "zzz", "checkpoint/weights"):
        (tmp_path / name).write_bytes(b"x")
    names = [piece.name for piece in mirror.pieces()]
    assert set(names[:2]) == {"zzz", "checkpoint/weights"}
    assert len(names) == 4


@pytest.mark.parametrize("name", ["../run.json", "/etc/passwd", "a/../../b", ""])
def test_a_name_leads_out_of_no_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="no file of a run"):
        read_piece(tmp_path, name, 0)


def test_a_run_says_what_it_waits_for() -> None:
    asked = wanted(Settings(ray_gpus=1, ray_memory_mb=4000))
    assert asked == {"CPU": 1, "GPU": 1, "memory": 4e9}
    node = {"CPU": 4, "GPU": 1, "memory": 8e9}
    assert waits_for(asked, {"CPU": 1, "memory": 8e9}, [node]) == "Waiting for 1 GPU on the Ray cluster."
    assert "1 CPU and 4 GB of memory on" in waits_for(asked, {"GPU": 1}, [node])
    assert waits_for(asked, node, [node]) == "Waiting for its turn on the Ray cluster."
    assert "No node of the Ray cluster has 1 CPU and 1 GPU and 4 GB of memory in all" in waits_for(
        asked, node, [{"CPU": 9}]
    )
    assert waits_for({"GPU": 0.5}, {}, [node]) == "Waiting for 0.5 GPU on the Ray cluster."


def test_other_libraries_are_one_sentence() -> None:
    ours = {"torch": "2.13.0+cpu", "transformers": "5.23.0", "trl": "1.16.0", "peft": "0.21.2"}
    assert mismatch(ours, Node("id", "n1", {**ours, "torch": "2.13.0+cu130"})) == ""
    assert mismatch(ours, Node("id", "n1", {**ours, "trl": "1.15.0", "peft": "missing"})) == (
        "Node n1 has trl 1.15.0, peft missing, this studio 1.16.0, 0.21.2; install the same requirements.txt on both, then resume."
    )


def test_a_run_takes_along_the_runs_it_reads() -> None:
    terms = (RewardTerm("run:reward-1"), RewardTerm("embedded"))
    recipe = detox_recipe(rewards=terms, judge="run:reward-1", start_run="start-1")
    assert needed_runs(recipe) == ["start-1", "reward-1"]
    assert needed_runs(make_recipe("plain")) == []


def test_without_ray_a_run_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_ray(settings)
    with pytest.raises(NotInstalledError, match=r"pip install -r requirements-scale\.txt"):
        check_ray(dataclasses.replace(settings, ray_address="head:6379"))


def test_where_nobody_answers_a_run_waits_and_says_so(settings: Settings) -> None:
    settings = dataclasses.replace(settings, ray_address="127.0.0.1:9")
    queue(settings, "aaa")
    compute, store = RayCompute(settings), RunStore(settings)
    assert list(compute.taken()) == []
    assert not compute.submit("aaa")
    status = store.status("aaa")
    assert status.state == "queued"
    assert "The Ray cluster at 127.0.0.1:9 does not answer (Connection refused)" in status.message
    store.stop("aaa", "discard")
    assert store.ids() == []
