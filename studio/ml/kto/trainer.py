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

from studio.ml.dpo.trainer import AnswerOverrides, answer_inputs, scored
from studio.ml.training.logprobs import trunk_log_probs
from studio.ml.training.pairs import EncodedAnswer, pad_answers
from studio.ml.training.setup import Rows

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
        inputs = answer_inputs(rows, [self.answers[row][0] for row in rows], self.pad_id)
        return {**inputs, "label": torch.tensor([self.liked[row] for row in rows])}


@functools.cache
def trainer_class() -> Any:
    """The trainer, made on first use because torch and TRL are not imported with this module."""
    import torch
    from trl import KTOTrainer

    class StudioKTOTrainer(AnswerOverrides, KTOTrainer):
        """See the module."""

        def __init__(self, *, answers: Rows, mismatched: Rows, **options: Any) -> None:
            self._answers, self._mismatched = answers, mismatched
            super().__init__(**options)

        def _compute_kl_logps(self, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return self._kl_logps

        def _compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool) -> torch.Tensor:
            rows = inputs.pop("rows").tolist()
            answers = [self._answers[row][0] for row in rows]
            others = [self._mismatched[row][0] for row in rows]
            device = inputs["input_ids"].device
            inputs["ref_logps"], inputs["ref_KL_logps"] = self._references([*answers, *others], device)
            with torch.no_grad():
                read = pad_answers(others, self._pad_id, device)
                self._kl_logps = trunk_log_probs(model, read, others, self.trunk).sum(1)
            scores = self._scores(model, inputs, answers)
            liked = inputs["label"].bool()
            loss = super()._compute_loss(scored(scores), inputs, False)
            self._metrics["train"].clear()
            value = loss.item()
            self._check_loss(value)
            self._count(scores.detach().sum(1), inputs, liked, value)
            preferred = inputs["completion_mask"][:, 1:].bool() & liked[:, None]
            return self._with_terms(loss, model, rows, scores, preferred)

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
