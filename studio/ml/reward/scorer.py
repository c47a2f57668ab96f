"""Scores from a trained reward model: loaded once, asked by many threads one after another.

Only differences between scores of answers to the same prompt mean anything: ``sigmoid(a - b)`` is the probability, as the
model sees it, that the first answer is preferred.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from studio.domain.data import Message
from studio.errors import InputError, ModelLoadError
from studio.ml.models.loading import load_tokenizer, release_memory, resolve_device
from studio.ml.reward.base import load_reward_base
from studio.ml.reward.rows import encode_answer, score_rows
from studio.ml.training.pairs import conversation


class Scored(NamedTuple):
    """A reward, and how many of the conversation's oldest tokens were left out because they did not fit."""

    reward: float
    cut: int


class RewardScorer:
    """A reward model in memory: base, adapter and head.

    Scores are computed in float32 where nothing else is asked for, so that one does not depend on its neighbours in a batch
    (to 1e-4; in bfloat16 to the second digit).

    Args:
        base_path: local folder, or an id in the local hub cache; the base the adapter was trained on.
        adapter: folder of a reward run.
        system_prompt: the run's, put before conversations that bring none of their own.
        max_length: tokens of a text, answer included; 0 is as many as the base has positions for. Give the run's
            ``max_length``, so that texts are cut where they were cut in training.
        device: as for ``resolve_device``.
        dtype: ``float32`` or ``bfloat16``, for bases too large for float32; ``load_in_4bit`` for larger ones still.

    Raises:
        ModelLoadError: the adapter is not one of a reward run, or does not fit the base, or the base cannot be loaded.
    """

    def __init__(
        self,
        base_path: str | Path,
        adapter: str | Path,
        *,
        system_prompt: str = "",
        max_length: int = 0,
        device: str = "auto",
        dtype: str = "float32",
        load_in_4bit: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        adapter = Path(adapter)
        check_reward_adapter(adapter)
        place = resolve_device(device)
        self._lock = threading.Lock()
        self._system_prompt = system_prompt
        self._tokenizer = load_tokenizer(base_path, trust_remote_code=trust_remote_code)
        base = load_reward_base(
            base_path,
            self._tokenizer,
            device=place,
            dtype=dtype,
            seed=0,  # the head comes with the adapter
            load_in_4bit=load_in_4bit,
            trust_remote_code=trust_remote_code,
        )
        self.limit = min(max_length, base.limit) if max_length > 0 else base.limit
        self._model: Any = _with_adapter(base.model, adapter)

    def scored(self, conversations: Sequence[Sequence[Message]]) -> list[Scored]:
        """Score conversations, each of which ends with the assistant's answer to be scored; order is kept.

        Raises:
            InputError: a conversation without an answer at its end, an answer that is empty or alone too long.
        """
        with self._lock:
            model = self._model
            if model is None:
                raise ModelLoadError("This reward model was released; load it again.")
            encoded = [self._encode(number, turns) for number, turns in enumerate(conversations, 1)]
            rewards = score_rows(model, [answer for answer, _ in encoded], self._tokenizer.pad_token_id)
        return [Scored(reward, cut) for reward, (_, cut) in zip(rewards, encoded, strict=True)]

    def release(self) -> None:
        """Give the model's memory back; a scoring under way ends first. Scoring afterwards raises ``ModelLoadError``."""
        with self._lock:
            self._model = None
            release_memory()

    def _encode(self, number: int, turns: Sequence[Message]) -> Any:
        if len(turns) < 2 or turns[-1].role != "assistant":
            raise InputError(f"Conversation {number} has no answer at its end; give a prompt and an answer to it.")
        if not turns[-1].content.strip():
            raise InputError(f"The answer of conversation {number} is empty; there is nothing to score.")
        *before, answer = turns
        question = before[-1]
        if question.role != "user":
            raise InputError(f"Conversation {number} has no question before its answer; give a prompt.")
        context = conversation(question.content, self._system_prompt, before[:-1])
        encoded = encode_answer(self._tokenizer, context, answer.content, self.limit)
        if encoded is None:
            raise InputError(
                f"The answer of conversation {number} ({len(answer.content):,} characters) is longer than the "
                f"{self.limit} tokens this reward model reads; shorten it."
            )
        return encoded


def check_reward_adapter(adapter: Path) -> None:
    """Refuse a folder that is no adapter of a reward run.

    Raises:
        ModelLoadError
    """
    try:
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        kind = config.get("task_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelLoadError(f"{adapter.name} has no adapter_config.json that can be read.") from error
    if kind != "SEQ_CLS" or config.get("peft_type") != "LORA" or not (adapter / "adapter_model.safetensors").is_file():
        raise ModelLoadError(f"{adapter.name} is not a reward model; choose a run made in the Reward tab.")


def _with_adapter(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    try:
        loaded = PeftModel.from_pretrained(model, str(adapter), is_trainable=False)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelLoadError(f"The reward model {adapter.name} does not fit this base: {reason[:200]}") from error
    return loaded.eval()
