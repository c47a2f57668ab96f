"""TRL's ``RewardTrainer`` with what it does unasked switched off; see :mod:`studio.ml.training.trainer`.

The loss is TRL's: ``-log sigmoid(reward(chosen) - reward(rejected))``, and the pull of both towards zero. Chosen and
rejected answers of a step go through the model in parts of similar length.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from studio.ml.reward.rows import Encoded, pad_batch, rewards_by_length
from studio.ml.training.pairs import EncodedAnswer
from studio.ml.training.trainer import TrainerOverrides
from studio.ml.training.trunk import Trunk


@dataclass(frozen=True)
class RewardCollator:
    """Row numbers to a batch: the numbers, and the mask of its answers' tokens, from which TRL counts them."""

    pairs: Sequence[Encoded]
    pad_id: int

    def __call__(self, examples: Sequence[dict[str, int]]) -> dict[str, Any]:
        rows = [example["row"] for example in examples]
        return {"rows": rows, "attention_mask": pad_batch(answers_of(self.pairs, rows), self.pad_id)["attention_mask"]}


def answers_of(pairs: Sequence[Encoded], rows: Sequence[int]) -> list[EncodedAnswer]:
    """The answers of a batch in its order: all chosen ones, then all rejected ones."""
    return [pairs[row][side] for side in (0, 1) for row in rows]


@functools.cache
def trainer_class() -> Any:
    """The trainer, made on first use because torch and TRL are not imported with this module."""
    import torch
    from transformers.modeling_outputs import SequenceClassifierOutput
    from trl import RewardTrainer

    class StudioRewardTrainer(TrainerOverrides, RewardTrainer):
        """See the module."""

        def __init__(self, *, pairs: Sequence[Encoded], **options: Any) -> None:
            self._pairs, self._pad_id = pairs, options["data_collator"].pad_id
            #: Kept states of the layers that are not trained, set before training where there are such layers.
            self.trunk: Trunk | None = None
            super().__init__(**options)

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            answers = answers_of(self._pairs, inputs.pop("rows"))

            def scored(use_cache: bool, attention_mask: Any) -> Any:
                rewards = rewards_by_length(model, answers, self._pad_id, self.trunk)
                return SequenceClassifierOutput(logits=rewards[:, None])

            loss, outputs = super().compute_loss(scored, inputs, True)
            self._metrics["train"].clear()  # means of batch means; the tally keeps sums over pairs
            value = loss.item()
            self._check_loss(value)
            chosen, rejected = outputs.logits.detach()[:, 0].chunk(2)
            right = (chosen > rejected).float() + 0.5 * (chosen == rejected).float()
            totals = torch.stack([chosen, rejected, right]).sum(1).tolist()
            self.tally.add(
                len(chosen),
                int(inputs["attention_mask"].sum()),
                loss=value * len(chosen),
                **dict(zip(("reward_chosen", "reward_rejected", "accuracy"), totals, strict=True)),
            )
            return loss

    return StudioRewardTrainer
