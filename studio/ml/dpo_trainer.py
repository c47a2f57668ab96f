"""TRL's ``DPOTrainer`` with its cost on small models taken out and its silent habits switched off.

What is TRL's stays TRL's: the loss (every loss type), the training loop, the optimiser, checkpoints. What differs: rows
come tokenised; log-probabilities come from :mod:`studio.ml.logprobs` (LM head on answer tokens only); reference
log-probabilities come from :class:`studio.ml.reference.ReferenceCache`; a checkpoint holds the adapter as safetensors and
no pickled arguments; nothing is reported to anybody; a loss or gradient that is not a number ends the run before it
reaches the weights.
"""

from __future__ import annotations

import copy
import functools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import TrainingError
from studio.ml.logprobs import pad_answers, token_log_probs
from studio.ml.pairs import EncodedAnswer
from studio.ml.reference import ReferenceCache

if TYPE_CHECKING:
    import torch

ADAPTER_FILE = "adapter_model.safetensors"


@dataclass
class StepTally:
    """Sums over the pairs of one optimiser step (all its micro-batches), in nats."""

    pairs: int = 0
    tokens: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    grad_norm: float = math.nan
    learning_rate: float = math.nan

    def add(self, pairs: int, tokens: int, **totals: float) -> None:
        """Count a micro-batch."""
        self.pairs += pairs
        self.tokens += tokens
        for name, value in totals.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def mean(self, name: str) -> float:
        """Mean of a quantity over the step's pairs."""
        return self.sums[name] / self.pairs


@dataclass(frozen=True)
class PairCollator:
    """Row numbers to a right-padded batch as TRL lays it out: all chosen answers, then all rejected ones."""

    pairs: Sequence[tuple[EncodedAnswer, EncodedAnswer]]
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


def save_adapter(model: Any, folder: Path, base_id: str) -> None:
    """Write ``adapter_model.safetensors`` and ``adapter_config.json``, each replaced at once.

    The config names the base by its id, never by a path on this machine.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    # Without this PEFT asks the hub whether the base's vocabulary was resized.
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    config = copy.deepcopy(model.peft_config[model.active_adapter])
    config.base_model_name_or_path = base_id
    config.inference_mode = True
    if isinstance(config.target_modules, set):
        config.target_modules = sorted(config.target_modules)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / (ADAPTER_FILE + ".tmp")
    try:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary, {"format": "pt"})
        os.replace(temporary, folder / ADAPTER_FILE)
    finally:
        temporary.unlink(missing_ok=True)
    config.save_pretrained(str(folder))


@functools.cache
def trainer_class() -> Any:
    """The trainer, made on first use because torch and TRL are not imported with this module."""
    import torch
    from trl import DPOTrainer
    from trl.trainer.utils import FusedCausalLMOutput

    class StudioDPOTrainer(DPOTrainer):
        """See the module. ``tally`` holds the figures of the step in progress; ``timed`` replaces the schedule over
        steps by one over time: it returns the share of the time that has passed."""

        def __init__(
            self,
            *,
            pairs: Sequence[tuple[EncodedAnswer, EncodedAnswer]],
            reference: ReferenceCache,
            base_id: str,
            timed: Any = None,
            **options: Any,
        ) -> None:
            self._pairs, self._reference, self._base_id, self._timed = pairs, reference, base_id, timed
            self._pad_id = options["data_collator"].pad_id
            self.tally = StepTally()
            super().__init__(**options)
            # After the parent's own (whole-dataset, keyed by weights) precomputation was passed by.
            self.precompute_ref_logps = True

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def _send_telemetry(self) -> None:
            pass

        def create_model_card(self, *_: Any, **__: Any) -> None:
            pass

        def floating_point_ops(self, inputs: Any) -> int:
            return 0  # counting walks all parameters on every step

        def _compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool) -> torch.Tensor:
            rows = inputs.pop("rows").tolist()
            chosen_ref, rejected_ref = self._references(rows, inputs["input_ids"].device)
            inputs["ref_chosen_logps"], inputs["ref_rejected_logps"] = chosen_ref, rejected_ref
            scores = token_log_probs(model, inputs["input_ids"], inputs["completion_mask"])
            nothing = torch.zeros_like(scores)

            def scored(**_: Any) -> Any:
                # The parent's loss reads log_probs; the other three feed metrics that nobody reads here.
                return FusedCausalLMOutput(
                    log_probs=scores, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
                )

            loss = super()._compute_loss(scored, inputs, False)
            self._metrics["train"].clear()
            value = loss.item()
            if not math.isfinite(value):
                raise TrainingError(
                    f"The loss became {value} at step {self.state.global_step + 1}; nothing of that step was kept. "
                    f"{self._calmer()}"
                )
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
            return loss

        def _references(self, rows: list[int], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
            answers = [self._pairs[row][side] for side in (0, 1) for row in rows]
            values = self._reference.log_probs(self.model, answers, self._pad_id)
            chosen, rejected = torch.tensor(values, device=device).chunk(2)
            return chosen, rejected

        def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
            norm = super()._get_grad_norm(model, grad_norm=grad_norm)
            self.tally.grad_norm = math.nan if norm is None else float(norm)
            if norm is not None and not math.isfinite(self.tally.grad_norm):
                raise TrainingError(
                    f"The gradient became {self.tally.grad_norm} at step {self.state.global_step + 1}; nothing of that "
                    f"step was kept. {self._calmer()}"
                )
            return norm

        def _calmer(self) -> str:
            return (
                f"Try a smaller learning rate (now {self.args.learning_rate:g}) or a longer warm-up, and look for odd "
                "rows in the data."
            )

        def _get_learning_rate(self) -> float:
            self.tally.learning_rate = super()._get_learning_rate()
            return self.tally.learning_rate

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            if self._timed is None or self.lr_scheduler is not None:
                return super().create_scheduler(num_training_steps, optimizer)
            # One step may be long or short: a schedule in thousandths of the time reaches its end when the time does.
            from transformers import get_scheduler

            ticks = 1000
            target: Any = optimizer or self.optimizer
            steps = get_scheduler(
                self.args.lr_scheduler_type,
                optimizer=target,
                num_warmup_steps=math.ceil(ticks * self.args.warmup_steps),
                num_training_steps=ticks,
            )
            shape = steps.lr_lambdas[0]
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                target, lambda step: shape(max(1.0, min(1.0, self._timed()) * ticks))
            )
            self._created_lr_scheduler = True
            return self.lr_scheduler

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            save_adapter(self.model, Path(output_dir or str(self.args.output_dir)), self._base_id)

    return StudioDPOTrainer


#: Written last into a checkpoint, so that one without it is known to be incomplete.
STATE_FILE = "trainer_state.json"
