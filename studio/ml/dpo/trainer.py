"""TRL's ``DPOTrainer`` with its cost on small models taken out and what it does unasked switched off.

What is TRL's stays TRL's: the loss (every loss type), the training loop, the optimiser, checkpoints. What differs: rows
come tokenised; log-probabilities come from :mod:`studio.ml.training.logprobs` (LM head on answer tokens only); reference
log-probabilities come from :class:`studio.ml.training.reference.ReferenceCache`; where its weight is above 0, the loss of :mod:`studio.ml.dpo.replay`
is added (the loss that is shown stays DPO's alone); and the overrides of :mod:`studio.ml.training.trainer`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.ml.dpo.replay import Replay
from studio.ml.training.logprobs import trunk_log_probs
from studio.ml.training.pairs import AnswerBatch, EncodedAnswer, pad_answers, token_mask
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

        rows = [example["row"] for example in examples]
        return answer_inputs(rows, [self.pairs[row][side] for side in (0, 1) for row in rows], self.pad_id)


def answer_inputs(rows: Sequence[int], answers: Sequence[EncodedAnswer], pad_id: int) -> dict[str, torch.Tensor]:
    """The numbers of a batch's rows, and their ``answers`` as TRL's trainers of whole answers take them."""
    import torch

    batch = pad_answers(answers, pad_id)
    return {
        "rows": torch.tensor(rows),
        "input_ids": batch.input_ids,
        "attention_mask": token_mask(answers, batch.input_ids.shape[1]),
        "completion_mask": batch.completion_mask.long(),
    }


class AnswerOverrides(TrainerOverrides):
    """Goes before TRL's trainer of a loss on whole answers: kept reference log-probabilities, log-probabilities from kept states, and the
    terms beside the loss."""

    def __init__(
        self,
        *,
        reference: ReferenceCache,
        replay: Replay | None = None,
        replay_weight: float = 0.0,
        sft_weight: float = 0.0,
        **options: Any,
    ) -> None:
        self._reference = reference
        self._replay, self._replay_weight, self._sft_weight = replay, replay_weight, sft_weight
        #: Kept states of the layers that are not trained, set before training where there are such layers.
        self.trunk: Trunk | None = None
        self._pad_id = options["data_collator"].pad_id
        super().__init__(**options)
        # After the parent's own (whole-dataset, keyed by weights) precomputation was passed by.
        self.precompute_ref_logps = True

    def _references(self, answers: Sequence[EncodedAnswer], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Reference log-probabilities of the first half of ``answers`` and of the second."""
        import torch

        values = self._reference.log_probs(self.model, answers, self._pad_id, self.trunk)
        first, second = torch.tensor(values, device=device).chunk(2)
        return first, second

    def _scores(self, model: Any, inputs: dict[str, torch.Tensor], answers: Sequence[EncodedAnswer]) -> torch.Tensor:
        """Log-probabilities of the batch's answers, token by token."""
        batch = AnswerBatch(inputs["input_ids"], inputs["completion_mask"].bool(), 0)
        return trunk_log_probs(model, batch, answers, self.trunk)

    def _with_terms(
        self, loss: torch.Tensor, model: Any, rows: list[int], scores: torch.Tensor, preferred: torch.Tensor
    ) -> torch.Tensor:
        """``loss`` with the likelihood of the ``preferred`` tokens (TRL's "sft" loss) and of the base's own answers: added here, so that
        the reported loss stays that of the preferences."""
        if self._sft_weight and preferred.any():
            loss = loss - self._sft_weight * scores[preferred].mean()
        if self._replay is None:
            return loss
        written = self._replay.loss(model, rows, self.state.global_step)
        self._check_loss(written.item())
        return loss + self._replay_weight * written


def scored(scores: torch.Tensor) -> Callable[..., Any]:
    """A model that answers with ``scores``, for TRL's loss, which reads them alone; the rest feeds metrics that nobody reads here."""
    from trl.trainer.utils import FusedCausalLMOutput

    nothing = scores.new_zeros(scores.shape)
    output = FusedCausalLMOutput(log_probs=scores, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())
    return lambda **_: output


@functools.cache
def trainer_class() -> Any:
    """The trainer, made on first use because torch and TRL are not imported with this module."""
    import torch
    from trl import DPOTrainer

    class StudioDPOTrainer(AnswerOverrides, DPOTrainer):
        """See the module."""

        def __init__(self, *, pairs: Rows, **options: Any) -> None:
            self._pairs = pairs
            super().__init__(**options)

        def _compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool) -> torch.Tensor:
            rows = inputs.pop("rows").tolist()
            answers = [self._pairs[row][side] for side in (0, 1) for row in rows]
            chosen_ref, rejected_ref = self._references(answers, inputs["input_ids"].device)
            inputs["ref_chosen_logps"], inputs["ref_rejected_logps"] = chosen_ref, rejected_ref
            scores = self._scores(model, inputs, answers)
            loss = super()._compute_loss(scored(scores), inputs, False)
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
            preferred = inputs["completion_mask"][:, 1:].bool()
            preferred[len(rows) :] = False
            return self._with_terms(loss, model, rows, scores, preferred)

    return StudioDPOTrainer
