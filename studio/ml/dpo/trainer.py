"""TRL's ``DPOTrainer`` with its cost on small models taken out and what it does unasked switched off.

What is TRL's stays TRL's: the loss (every loss type), the training loop, the optimiser, checkpoints. What differs: rows
come tokenised; log-probabilities come from :mod:`studio.ml.training.logprobs` (LM head on answer tokens only); reference
log-probabilities come from :class:`studio.ml.training.reference.ReferenceCache`; where its weight is above 0, the loss of :mod:`studio.ml.dpo.replay`
is added (the loss that is shown stays DPO's alone); and the overrides of :mod:`studio.ml.training.trainer`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.ml.dpo.replay import Replay
from studio.ml.training.logprobs import trunk_log_probs
from studio.ml.training.pairs import AnswerBatch, EncodedAnswer, pad_answers
from studio.ml.training.reference import ReferenceCache
from studio.ml.training.setup import Rows
from studio.ml.training.trainer import TrainerOverrides
from studio.ml.training.trunk import Trunk

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PairCollator:
    """Row numbers to a right-padded batch as TRL lays it out: all chosen answers, then all rejected ones."""

    pairs: Rows
    pad_id: int

    def __call__(self, examples: Sequence[dict[str, int]]) -> dict[str, torch.Tensor]:
        import torch

        rows = [example["row"] for example in examples]
        answers = [self.pairs[row][0] for row in rows] + [self.pairs[row][1] for row in rows]
        batch = pad_answers(answers, self.pad_id)
        lengths = torch.tensor([len(answer) for answer in answers])
        return {
            "rows": torch.tensor(rows),
            "input_ids": batch.input_ids,
            "attention_mask": (torch.arange(batch.input_ids.shape[1]) < lengths[:, None]).long(),
            "completion_mask": batch.completion_mask.long(),
        }


@functools.cache
def trainer_class() -> Any:
    """The trainer, made on first use because torch and TRL are not imported with this module."""
    import torch
    from trl import DPOTrainer
    from trl.trainer.utils import FusedCausalLMOutput

    class StudioDPOTrainer(TrainerOverrides, DPOTrainer):
        """See the module, and :class:`studio.ml.training.trainer.TrainerOverrides`."""

        def __init__(
            self,
            *,
            pairs: Rows,
            reference: ReferenceCache,
            replay: Replay | None = None,
            replay_weight: float = 0.0,
            sft_weight: float = 0.0,
            **options: Any,
        ) -> None:
            self._pairs, self._reference = pairs, reference
            self._replay, self._replay_weight, self._sft_weight = replay, replay_weight, sft_weight
            #: Kept states of the layers that are not trained, set before training where there are such layers.
            self.trunk: Trunk | None = None
            self._pad_id = options["data_collator"].pad_id
            super().__init__(**options)
            # After the parent's own (whole-dataset, keyed by weights) precomputation was passed by.
            self.precompute_ref_logps = True

        def _compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool) -> torch.Tensor:
            rows = inputs.pop("rows").tolist()
            answers = [self._pairs[row][side] for side in (0, 1) for row in rows]
            chosen_ref, rejected_ref = self._references(answers, inputs["input_ids"].device)
            inputs["ref_chosen_logps"], inputs["ref_rejected_logps"] = chosen_ref, rejected_ref
            batch = AnswerBatch(inputs["input_ids"], inputs["completion_mask"].bool(), 0)
            scores = trunk_log_probs(model, batch, answers, self.trunk)
            nothing = torch.zeros_like(scores)

            def scored(**_: Any) -> Any:
                # The parent's loss reads log_probs; the other three feed metrics that nobody reads here.
                return FusedCausalLMOutput(
                    log_probs=scores, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
                )

            loss = super()._compute_loss(scored, inputs, False)
            self._metrics["train"].clear()
            value = loss.item()
            self._check_loss(value)
            chosen, rejected = scores.detach().sum(1).chunk(2)
            chosen_reward, rejected_reward = self.beta * (chosen - chosen_ref), self.beta * (rejected - rejected_ref)
            margin = chosen_reward - rejected_reward
            right = (margin > 0).float() + 0.5 * (margin == 0).float()
            totals = torch.stack([chosen, rejected, chosen_reward, rejected_reward, right]).sum(1).tolist()
            names = ("logp_chosen", "logp_rejected", "reward_chosen", "reward_rejected", "accuracy")
            self.tally.add(
                len(rows),
                int(inputs["attention_mask"].sum()),
                loss=value * len(rows),
                **dict(zip(names, totals, strict=True)),
            )
            if self._sft_weight:  # TRL's "sft" loss, added here so that the reported loss stays the preference loss
                preferred = inputs["completion_mask"][: len(rows), 1:].bool()
                loss = loss - self._sft_weight * scores[: len(rows)][preferred].mean()
            if self._replay is None:
                return loss
            kept = self._replay.loss(model, rows, self.state.global_step)
            self._check_loss(kept.item())
            return loss + self._replay_weight * kept

        def _references(self, answers: list[EncodedAnswer], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
            values = self._reference.log_probs(self.model, answers, self._pad_id, self.trunk)
            chosen, rejected = torch.tensor(values, device=device).chunk(2)
            return chosen, rejected

    return StudioDPOTrainer
