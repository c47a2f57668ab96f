"""TRL's ``RLOOTrainer`` and ``GRPOTrainer`` with their cost on small models taken out and what they do unasked switched off.

What is TRL's stays TRL's: the settings of sampling, the leave-one-out or group-relative advantages, the loss, the training loop, the
optimiser, checkpoints. What differs: prompts come as token ids of the base's own chat template; answers end where measured ones end
(:func:`studio.ml.measure.answers.continue_ids`); log-probabilities come from
:mod:`studio.ml.training.logprobs` (LM head on answer tokens only); and the overrides of :mod:`studio.ml.training.trainer`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from studio.ml.detox.reward import Scored, Term, score_answers
from studio.ml.lora.merged import merged
from studio.ml.measure.answers import continue_ids
from studio.ml.training.logprobs import token_log_probs
from studio.ml.training.trainer import TrainerOverrides
from studio.ml.training.trunk import Trunk

if TYPE_CHECKING:
    import torch


class StepAnswers:
    """The answers of the step in progress, at most ``longest`` tokens each, and their scores."""

    def __init__(self, scored: Scored, ids: Sequence[Sequence[int]], ends: frozenset[int], longest: int) -> None:
        self.scored = scored
        worded = [[token for token in answer if token not in ends] for answer in ids]
        self.length = sum(map(len, worded)) / len(worded)
        # an answer that a new turn ended is shorter and has no end token
        self.clipped = sum(len(answer) >= longest and answer[-1] not in ends for answer in ids) / len(ids)
        self.distinct = distinct_share(worded)


def distinct_share(answers: Sequence[Sequence[int]]) -> float:
    """Distinct 3-grams over all 3-grams of some answers together (Li et al. 2016); 0 where none is that long."""
    grams = [tuple(answer[i : i + 3]) for answer in answers for i in range(len(answer) - 2)]
    return len(set(grams)) / len(grams) if grams else 0.0


class DetoxOverrides(TrainerOverrides):
    """Goes before a TRL trainer of reinforcement learning among a class's parents; see the module.

    The training set's column ``prompt`` holds places in ``prompts`` (the questions as text) and ``prompt_ids`` (the same as
    the model reads them). ``answers`` are those of the step in progress; ``tally`` sums its loss and its log-ratio to the
    start, ``kl``.
    """

    accelerator: Any
    temperature: float
    num_generations: Any
    eos_token_ids: list[int]
    current_gradient_accumulation_steps: int
    generation_config: Any
    generation_kwargs: Any
    model_wrapped: Any
    _metrics: Any
    _tokenizer: Any

    def __init__(
        self, *, prompts: Sequence[str], prompt_ids: Sequence[list[int]], terms: Sequence[Term], **options: Any
    ):
        self._prompts, self.prompt_ids, self._terms = prompts, prompt_ids, terms
        self.answers: StepAnswers | None = None
        #: What computes the layers that are not trained once a step, set before training where there are such layers.
        self.trunk: Trunk | None = None
        #: The answers of the step in progress and their log-probabilities, for its loss.
        self._policy: tuple[torch.Tensor, torch.Tensor] | None = None
        super().__init__(reward_funcs=[self._reward], **options)
        from peft.tuners.tuners_utils import BaseTunerLayer

        self._layer = next(module for module in self.model.modules() if isinstance(module, BaseTunerLayer))

    def _tokenize_prompts(self, prompts: list[int]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [list(self.prompt_ids[row]) for row in prompts], None, {}

    def _reward(
        self, prompts: list[int], completions: list[str], completion_ids: list[list[int]], **_: Any
    ) -> list[float]:
        """TRL's reward function: called once a step with all its answers."""
        scored = score_answers(self._terms, [self._prompts[row] for row in prompts], completions, self.num_generations)
        ends = frozenset((*self.eos_token_ids, self._tokenizer.pad_token_id))
        self.answers = StepAnswers(scored, completion_ids, ends, self.args.max_completion_length)
        return list(scored.rewards)

    def _sampled(self, prompt_ids: Sequence[list[int]]) -> list[list[int]]:
        """Answers drawn as TRL's settings say, which end where a measured answer ends: also where the model begins a new turn. One
        that begins with a new turn is the end token alone."""
        from trl.models.utils import unwrap_model_for_generation

        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                generation_kwargs=self.generation_kwargs,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ) as model,
            merged(model),
        ):
            rows = continue_ids(model, self._tokenizer, prompt_ids, generation_config=self.generation_config)
        return [ids or self.eos_token_ids[:1] for ids in rows]

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Log-probabilities ``[rows, logits_to_keep]`` of the answers' tokens. The entropies are zeros: nobody reads them."""
        import torch

        size = batch_size or len(input_ids)
        parts = [
            self._log_probs(
                model, input_ids[i : i + size], attention_mask[i : i + size], logits_to_keep, size < len(input_ids)
            )
            for i in range(0, len(input_ids), size)
        ]
        scores = torch.cat(parts)
        # At the loss the weights are still those the answers were sampled with, so this difference is the log-ratio.
        if torch.is_grad_enabled():
            self.tally.add(0, 0, kl=float(scores.detach().sum()))
        elif self._layer.disable_adapters:
            self.tally.add(0, 0, kl=-float(scores.sum()))
        return scores, torch.zeros_like(scores), None

    def _log_probs(self, model: Any, ids: torch.Tensor, mask: torch.Tensor, keep: int, in_parts: bool) -> torch.Tensor:
        import torch

        # Prompts are padded on the left. Turned so that every row starts with its prompt, rows need no attention mask.
        length = ids.shape[1]
        start = mask.argmax(1, keepdim=True)
        places = torch.arange(length, device=ids.device)
        turned = (places + start) % length
        answered = mask.bool() & (places >= length - keep)
        real = int((length - start.min()).item())
        rows = ids.gather(1, turned)[:, :real]
        # TRL shuffles the answers before the loss. In one order they are known again.
        texts = rows.tolist()
        order = torch.tensor(sorted(range(len(texts)), key=texts.__getitem__), device=ids.device)
        scores = self._ordered_log_probs(model, rows[order], answered.gather(1, turned)[order, :real], in_parts)
        scores = torch.nn.functional.pad(scores[order.argsort()], (1, length - real))
        return scores.gather(1, (places - start) % length)[:, -keep:]

    def _ordered_log_probs(
        self, model: Any, rows: torch.Tensor, answered: torch.Tensor, in_parts: bool
    ) -> torch.Tensor:
        """Of rows in a set order; what the loss asks for is taken from what the same weights gave a moment before, where all answers
        of the step went through the model at once."""
        import torch

        below = self.trunk.fresh if self.trunk else None
        if torch.is_grad_enabled():
            known, self._policy = self._policy, None
            if known and torch.equal(known[0], rows):
                return known[1]
        elif self._policy is None and not self._layer.disable_adapters and not in_parts:  # the first to be asked for
            with torch.enable_grad():
                self._policy = rows, token_log_probs(model, rows, answered, self.temperature, below)
            return self._policy[1].detach()
        return token_log_probs(model, rows, answered, self.temperature, below)

    def _compute_loss(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        loss: torch.Tensor = super()._compute_loss(model, inputs)  # type: ignore[misc]
        self._metrics["train"].clear()
        value, rows = loss.item() * self._loss_share(), len(inputs["completion_ids"])
        self._check_loss(value)
        tokens = int(inputs["prompt_mask"].sum() + inputs["completion_mask"].sum())
        self.tally.add(rows, tokens, loss=value * rows)
        return loss

    def _loss_share(self) -> float:
        """By what TRL has divided the loss of a part of the step."""
        return 1.0


@functools.cache
def trainer_class(algorithm: str) -> Any:
    """The trainer for ``rloo`` or ``grpo``, made on first use because torch and TRL are not imported with this module."""
    from trl import GRPOTrainer, RLOOTrainer

    class StudioRLOOTrainer(DetoxOverrides, RLOOTrainer):
        """See the module."""

        def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any) -> list[list[int]]:
            return self._sampled(prompt_ids)

    class StudioGRPOTrainer(DetoxOverrides, GRPOTrainer):
        """See the module."""

        def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any) -> tuple[list[list[int]], None]:
            return self._sampled(prompt_ids), None

        def _loss_share(self) -> float:
            return float(self.current_gradient_accumulation_steps)

    return {"rloo": StudioRLOOTrainer, "grpo": StudioGRPOTrainer}[algorithm]
