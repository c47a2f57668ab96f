"""The services an evaluation needs, with the real engine or with a scripted one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from studio.config import Settings
from tests.helpers.evaluation_services import House
from tests.helpers.evaluations import ScriptedCompare


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    made = House(settings)
    yield made
    made.close()


@pytest.fixture
def quick(settings: Settings) -> Iterator[House]:
    """One whose engine is a script."""
    made = House(settings, ScriptedCompare)
    yield made
    made.close()
