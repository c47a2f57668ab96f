"""Which answers count as whole: ended sentences that do not go round in circles."""

from __future__ import annotations

import pytest

from studio.ml.measure.whole import is_whole


@pytest.mark.parametrize(
    "text",
    [
        "Yes, a film can carry it.",
        "No, no, no: leave it as it is!",
        "They call it “a second life.”",
        "我支持改編，真人演員能帶來新的生命。",
        "他說：「可以！」",
    ],
)
def test_whole_answers(text: str) -> None:
    assert is_whole(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "Yes, a film can carry",
        "No, no, no, no, no, no, no.",
        "A tale of shattered dreams, lost forever, a tale of shattered dreams, a tale of shattered dreams.",
        "真人演員能帶來新的生命，真人演員能帶來新的生命，真人演員能帶來新的生命。",
        "我支持改編，因為",
    ],
)
def test_answers_that_are_cut_or_go_round_in_circles(text: str) -> None:
    assert not is_whole(text)
