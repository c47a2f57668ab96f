"""TRL's ``KTOTrainer`` with the same cost taken out as DPO's (:mod:`studio.ml.dpo.trainer`).

What is TRL's stays TRL's: the loss (Ethayarajh et al. 2024, arXiv:2402.01306, equations 7 and 8), its weights, the loop. KTO compares the
log-ratio of an answer with a KL term that a batch estimates on mismatched pairs: each prompt with the answer to another one. TRL pairs a
batch with itself moved by one, so its order is fixed; here the move is the one that leaves the fewest answers with their own prompt, as
several answers to one question are usual where people press thumbs.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.ml.dpo.replay import Replay
from studio.ml.training.logprobs import AnswerBatch, pad_answers, trunk_log_probs
from studio.ml.training.pairs import EncodedAnswer
from studio.ml.training.reference import ReferenceCache
from studio.ml.training.setup import Rows
from studio.ml.training.trainer import TrainerOverrides
from studio.ml.training.trunk import Trunk

if TYPE_CHECKING:
    import torch


def mismatched(rows: Rows, batch_size: int, max_length: int) -> list[tuple[EncodedAnswer]]:
    """For each row its prompt with the answer of another row of its batch, cut at ``max_length`` tokens; batches are ``batch_size`` rows in
    order. A batch of one row takes the answer of the row before it."""
    made: list[tuple[EncodedAnswer]] = []
    for start in range(0, len(rows), batch_size):
        batch = [row[0] for row in rows[start : start + batch_size]]
        if len(batch) == 1 and start:
            others = [rows[start - 1][0]]
        else:
            moves = [batch[-move:] + batch[:-move] for move in range(1, len(batch))] or [batch]
            others = min(
                moves, key=lambda moved: sum(a.prompt_ids == b.prompt_ids for a, b in zip(batch, moved, strict=True))
            )
        for answer, other in zip(batch, others, strict=True):
            room = max_length - len(answer.prompt_ids)
            made.append((EncodedAnswer(answer.prompt_ids, other.answer_ids[:room]),))
    return made


@dataclass(frozen=True)
class AnswerCollator:
    """Row numbers to a right-padded batch as TRL lays it out."""

    answers: Rows
    liked: Sequence[bool]
    pad_id: int

    def __call__(self, examples: Sequence[dict[str, int]]) -> dict[str, torch.Tensor]:
        import torch

        rows = [example["row"] for example in examples]
        answers = [self.answers[row][0] for row in rows]
        batch = pad_answers(answers, self.pad_id)
        lengths = torch.tensor([len(answer) for answer in answers])
        return {
            "rows": torch.tensor(rows),
            "label": torch.tensor([self.liked[row] for row in rows]),
            "input_ids": batch.input_ids,
            "attention_mask": (torch.arange(batch.input_ids.shape[1]) < lengths[:, None]).long(),
            "completion_mask": batch.completion_mask.long(),
        }


@functools.cache
def trainer_class() -> Any:
    """The trainer, made on first use because torch and TRL are not imported with this module."""
    import torch
    from trl import KTOTrainer
    from trl.trainer.utils import FusedCausalLMOutput

    class StudioKTOTrainer(TrainerOverrides, KTOTrainer):
        """See the module, and :class:`studio.ml.training.trainer.TrainerOverrides`."""

        def __init__(
            self,
            *,
            answers: Rows,
            mismatched: Rows,
            reference: ReferenceCache,
            replay: Replay | None = None,
            replay_weight: float = 0.0,
            sft_weight: float = 0.0,
            **options: Any,
        ) -> None:
            self._answers, self._mismatched, self._reference = answers, mismatched, reference
            self._replay, self._replay_weight, self._sft_weight = replay, replay_weight, sft_weight
            #: Kept states of the layers that are not trained, set before training where there are such layers.
            self.trunk: Trunk | None = None
            self._pad_id = options["data_collator"].pad_id
            super().__init__(**options)
            # After the parent's own (whole-dataset, keyed by weights) precomputation was passed by.
            self.precompute_ref_logps = True

        def _compute_kl_logps(self, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return self._kl_logps

        def _compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool) -> torch.Tensor:
            rows = inputs.pop("rows").tolist()
            answers = [self._answers[row][0] for row in rows]
            others = [self._mismatched[row][0] for row in rows]
            device = inputs["input_ids"].device
            known = self._reference.log_probs(self.model, [*answers, *others], self._pad_id, self.trunk)
            inputs["ref_logps"], inputs["ref_KL_logps"] = torch.tensor(known, device=device).chunk(2)
            with torch.no_grad():
                read = pad_answers(others, self._pad_id, device)
                self._kl_logps = trunk_log_probs(model, read, others, self.trunk).sum(1)
            batch = AnswerBatch(inputs["input_ids"], inputs["completion_mask"].bool(), 0)
            scores = trunk_log_probs(model, batch, answers, self.trunk)
            nothing = torch.zeros_like(scores)

            def scored(**_: Any) -> Any:
                # The parent's loss reads log_probs; the other three feed metrics that nobody reads here.
                return FusedCausalLMOutput(
                    log_probs=scores, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
                )

            liked = inputs["label"].bool()
            loss = super()._compute_loss(scored, inputs, False)
            self._metrics["train"].clear()
            value = loss.item()
            self._check_loss(value)
            self._count(scores.detach().sum(1), inputs, liked, value)
            if self._sft_weight and liked.any():  # TRL's "sft" loss, added here so that the reported loss stays KTO's
                kept = inputs["completion_mask"][:, 1:].bool() & liked[:, None]
                loss = loss - self._sft_weight * scores[kept].mean()
            if self._replay is None:
                return loss
            written = self._replay.loss(model, rows, self.state.global_step)
            self._check_loss(written.item())
            return loss + self._replay_weight * written

        def _count(
            self, logps: torch.Tensor, inputs: dict[str, torch.Tensor], liked: torch.Tensor, loss: float
        ) -> None:
            """The step's figures. An answer is right where the loss has it on its thumb's side: its log-ratio above the KL term for a
            liked one, below it for the others; on it counts one half."""
            ratio = logps - inputs["ref_logps"]
            ahead = ratio - (self._kl_logps - inputs["ref_KL_logps"]).mean().clamp(min=0)
            right = ((ahead > 0) == liked).float().masked_fill(ahead == 0, 0.5)
            totals: dict[str, float] = {"loss": loss * len(logps), "accuracy": right.sum().item()}
            counts: dict[str, int] = {}
            for name, these in (("chosen", liked), ("rejected", ~liked)):
                totals |= {
                    f"logp_{name}": logps[these].sum().item(),
                    f"reward_{name}": self.beta * ratio[these].sum().item(),
                }
                counts |= dict.fromkeys((f"logp_{name}", f"reward_{name}"), int(these.sum()))
            self.tally.add(len(logps), int(inputs["attention_mask"].sum()), counts, **totals)

    return StudioKTOTrainer
