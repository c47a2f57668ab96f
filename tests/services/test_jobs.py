"""The queue of background jobs: one at a time, in order, cancelled waiting or at work, ended with a sentence."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from studio.errors import StudioError
from studio.services.jobs import Job, JobEnd, JobQueue
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.timeout(60)


class Bench:
    """A queue whose jobs wait for a gate, and what became of them."""

    def __init__(self) -> None:
        self.queue = JobQueue("test")
        self.gate = threading.Event()
        self.begun: list[str] = []
        self.ends: list[tuple[str, JobEnd, str]] = []

    def add(self, name: str, fails: Exception | None = None) -> Job:
        def work(job: Job) -> None:
            self.begun.append(job.id)
            wait_until(lambda: self.gate.is_set() or job.stop.is_set())
            if fails is not None:
                raise fails

        job = Job(name, work, lambda job, end, sentence: self.ends.append((job.id, end, sentence)))
        self.queue.add(job)
        return job


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.gate.set()
    made.queue.close()


def test_one_at_a_time_in_order(bench: Bench) -> None:
    for name in "abc":
        bench.add(name)
    wait_until(lambda: bench.begun == ["a"])
    assert [place for _, place in filter(None, map(bench.queue.find, "abc"))] == [0, 1, 2]
    bench.gate.set()
    wait_until(lambda: not any(map(bench.queue.has, "abc")))
    assert bench.ends == [(name, "done", "") for name in "abc"]


def test_one_that_waits_ends_at_once_and_one_at_work_when_it_stops(bench: Bench) -> None:
    for name in "ab":
        bench.add(name)
    wait_until(lambda: bench.begun == ["a"])
    assert bench.queue.cancel("b")
    assert bench.ends == [("b", "cancelled", "")]
    assert not bench.queue.cancel("b")
    assert bench.queue.cancel("a")
    wait_until(lambda: len(bench.ends) == 2)
    assert bench.ends[1] == ("a", "cancelled", "")
    assert bench.begun == ["a"]


def test_the_end_of_the_server_is_no_cancelling(bench: Bench) -> None:
    for name in "abc":
        bench.add(name)
    wait_until(lambda: bench.begun == ["a"])
    bench.queue.cancel("a")
    bench.queue.close()
    assert sorted(bench.ends) == [("a", "cancelled", ""), ("b", "interrupted", ""), ("c", "interrupted", "")]


def test_a_failure_is_a_sentence_and_the_next_goes_on(bench: Bench) -> None:
    bench.gate.set()
    bench.add("a", StudioError("The disk is full."))
    bench.add("b", ZeroDivisionError("boom"))
    bench.add("c")
    wait_until(lambda: len(bench.ends) == 3)
    sentences = ["The disk is full.", "Something went wrong; the server's log has the details.", ""]
    assert bench.ends == list(zip("abc", ("failed", "failed", "done"), sentences, strict=True))


def test_it_is_known_while_it_is_being_stored(bench: Bench) -> None:
    job = Job("a", lambda job: None, lambda job, end, sentence: None)
    with contextlib.suppress(ZeroDivisionError), bench.queue.adding(job):
        assert bench.queue.has("a")
        raise ZeroDivisionError
    assert not bench.queue.has("a")
