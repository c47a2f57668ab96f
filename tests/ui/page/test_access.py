"""The operator's password: who gets in, and how fast one may guess."""

from __future__ import annotations

import pytest

from studio.config import Settings
from studio.errors import NotAllowedError
from studio.ui.launch import with_operator
from studio.ui.page.access import TRIES, TRIES_OF_ALL, WINDOW_S, Gate, Visitor, new_visitor, require_operator

LOCKED = Settings(admin_password="sésame")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def wrong(gate: Gate, address: str, times: int) -> None:
    for _ in range(times):
        with pytest.raises(NotAllowedError, match="not the operator's"):
            gate.unlock("guess", address)


def test_without_a_password_everybody_is_the_operator() -> None:
    assert new_visitor(Settings()).operator
    assert Gate(Settings()).unlock("anything").operator


def test_with_a_password_a_page_starts_as_a_visitors() -> None:
    assert not new_visitor(LOCKED).operator
    with pytest.raises(NotAllowedError, match="training needs the operator's password"):
        require_operator(new_visitor(LOCKED), "training")
    require_operator(Visitor(operator=True), "training")


def test_the_right_password_opens_and_others_do_not() -> None:
    gate = Gate(LOCKED)
    for guess in ("", "sesame", "sésame ", "漢字"):
        with pytest.raises(NotAllowedError, match="not the operator's"):
            gate.unlock(guess, "a")
    assert gate.unlock("sésame", "a").operator


def test_after_some_wrong_ones_an_address_waits_even_with_the_right_one() -> None:
    clock = Clock()
    gate = Gate(LOCKED, clock)
    wrong(gate, "a", TRIES)
    with pytest.raises(NotAllowedError, match=r"try again in 60 s"):
        gate.unlock("sésame", "a")
    assert gate.unlock("sésame", "b").operator, "another address is not held up"
    clock.now += WINDOW_S
    assert gate.unlock("sésame", "a").operator


def test_guessing_from_many_addresses_is_slow_too() -> None:
    clock = Clock()
    gate = Gate(LOCKED, clock)
    for number in range(TRIES_OF_ALL):
        wrong(gate, f"host-{number}", 1)
        clock.now += 0.1
    with pytest.raises(NotAllowedError, match="Too many"):
        gate.unlock("guess", "another")
    clock.now += WINDOW_S
    wrong(gate, "another", 1)


@pytest.mark.parametrize(
    ("host", "share", "open_"), [("127.0.0.1", False, True), ("0.0.0.0", False, False), ("127.0.0.1", True, False)]
)
def test_a_page_others_can_reach_always_has_a_password(
    host: str, share: bool, open_: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    made = with_operator(Settings(host=host, share=share))
    assert bool(made.admin_password) is not open_
    assert made.admin_password in capsys.readouterr().out
    assert with_operator(Settings(host="0.0.0.0", admin_password="mine")).admin_password == "mine"
