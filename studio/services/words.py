"""The words that moved: an answer, token by token, under an adapter and under its base."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from studio.domain.chat import Blend
from studio.domain.data import Message
from studio.domain.settings import DpoSettings
from studio.domain.words import MovedWords
from studio.errors import InputError
from studio.ml.measure.words import moved_tokens
from studio.services.compare import CompareService
from studio.services.runs.store import RunStore
from studio.services.strength import check_strength


def moved_words(
    compare: CompareService,
    runs: RunStore,
    run_id: str,
    messages: Sequence[Message],
    answer: str,
    strength: float = 1.0,
    blend: Blend | None = None,
) -> MovedWords:
    """How much likelier a run's adapter, or its blend with another, makes each token of ``answer`` to ``messages`` than its base does.

    Raises:
        InputError: the answer is empty, question and answer do not fit into the model, or a strength is out of range.
        NotFoundError, ConflictError, ModelLoadError: as :meth:`CompareService.stream`.
    """
    check_strength(strength)
    if not answer.strip():
        raise InputError("The answer is empty; there is no word to look at.")
    work = functools.partial(moved_tokens, messages=messages, answer=answer, strength=strength)
    tokens = compare.with_adapter(run_id, work, blend)
    settings = runs.get(run_id).recipe.settings if blend is None else None  # a blend was not trained with a beta
    return MovedWords(tokens, strength, settings.beta if isinstance(settings, DpoSettings) else None)


def explain(
    compare: CompareService,
    runs: RunStore,
    run_id: str,
    prompt: str,
    answer: str,
    system_prompt: str | None = None,
    strength: float = 1.0,
    blend: Blend | None = None,
) -> MovedWords:
    """:func:`moved_words` of an answer to one question; without a system prompt behind the one the run was trained with.

    Raises:
        StudioError: as :func:`moved_words`.
    """
    system = runs.get(run_id).recipe.system_prompt if system_prompt is None else system_prompt
    before = (Message("system", system.strip()),) if system.strip() else ()
    return moved_words(compare, runs, run_id, (*before, Message("user", prompt)), answer, strength, blend)
