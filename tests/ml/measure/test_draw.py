"""Drawing one token a row: the shares are those of temperature and top-p, whatever way they are reached."""

from __future__ import annotations

import pytest

from studio.ml.measure.answers import TopPDraw


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 0.9), (0.5, 0.9), (1.0, 1.0), (2.0, 0.3)])
@pytest.mark.parametrize("vocabulary", [6, 400])
def test_tokens_are_drawn_as_often_as_they_should_be(temperature: float, top_p: float, vocabulary: int) -> None:
    import torch

    torch.manual_seed(0)
    logits = torch.randn(vocabulary) * (2 if vocabulary == 6 else 0.3)  # flat: 128 tokens do not hold the share
    shares = (logits / temperature).softmax(0)
    ordered, places = shares.sort(descending=True)
    inside = places[: int((ordered.cumsum(0) - ordered < top_p).sum())]
    expected = torch.zeros(vocabulary).scatter(0, inside, shares[inside])
    expected /= expected.sum()
    rows = 40_000
    left = TopPDraw(temperature, top_p)(torch.zeros(rows, 1), logits.expand(rows, -1).clone())
    assert int((left == 0).sum()) == rows
    counts = (left == 0).float().mean(0)
    assert float((counts - expected).abs().max()) < 0.01
