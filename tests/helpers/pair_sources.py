"""What tests of where pairs come from share."""

from __future__ import annotations

from studio.domain.votes import AnswerPair, Origin
from studio.services import Services


def stored(services: Services) -> tuple[AnswerPair, ...]:
    return services.rating.ballots().pairs


def both(pair: AnswerPair) -> dict[str, Origin]:
    return {pair.answer_1: pair.origin_1, pair.answer_2: pair.origin_2}
