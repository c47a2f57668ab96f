"""The steering vector of pairs: the difference of states, of a length that leaves answers whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.errors import InputError
from studio.ml.measure.steering import LONGEST, steered_layer, steering_vector
from studio.ml.training.pairs import encode_rows
from tests.helpers.dpo import load, make_base, make_job


def test_it_is_the_mean_difference_at_the_last_words(tmp_path: Path) -> None:
    import torch

    base = make_base(tmp_path / "base", num_hidden_layers=5)
    model, tokenizer = load(base)
    pairs = encode_rows(tokenizer, make_job(base, tmp_path / "run", count=6).rows, "", 256)
    depth, layer = steered_layer(model)
    assert depth == 2
    assert layer is model.model.layers[2]
    preferred, others = ([pair[at] for pair in pairs] for at in (0, 1))
    vector = steering_vector(model, tokenizer, preferred, others)
    states = []
    with torch.no_grad():
        for pair in pairs:
            for answer in pair:
                # one row at a time; the end mark is the last token of these answers
                hidden = model.model(torch.tensor([answer.ids]), output_hidden_states=True).hidden_states[depth + 1][0]
                assert tokenizer.decode([answer.ids[-1]]) == "<|end|>"
                states.append(hidden[-2])
    together = torch.stack(states)
    wanted = (together[0::2] - together[1::2]).mean(0)
    shorter = min(1.0, LONGEST * float(together.norm(dim=1).mean()) / float(wanted.norm()))
    assert torch.allclose(vector, wanted * shorter, atol=1e-4)
    # turned round, the answers point the other way
    turned = steering_vector(model, tokenizer, others, preferred)
    assert turned.tolist() == pytest.approx((-vector).tolist(), abs=1e-4)
    # thumbs come in any number of each kind
    uneven = steering_vector(model, tokenizer, preferred, others[:1])
    wanted = together[0::2].mean(0) - together[1]
    assert torch.nn.functional.cosine_similarity(uneven, wanted, dim=0) > 0.999
    with pytest.raises(InputError, match="one kind alone"):
        steering_vector(model, tokenizer, preferred, [])
