"""What tests of where pairs come from share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.domain.votes import AnswerPair, Origin
from studio.services import Services
from tests.helpers.services import opened


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with opened(settings) as made:
        yield made


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, Any], Path]:
    def write(name: str, content: Any) -> Path:
        path = tmp_path / name
        text = "".join(json.dumps(row) + "\n" for row in content) if isinstance(content, list) else content
        path.write_text(text, encoding="utf-8")
        return path

    return write


def stored(services: Services) -> tuple[AnswerPair, ...]:
    return services.rating.ballots().pairs


def both(pair: AnswerPair) -> dict[str, Origin]:
    return {pair.answer_1: pair.origin_1, pair.answer_2: pair.origin_2}
