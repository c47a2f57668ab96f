"""The steering vector of preferred and other answers: contrastive activation addition (Rimsky et al. 2024), the baseline without training."""

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


def steering_vector(
    model: Any, tokenizer: Any, preferred: Sequence[EncodedAnswer], others: Sequence[EncodedAnswer]
) -> Any:
    """Mean of the steered layer's output at the last word (end marks left out) of ``preferred`` answers minus that of ``others``,
    ``[hidden]`` in float32, shortened to :data:`LONGEST` where it is longer. ``model`` answers as it is: an adapter has to be off.

    Raises:
        InputError: as :func:`steered_layer`, or there are none of one kind.
    """
    import torch

    if not (preferred and others):
        raise InputError(
            "A steering vector needs answers of both kinds, preferred and not; this run was trained on one kind alone."
        )
    layer = steered_layer(model)[0]
    answers = [(answer, 1.0 / len(preferred)) for answer in preferred]
    answers += [(answer, -1.0 / len(others)) for answer in others]
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
