"""A reward run as a scorer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from studio.domain.data import Message
from studio.domain.toxicity import NOT_COVERED, Context, ScorerInfo, ScorerSpec, TextScore
from studio.errors import InputError, ScorerError
from studio.ml.reward.scorer import RewardScorer


class RewardRunScorer:
    """A reward run of this studio: the reward of an answer to its prompt. It knows no probability of a text by itself.

    Raises:
        ModelLoadError: as :class:`RewardScorer`.
    """

    def __init__(self, spec: ScorerSpec, *, device: str = "auto", trust_remote_code: bool = False) -> None:
        self.info: ScorerInfo = spec.info
        self._scorer = RewardScorer(
            spec.base_path,
            spec.path,
            system_prompt=spec.system_prompt,
            max_length=spec.max_length,
            device=device,
            trust_remote_code=trust_remote_code,
        )

    def score(self, texts: Sequence[str], prompts: Sequence[Context] | None = None) -> list[TextScore]:
        """The reward of each text as the answer to its prompt, a question or a whole conversation; ``cut`` counts tokens of the
        prompt.

        Raises:
            InputError: no prompts, not as many as texts, an empty one, or an answer longer than the model reads.
            ScorerError: a reward is no number.
        """
        if prompts is None or len(prompts) != len(texts):
            raise InputError(
                f"{self.info.name} scores answers to prompts, one prompt for each text: {len(texts)} texts came with "
                f"{len(prompts or ())} prompts."
            )
        conversations = {}
        for index, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
            turns = (Message("user", prompt),) if isinstance(prompt, str) else prompt
            if not turns or not turns[-1].content.strip():
                raise InputError(
                    f"The prompt of text {index + 1} is empty; a reward is that of an answer to something."
                )
            if text.strip():
                conversations[index] = (*turns, Message("assistant", text))
        scores = [NOT_COVERED] * len(texts)
        for index, (reward, cut) in zip(conversations, self._scorer.scored(list(conversations.values())), strict=True):
            if not math.isfinite(reward):
                raise ScorerError(
                    f"{self.info.name} gave {reward} for text {index + 1}, which is no number; its weights are damaged. "
                    "Choose another scorer."
                )
            scores[index] = TextScore(None, reward, (reward,), "", cut)
        return scores

    def release(self) -> None:
        """Give the model's memory back; a scoring under way ends first."""
        self._scorer.release()
