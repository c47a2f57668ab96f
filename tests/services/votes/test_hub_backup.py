"""The copy of the votes on the Hub: nothing is lost when the disk is, nothing goes where strangers read."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.config import ROOT, Settings
from studio.errors import InputError
from studio.services.rating.service import RatingService
from studio.services.votes.hub_backup import BACKUP, KEPT, VoteMirror, mirrored
from studio.services.votes.kept import delete_kept, keep_votes, kept_votes, rename_kept
from studio.services.votes.read_export import read_votes
from tests.helpers.fake_hub import FakeHub
from tests.helpers.votes import cast, new_pair, rated, store
from tests.helpers.waiting import wait_until


def mirror_of(rating: RatingService, hub: FakeHub, every_s: float = 3600.0) -> VoteMirror:
    return VoteMirror(rating, "me/votes", "hf_secret", every_s, lambda token: hub)


@pytest.fixture
def hub(tmp_path: Path) -> FakeHub:
    return FakeHub(tmp_path / "hub")


def test_a_lost_disk_comes_back_and_raters_are_known_again(tmp_path: Path, hub: FakeHub) -> None:
    rating, _ = rated(tmp_path / "one")
    rater, token = rating.register("Dora")
    hf, _ = rating.register("eve", verified_id="eve")
    half = rating.serve(rater)
    assert half is not None
    rating.vote(rater, half.pair_id, half.token, "left", 1.5)
    ballots = rating.ballots()
    kept = keep_votes(rating)
    rename_kept(rating, kept, "Monday\u2028morning")
    assert mirror_of(rating, hub).sync()
    other = store(tmp_path / "two")
    other.rules()  # opened, with a secret of its own
    mirror = mirror_of(other, hub)
    mirror.start()
    back = other.ballots()
    assert set(back.pairs) == set(ballots.pairs)
    assert set(back.votes) == set(ballots.votes)
    assert set(back.raters) == set(ballots.raters)  # by their real names, the voteless too
    assert back.rules == ballots.rules
    assert other.rater(token) == rater
    assert other.register("eve", verified_id="eve")[0].id == hf.id
    served = other.serve(rater)
    assert served is not None
    assert served.pair_id != half.pair_id  # nobody rates the same pair twice
    assert other.progress(None).votes == rating.progress(None).votes
    assert mirror.status().pending == 0
    assert kept_votes(other, kept) == kept_votes(rating, kept)
    delete_kept(other, kept)
    assert mirror.sync()  # what is deleted here is deleted in the copy
    assert (hub.head / KEPT).read_text() == ""
    mirror.close()


def test_pending_counts_votes_cast_changed_and_taken_back(tmp_path: Path, hub: FakeHub) -> None:
    rating, ballots = rated(tmp_path / "one")
    mirror = mirror_of(rating, hub)
    assert mirror.status().pending == 27
    assert mirror.sync()
    assert (mirror.status().pending, mirror.status().problem) == (0, "")
    assert str(mirror.status()) == "All votes are backed up (me/votes)."
    rating.undo(ballots.raters[0])
    assert mirror.status().pending == 1
    served = rating.serve(ballots.raters[0])
    assert served is not None
    rating.vote(ballots.raters[0], served.pair_id, served.token, "tie", 1.0)
    assert str(mirror.status()).startswith("1 vote not yet backed up")
    assert mirror.sync()
    assert mirror.status().pending == 0
    commits = len(hub.commits)
    assert mirror.sync()  # nothing new, nothing pushed
    assert len(hub.commits) == commits == 2


def test_a_copy_that_could_not_be_read_is_never_written_over(tmp_path: Path, hub: FakeHub) -> None:
    old, ballots = rated(tmp_path / "one")
    assert mirror_of(old, hub).sync()
    fresh = store(tmp_path / "two")
    mirror = mirror_of(fresh, hub)
    for step in ("create_repo", "repo_info", "list_repo_files", "snapshot_download"):
        hub.script[step] = [RuntimeError("hf_secret")]
        assert not mirror.sync()
        assert "could not be reached" in mirror.status().problem
        assert "hf_secret" not in mirror.status().problem
    (new,) = fresh.add_pairs([new_pair(55)]).ids  # people vote meanwhile
    cast(fresh, fresh.register("Zoe")[0], {new: "1"})
    assert len(hub.commits) == 1
    assert mirror.sync()
    assert len(fresh.ballots().votes) == 28
    third = store(tmp_path / "three")
    assert mirror_of(third, hub).sync()
    assert set(third.ballots().votes) == set(fresh.ballots().votes) > set(ballots.votes)


def test_only_private_datasets_of_votes_are_written_to(tmp_path: Path, hub: FakeHub) -> None:
    rating, _ = rated(tmp_path / "one")
    hub.private = False
    mirror = mirror_of(rating, hub)
    assert not mirror.sync()
    assert "is public" in mirror.status().problem
    assert hub.commits == []
    hub.private = True
    assert mirror.sync()
    hub.private = False  # made public later
    rating.undo(rating.ballots().raters[0])
    assert not mirror.sync()
    assert (mirror.status().pending, len(hub.commits)) == (1, 1)
    foreign = FakeHub(tmp_path / "foreign")
    (foreign.folder / "commit-0000").mkdir(parents=True)
    (foreign.folder / "commit-0000" / "train.csv").write_text("mine")
    mirror = mirror_of(rating, foreign)
    assert not mirror.sync()
    assert "holds something else" in mirror.status().problem
    assert len(foreign.commits) == 1


@pytest.mark.parametrize(
    ("broken", "content", "problem"),
    [
        (BACKUP, "{", "missing or broken"),
        (KEPT, "{", "line 1: this is no kept result"),
        (KEPT, '{"id": "v0", "body": "{}"}', f"{KEPT}, line 1"),
    ],
)
def test_a_broken_copy_is_not_brought_in_by_halves(
    tmp_path: Path, hub: FakeHub, broken: str, content: str, problem: str
) -> None:
    rating, _ = rated(tmp_path / "one")
    assert mirror_of(rating, hub).sync()
    (hub.head / broken).write_text(content)
    fresh = store(tmp_path / "two")
    mirror = mirror_of(fresh, hub)
    assert not mirror.sync()
    assert problem in mirror.status().problem
    assert fresh.ballots().pairs == ()
    assert len(hub.commits) == 1


def test_votes_during_a_slow_push_wait_for_the_next(tmp_path: Path, hub: FakeHub) -> None:
    rating, ballots = rated(tmp_path / "one")
    mirror = mirror_of(rating, hub, every_s=0.05)
    answer = threading.Event()
    hub.script["upload_folder"] = [RuntimeError("down"), answer]
    mirror.start()  # the first push fails, the thread tries again
    hub.pushing.clear()
    assert hub.pushing.wait(20)
    rating.undo(ballots.raters[0])
    answer.set()
    wait_until(lambda: len(hub.commits) == 2, 20)
    wait_until(lambda: mirror.status().pending == 0, 20)
    assert len(read_votes(hub.commits[0], 10**9).ballots.votes) == 27
    assert len(read_votes(hub.commits[1], 10**9).ballots.votes) == 26
    answer.clear()
    hub.script["upload_folder"] = [answer]
    rating.undo(ballots.raters[0])
    assert not mirror.close(wait_s=0.2)  # a Hub that does not answer holds nobody up
    answer.set()
    wait_until(lambda: len(hub.commits) == 3)


@pytest.mark.parametrize("slow", [0.0, 1.5])
def test_sigterm_pushes_what_is_new(tmp_path: Path, hub: FakeHub, slow: float) -> None:
    command = [sys.executable, "-m", "tests.helpers.mirrored_server", str(tmp_path), str(slow)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "voted\n"
        assert hub.commits == []
        server.send_signal(signal.SIGTERM)
        if slow:
            assert server.stdout.readline() == "pushing\n"
            server.send_signal(signal.SIGTERM)  # impatient supervisors send it twice
        assert server.wait(30) == 0
    (commit,) = hub.commits
    assert len(read_votes(commit, 10**9).ballots.votes) == 4


def test_the_settings_ask_for_a_mirror(tmp_path: Path, hub: FakeHub) -> None:
    rating = store(tmp_path / "one")
    with mirrored(Settings(), rating, {}) as none:
        assert none is None
    wanted: Callable[[str], Any] = lambda token: hub  # noqa: E731
    for repo, environ, says in (
        ("me/votes", {}, "HF_TOKEN is not"),
        ("me/votes", {"HF_TOKEN": "two words"}, "token is missing or not one"),
        ("a/b/c", {"HF_TOKEN": "hf_x"}, "not a repository name"),
    ):
        with pytest.raises(InputError, match=says), mirrored(Settings(votes_repo=repo), rating, environ, wanted):
            pytest.fail("started")
    before = signal.getsignal(signal.SIGTERM)
    rating.add_pairs([new_pair(1)])
    with mirrored(Settings(votes_repo="me/votes"), rating, {"HF_TOKEN": "hf_x"}, wanted) as mirror:
        assert mirror is not None
        rating.add_pairs([new_pair(2)])
    assert len(hub.commits) == 2
    assert signal.getsignal(signal.SIGTERM) is before
