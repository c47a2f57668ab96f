"""Reinforcement learning of encoder-decoder models (T5 and its kin), which TRL's trainers do not take.

RLOO (Ahmadian et al. 2024) on a LoRA with transformers' training loop: sample some answers to each prompt, take from each
answer's reward the mean of its siblings', push its log-probability by what is left. The KL divergence to the model with the
adapter off is part of the reward, as in TRL's ``RLOOTrainer``. All else is shared with the causal runs: reward, events, stop,
checkpoints, time limit.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from studio.domain.detox import DetoxSettings
from studio.ml.detox.reward import Term, score_answers
from studio.ml.detox.setup import DetoxJob
from studio.ml.detox.trainer import StepAnswers
from studio.ml.models.prompts import answer_text, end_tokens, plain_generation
from studio.ml.training.reference import base_of
from studio.ml.training.seq2seq_logprobs import decoder_log_probs, padded
from studio.ml.training.setup import TIMED_STEPS, common_arguments
from studio.ml.training.trainer import TrainerOverrides

if TYPE_CHECKING:
    import torch


def leave_one_out(rewards: torch.Tensor, group: int) -> torch.Tensor:
    """Advantages ``[answers]``: each reward less the mean of the others of its group; groups of ``group`` follow each
    other."""
    grouped = rewards.view(-1, group)
    others = (grouped.sum(1, keepdim=True) - grouped) / (group - 1)
    return (grouped - others).flatten()


def rloo_loss(
    scores: torch.Tensor, reference: torch.Tensor, rewards: torch.Tensor, group: int, beta: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss, summed over answers, and each answer's log-ratio to the reference in nats (the k1 estimate of the KL).

    ``scores`` and ``reference`` are summed log-probabilities of the answers ``[answers]``, ``scores`` with gradients. The
    value of the loss is zero but for rounding, as advantages of a group cancel out; its gradient is that of
    ``-advantage * score``.
    """
    ratio = scores.detach() - reference
    advantages = leave_one_out(rewards - beta * ratio, group)
    return -((scores - scores.detach()).exp() * advantages).sum(), ratio


def answer_mask(ids: torch.Tensor, ends: Collection[int]) -> torch.Tensor:
    """True on each answer's tokens up to its first end token, that one included."""
    import torch

    over = torch.isin(ids, torch.tensor(sorted(ends), device=ids.device))
    return over.cumsum(1) - over.long() == 0


def without_dropout(model: Any) -> None:
    """Switch off the dropout of a bare model that is no layer of its own: T5 and BART keep such rates as plain numbers, and
    skip whole layers at random. Log-probabilities would else be of another model than the one that answered."""
    for module in model.modules():
        for name, value in vars(module).items():
            if name.endswith(("dropout", "layerdrop")) and isinstance(value, float):
                setattr(module, name, 0.0)


def arguments(job: DetoxJob, device: str, parameters: int) -> Any:
    """``TrainingArguments`` of a job on a base of ``parameters`` weights."""
    from transformers import TrainingArguments

    detox = job.recipe.settings
    shared = common_arguments(detox, detox.steps, job.folder, device, parameters)
    del shared["disable_dropout"]  # a setting of TRL's
    return TrainingArguments(
        **shared,
        max_steps=TIMED_STEPS if detox.max_seconds > 0 else detox.steps,
        per_device_train_batch_size=detox.prompts_per_step,
        train_sampling_strategy="sequential",  # prompt_order has shuffled
        label_names=[],
    )


@functools.cache
def trainer_class() -> Any:
    """The trainer, made on first use because torch and transformers are not imported with this module."""
    import torch
    from peft import get_peft_model
    from transformers import Trainer, set_seed

    class Seq2SeqDetoxTrainer(TrainerOverrides, Trainer):
        """See the module. The training set's column ``prompt`` holds places in ``prompts`` (the questions as asked) and
        ``prompt_ids`` (the same as the encoder reads them). ``answers`` are those of the step in progress; ``tally`` sums its
        loss and its log-ratio to the start, ``kl``."""

        def __init__(
            self,
            *,
            detox: DetoxSettings,
            prompts: Sequence[str],
            prompt_ids: Sequence[list[int]],
            terms: Sequence[Term],
            model: Any,
            processing_class: Any,
            peft_config: Any,
            **options: Any,
        ) -> None:
            self._detox, self._prompts, self.prompt_ids, self._terms = detox, prompts, prompt_ids, terms
            self.answers: StepAnswers | None = None
            self._ends = end_tokens(model, processing_class)
            self._tokenizer = processing_class
            without_dropout(model)
            model.generation_config = plain_generation(model, processing_class, self._ends)
            set_seed(detox.seed)  # the adapter's first values are drawn before the trainer seeds
            super().__init__(
                model=get_peft_model(model, peft_config),
                processing_class=processing_class,
                data_collator=_rows_of,
                **options,
            )

        def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
            """Sample, score and learn from the answers to one step's prompts; the mean loss."""
            detox, rows = self._detox, inputs["prompt"]
            answer_ids, mask = self._sample([self.prompt_ids[row] for row in rows])
            questions = [self._prompts[row] for row in rows for _ in range(detox.generations)]
            answer_tokens = [ids[real].tolist() for ids, real in zip(answer_ids, mask, strict=True)]
            texts = [answer_text(self._tokenizer, ids, "") for ids in answer_tokens]
            scored = score_answers(self._terms, questions, texts, detox.generations)
            self.answers = StepAnswers(scored, answer_tokens, frozenset(self._ends), detox.max_new_tokens)
            rewards = torch.tensor(scored.rewards, device=answer_ids.device)
            self.model.train()
            total = 0.0
            at_once = max(1, detox.batch_size // detox.generations) if detox.batch_size else len(rows)
            for begin in range(0, len(rows), at_once):  # prompts with all their answers: a group stays together
                part = slice(begin * detox.generations, (begin + at_once) * detox.generations)
                part_inputs = (
                    *self._padded([self.prompt_ids[row] for row in rows[begin : begin + at_once]]),
                    answer_ids[part],
                    mask[part],
                )
                scores = decoder_log_probs(self.model, *part_inputs, detox.temperature)
                with torch.no_grad(), base_of(self.model):
                    reference = decoder_log_probs(self.model, *part_inputs, detox.temperature)
                loss, ratio = rloo_loss(scores, reference, rewards[part], detox.generations, detox.beta)
                self._check_loss(loss.item())
                self.accelerator.backward(loss / len(answer_tokens))
                self.tally.add(len(ratio), int(mask[part].sum()), loss=loss.item(), kl=float(ratio.sum()))
                total += loss.item()
            return torch.tensor(total / len(answer_tokens), device=answer_ids.device)

        def _sample(self, prompts: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
            """Token ids of the answers without their start token, prompt by prompt, and the mask of what counts."""
            detox = self._detox
            ids, real = self._padded(prompts)
            self.model.eval()
            with torch.no_grad():
                out = self.model.generate(
                    input_ids=ids,
                    attention_mask=real.long(),
                    do_sample=True,
                    temperature=detox.temperature,
                    top_p=detox.top_p,
                    top_k=0,
                    num_return_sequences=detox.generations,
                    max_new_tokens=detox.max_new_tokens,
                )
            answers = out[:, 1:]
            return answers, answer_mask(answers, self._ends)

        def _padded(self, rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
            return padded(rows, self._tokenizer.pad_token_id, self.model.device)

    return Seq2SeqDetoxTrainer


def _rows_of(batch: Sequence[dict[str, int]]) -> dict[str, list[int]]:
    return {"prompt": [row["prompt"] for row in batch]}
