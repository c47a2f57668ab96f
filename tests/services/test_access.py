"""The operator's password: who gets in, and how fast one may guess."""

from __future__ import annotations

import asyncio

import pytest

from studio.config import Settings
from studio.errors import NotAllowedError
from studio.services.access import ADDRESS, EVERYBODY, FORGET_S, SESSION, WAITING, Gate
from tests.helpers.waiting import run_async

LOCKED = Settings(admin_password="sésame", operator_hours=2)


class Clock:
    """Time that passes while something sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> Gate:
    return Gate(LOCKED, clock, clock.sleep)


def wrong(gate: Gate, times: int, address: str = "a", session: str = "") -> None:
    for _ in range(times):
        with pytest.raises(NotAllowedError, match="not the operator's"):
            run_async(gate.check("guess", address, session))


def test_without_a_password_everybody_is_the_operator() -> None:
    gate = Gate(Settings())
    assert gate.open
    assert gate.knows("")
    run_async(gate.check("anything"))


@pytest.mark.parametrize("guess", ["", "sesame", "sésame ", "漢字", "\ud800"])
def test_the_right_password_opens_and_others_do_not(gate: Gate, guess: str) -> None:
    with pytest.raises(NotAllowedError, match="not the operator's"):
        run_async(gate.check(guess, "a"))
    run_async(gate.check("sésame", "a"))


def test_each_wrong_one_of_a_page_makes_the_next_slower_up_to_a_bound(gate: Gate, clock: Clock) -> None:
    wrong(gate, 8, session="page")
    assert clock.slept[:6] == [0, 1, 2, 4, 8, 16]
    assert max(clock.slept) == SESSION.longest


def test_a_right_password_is_taken_however_many_wrong_ones_came_before(gate: Gate, clock: Clock) -> None:
    wrong(gate, 60, session="page")
    run_async(gate.check("sésame", "a", "page"))
    wrong(gate, 60, session="another page")
    run_async(gate.check("sésame", "a", "the operator's"))
    assert clock.slept[-1] <= ADDRESS.longest, "a neighbour's page does not slow the operator's as its own would"


def test_guessing_from_many_pages_and_addresses_is_slow_too(gate: Gate, clock: Clock) -> None:
    for number in range(ADDRESS.free + 3):
        wrong(gate, 1, "a", f"page {number}")
    assert clock.slept[ADDRESS.free :] == [1, 2, 4]
    for number in range(EVERYBODY.free):
        wrong(gate, 1, f"host {number}")
    wrong(gate, 1, "a new host")
    assert clock.slept[-1] == EVERYBODY.longest


def test_tries_made_at_once_count_each_other_and_are_bounded(clock: Clock) -> None:
    async def guesses() -> list[BaseException | None]:
        go = asyncio.Event()

        async def sleep(seconds: float) -> None:
            clock.slept.append(seconds)
            await go.wait()

        gate = Gate(LOCKED, clock, sleep)
        tries = [asyncio.create_task(gate.check("guess", "a", f"page {n}")) for n in range(WAITING + 1)]
        await asyncio.sleep(0)
        go.set()
        return await asyncio.gather(*tries, return_exceptions=True)

    refused = [str(one) for one in run_async(guesses())]
    assert sum("being tried" in one for one in refused) == 1
    assert clock.slept[-1] == ADDRESS.longest


def test_wrong_ones_are_forgotten(gate: Gate, clock: Clock) -> None:
    wrong(gate, 20, session="page")
    clock.now += FORGET_S
    wrong(gate, 1, session="page")
    assert clock.slept[-1] == 0


def test_a_secret_stands_for_the_operator_for_its_time_or_until_it_is_locked(gate: Gate, clock: Clock) -> None:
    one, two = gate.admit(), gate.admit()
    assert gate.knows(one)
    assert not gate.knows("")
    assert not gate.knows(one[:-1])
    gate.lock(one)
    assert not gate.knows(one)
    clock.now += 2 * 3600 - 1
    assert gate.knows(two)
    clock.now += 1
    assert not gate.knows(two)
    assert not Gate(LOCKED).knows(two), "another server's secret"
