"""Log-probabilities of answers, with the LM head run on answer tokens only.

A batch of answers is padded on the right. Under causal attention no real token sees the padding behind it, so no
attention mask is needed; only the hidden states that predict an answer token reach the LM head.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from studio.ml.training.pairs import AnswerBatch, EncodedAnswer, pad_answers
from studio.ml.training.seq2seq_logprobs import seq2seq_log_probs
from studio.ml.training.shared_prompts import Below, batches, causal_of, decoded, layout
from studio.ml.training.trunk import Trunk

if TYPE_CHECKING:
    import torch

#: Float32 logits held at a time: about what a core's cache takes, and far below a GPU's memory.
_CPU_TILE, _GPU_TILE = 2**19, 2**26


def token_log_probs(
    model: Any,
    input_ids: torch.Tensor,
    completion_mask: torch.Tensor,
    temperature: float = 1.0,
    below: Below | None = None,
) -> torch.Tensor:
    """Log-probability of each token after the first, in nats: [rows, length - 1], zero outside the answers.

    ``model`` is a causal language model or a PEFT model around one; ``temperature`` divides its logits, for answers that were
    sampled with one; ``below`` gives the states of layers that are not gone through again. Gradients flow to the hidden states, not
    to the LM head, which LoRA leaves frozen.
    """
    causal = causal_of(model)
    rows = layout(causal, input_ids, completion_mask.bool())
    hidden = decoded(causal, rows, below)[rows.before]
    mask = completion_mask[:, 1:].bool()
    head = causal.get_output_embeddings()
    scale, softcap = head_settings(causal.config.get_text_config())
    targets = input_ids[:, 1:][mask]
    scores = _head_log_probs().apply(hidden, head.weight, head.bias, targets, scale, softcap, 1 / temperature)
    return scores.new_zeros(mask.shape).masked_scatter(mask, scores)


def answer_log_probs(
    model: Any, answers: Sequence[EncodedAnswer], pad_id: int, batch_tokens: int = 4096, trunk: Trunk | None = None
) -> list[float]:
    """Summed log-probability of each answer in nats, without gradients, in batches of similar length; with a ``trunk`` that
    holds their states, through the layers above it alone."""
    import torch

    if model.config.is_encoder_decoder:
        return seq2seq_log_probs(model, answers, pad_id, batch_tokens)
    sums = [0.0] * len(answers)
    for chosen in batches(model, answers, batch_tokens):
        batch = pad_answers([answers[index] for index in chosen], pad_id, model.device)
        with torch.no_grad():
            total = trunk_log_probs(model, batch, [answers[index] for index in chosen], trunk).sum(1)
        for index, value in zip(chosen, total.tolist(), strict=True):
            sums[index] = value
    return sums


def trunk_log_probs(
    model: Any, batch: AnswerBatch, answers: Sequence[EncodedAnswer], trunk: Trunk | None
) -> torch.Tensor:
    """:func:`token_log_probs` of a batch of ``answers``, from the kept states of ``trunk`` where there is one."""
    below = trunk.kept(answers) if trunk else None
    return token_log_probs(model, batch.input_ids, batch.completion_mask, below=below)


def head_settings(config: Any) -> tuple[float, float]:
    """What some families do to their logits: a factor, and a soft cap (0 for none)."""
    scale = next(
        (
            float(value)
            for name in ("logit_scale", "output_multiplier", "lm_head_multiplier")
            if (value := getattr(config, name, None)) is not None
        ),
        1.0,
    )
    divisor = getattr(config, "logits_scaling", None)  # Granite and its kin divide
    if divisor is not None:
        scale = float(divisor) if config.model_type == "hyperclovax" else 1 / float(divisor)
    return scale, float(getattr(config, "final_logit_softcapping", None) or 0.0)


@functools.cache
def _head_log_probs() -> Any:
    """The autograd function of the head, made on first use because torch is not imported with this module."""
    import torch

    class HeadLogProbs(torch.autograd.Function):
        """Log-probability of one target a row under ``sharpness * softcap(scale * hidden @ weight.T + bias)``.

        The derivative by the hidden state, ``(weight[target] - softmax @ weight) * dlogit``, is taken tile by tile while
        the softmax is still in the cache, so no logits are kept for the backward pass, which is one multiplication.
        """

        @staticmethod
        def forward(
            ctx: Any,
            hidden: torch.Tensor,
            weight: torch.Tensor,
            bias: torch.Tensor | None,
            targets: torch.Tensor,
            scale: float,
            softcap: float,
            sharpness: float,
        ) -> torch.Tensor:
            count, vocab = len(targets), len(weight)
            hidden = hidden.to(weight.dtype)
            jacobian = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
            scores = torch.empty(count, dtype=torch.float32, device=hidden.device)
            rows = max(64, (_CPU_TILE if hidden.device.type == "cpu" else _GPU_TILE) // vocab)
            for start in range(0, count, rows):
                part = slice(start, start + rows)
                target = targets[part, None]
                logits = torch.nn.functional.linear(hidden[part], weight, bias).float()
                if scale != 1.0:
                    logits.mul_(scale)
                if softcap:
                    logits.div_(softcap).tanh_().mul_(softcap)
                slope = (1 - (logits / softcap) ** 2) if softcap and jacobian is not None else None
                if sharpness != 1.0:
                    logits.mul_(sharpness)
                picked = logits.gather(1, target)
                top = logits.amax(1, keepdim=True)
                total = logits.sub_(top).exp_().sum(1, keepdim=True)
                scores[part] = (picked - top - total.log())[:, 0]
                if jacobian is None:
                    continue
                if slope is None:
                    spread = (logits.to(weight.dtype) @ weight).float().div_(total)
                    jacobian[part] = (weight[targets[part]].float() - spread).mul_(scale * sharpness).to(weight.dtype)
                else:
                    wanted = slope.gather(1, target) * weight[targets[part]]
                    spread = (logits.mul_(slope).to(weight.dtype) @ weight).float().div_(total)
                    jacobian[part] = (wanted - spread).mul_(scale * sharpness).to(weight.dtype)
            if jacobian is not None:
                ctx.save_for_backward(jacobian)
            return scores

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
            (jacobian,) = ctx.saved_tensors
            return jacobian * gradient[:, None].to(jacobian.dtype), None, None, None, None, None, None

    return HeadLogProbs
