"""Who is the operator: by what they are, or by the cookie that comes with the request being handled."""

from __future__ import annotations

import copy

import pytest

from studio.config import Settings
from studio.errors import NotAllowedError
from studio.services.access import Gate
from studio.ui.launch import with_operator
from studio.ui.page.access import Visitor, new_visitor, require_operator

LOCKED = Settings(admin_password="sésame")


def test_without_a_password_everybody_is_the_operator() -> None:
    assert new_visitor(Gate(Settings())).operator


def test_with_a_password_a_page_starts_as_a_visitors() -> None:
    assert not new_visitor(Gate(LOCKED)).operator
    with pytest.raises(NotAllowedError, match="training needs the operator's password"):
        require_operator(new_visitor(Gate(LOCKED)), "training")
    require_operator(Visitor(operator=True), "training")
    assert not copy.deepcopy(new_visitor(Gate(LOCKED))).operator


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
