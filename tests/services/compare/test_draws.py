"""Eight answers of each pane, and the judge of their data."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import pytest

from studio.config import Settings
from studio.domain.chat import BASE, Sampling
from studio.domain.data import Message
from studio.errors import InputError
from studio.services import Services
from studio.services.compare.draws import COUNT
from studio.services.compare.panes import PaneChat
from tests.helpers.compare import add_run
from tests.helpers.services import opened

ASK = (Message("user", "Should anime be turned into live action?"),)
SHORT = Sampling(max_new_tokens=12, seed=3)


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with opened(settings) as made:
        yield made


def test_each_pane_draws_eight_and_the_runs_data_judges_them(services: Services) -> None:
    add_run(services.runs, "run-1")
    states = list(services.draws.draw([PaneChat(BASE, ASK), PaneChat("run-1", ASK)], SHORT))
    assert states[0].panes == ()
    assert states[-1].done == states[-1].total == 2 * COUNT
    base, adapter = states[-1].panes
    assert [base.pane_id, adapter.pane_id] == [BASE, "run-1"]
    assert len(base.answers) == len(base.sides) == len(adapter.answers) == COUNT
    assert len(set(base.answers)) > 1, "each has noise of its own"
    assert base.support == sum(side == "support" for side in base.sides)
    assert states[-1].judged_by == services.runs.dataset("run-1").title


def test_without_a_run_nobody_judges_and_greedy_answers_are_refused(services: Services) -> None:
    last = deque(services.draws.draw([PaneChat(BASE, ASK)], SHORT), maxlen=1).pop()
    assert last.panes[0].sides == ()
    assert last.judged_by == ""
    with pytest.raises(InputError, match="temperature is 0"):
        next(services.draws.draw([PaneChat(BASE, ASK)], replace(SHORT, temperature=0)))
