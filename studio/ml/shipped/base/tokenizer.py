"""The embedded base's tokenizer: byte-level BPE, one special token per role, Chinese one character a token.

Chinese is split into single characters before BPE merges bytes, so that a phrase is spelled with the same tokens
wherever it stands. With merges across characters the same phrase has different tokens in a question and in an answer,
and a small model cannot copy it.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.ml.shipped.base.corpus import Conversation, Lists, Sampler

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, END = "<|pad|>", "<|end|>"
ROLE_TOKENS = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] | trim + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(
    lists: list[Lists], vocab_size: int, seed: int, conversations: int = 40_000
) -> PreTrainedTokenizerFast:
    """Fit the tokenizer on ``conversations`` sampled conversations, half of each language."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(r"[\p{Han}\p{Hiragana}\p{Katakana}\x{3000}-\x{303F}\x{FF00}-\x{FFEF}]"), "isolated"
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END, *ROLE_TOKENS.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = random.Random(seed)
    samplers = [Sampler(entry, rng) for entry in lists]

    def texts() -> Any:
        for entry in lists:
            # Every character of the lists at least a few times, so that rare ones become one token too.
            yield from 3 * [_all_text(entry.debate), _all_text(entry.talk), _all_text(entry.questions.pieces)]
        for index in range(conversations):
            for question, answer in samplers[index % len(samplers)].conversation().turns:
                yield question
                yield answer

    tokenizer.train_from_iterator(texts(), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, padding_side="left")
    fast.chat_template = CHAT_TEMPLATE
    fast.model_max_length = 1024
    return fast


def _all_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "\n".join(_all_text(entry) for entry in value.values())
    if isinstance(value, list):
        return "\n".join(_all_text(entry) for entry in value)
    return ""


class Encoder:
    """Conversations to token ids with a weight per predicted token."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, prompt_weight: float) -> None:
        self._tokenizer = tokenizer
        self._prompt_weight = prompt_weight
        vocabulary = tokenizer.get_vocab()
        self._roles = {role: vocabulary[token] for role, token in ROLE_TOKENS.items()}
        self._end = vocabulary[END]

    def encode(self, conv: Conversation) -> tuple[list[int], list[float]]:
        """Token ids and, for each token, the weight of predicting it: 1 in answers and their end, small elsewhere."""
        ids: list[int] = []
        weights: list[float] = []

        def add(role: str, text: str, weight: float) -> None:
            body = [*self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids, self._end]
            ids.extend([self._roles[role], *body])
            weights.extend([0.0, *([weight] * len(body))])

        if conv.system:
            add("system", conv.system, 0.0)
        for question, answer in conv.turns:
            add("user", question, self._prompt_weight)
            add("assistant", answer, 1.0)
        return ids, weights


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer that :func:`save_tokenizer` wrote."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder)


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` with the chat template inside."""
    tokenizer.save_pretrained(folder, save_jinja_files=False)
