"""How a conversation is written for a base that has no chat template of its own: the studio's frames, as templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: For causal bases. A base that never saw a chat goes on with questions and answers (gemma-3-270m answers in it), and repeats
#: the heading of a turn in frames with headed turns. The system prompt stands first; the last answer is not followed by an
#: empty line, so that what comes after it is the end.
QUESTION_ANSWER = (
    "{{ bos_token if bos_token else '' }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ m['content'] | trim }}\n\n"
    "{% elif m['role'] == 'user' %}Question: {{ m['content'] | trim }}\n"
    "{% else %}Answer: {{ m['content'] | trim }}{{ '' if loop.last else '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Answer:{% endif %}"
)
#: For reward models, encoders among them: each turn under its heading.
HEADED = (
    "{{ bos_token if bos_token else '' }}{% for m in messages %}"
    "### {{ m['role'] | capitalize }}:\n{{ m['content'] | trim }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}### Assistant:\n{% endif %}"
)
#: Where the next turn begins in :data:`QUESTION_ANSWER`; an answer ends there.
NEXT_TURN = "\nQuestion:"


def framed(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether conversations are written in the studio's frame: the tokenizer has no chat template, or that one, which an
    export wrote into it."""
    return not tokenizer.chat_template or tokenizer.chat_template == QUESTION_ANSWER
