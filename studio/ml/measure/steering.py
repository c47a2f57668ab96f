"""The steering vector of preference pairs: contrastive activation addition (Rimsky et al. 2024), the baseline without training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from studio.errors import InputError
from studio.ml.models.batching import batches_by_length
from studio.ml.training.pairs import EncodedAnswer
from studio.ml.training.trunk import decoder_layers, decoder_of

#: Which layer is steered, as a share of the depth: where it worked best there.
DEPTH = 0.4
#: The vector at strength 1 is no longer than this share of the states' own mean length: of a longer one answers fall apart.
LONGEST = 0.2
_BATCH_TOKENS = 4096


def steered_layer(model: Any) -> tuple[int, Any]:
    """Index of the layer that is steered, and the layer.

    Raises:
        InputError: the layers of this base cannot be told apart.
    """
    layers = None if model.config.is_encoder_decoder else decoder_layers(model)
    if layers is None:
        raise InputError(
            "A steering vector needs a decoder-only base whose layers can be told apart; choose another base."
        )
    at = round(DEPTH * len(layers))
    return min(at, len(layers) - 1), layers[min(at, len(layers) - 1)]


def steering_vector(model: Any, tokenizer: Any, pairs: Sequence[tuple[EncodedAnswer, EncodedAnswer]]) -> Any:
    """Mean over ``pairs`` of the steered layer's output at the last word of the preferred answer (its end mark left out) minus that of the
    other, ``[hidden]`` in float32, shortened to :data:`LONGEST` where it is longer. ``model`` answers as it is: an adapter has to be off.

    Raises:
        InputError: as :func:`steered_layer`.
    """
    import torch

    layer = steered_layer(model)[0]
    answers = [(answer, sign / len(pairs)) for pair in pairs for answer, sign in zip(pair, (1.0, -1.0), strict=True)]
    total: Any = 0.0
    length = 0.0
    for chosen in batches_by_length([len(answer) for answer, _ in answers], _BATCH_TOKENS):
        rows = [torch.tensor(answers[at][0].ids) for at in chosen]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0).to(model.device)
        with torch.no_grad():
            states = decoder_of(model)(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states[
                layer + 1
            ]
        ends = [_last_word(tokenizer, answers[at][0]) for at in chosen]
        last = states[torch.arange(len(rows)), torch.tensor(ends)].float()
        length += float(last.norm(dim=1).sum()) / len(answers)
        total = total + (last * torch.tensor([answers[at][1] for at in chosen], device=last.device)[:, None]).sum(0)
    return total * min(1.0, LONGEST * length / max(1e-9, float(total.norm())))


def _last_word(tokenizer: Any, answer: EncodedAnswer) -> int:
    """Place of the last token of an answer that says something; its very last where none does."""
    special, end = set(tokenizer.all_special_ids), len(answer) - 1
    said = range(end, len(answer.prompt_ids) - 1, -1)
    ids = answer.ids
    return next((at for at in said if ids[at] not in special and str(tokenizer.decode([ids[at]])).strip()), end)
