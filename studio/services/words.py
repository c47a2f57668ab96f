"""The words that moved: an answer, token by token, under an adapter and under its base."""

from __future__ import annotations

from collections.abc import Sequence

from studio.domain.chat import Blend
from studio.domain.data import Message
from studio.domain.runs import DpoRecipe
from studio.domain.settings import AnswerSettings
from studio.domain.words import MovedPair, MovedWords
from studio.errors import InputError
from studio.ml.training.pairs import conversation
from studio.services.compare.panes import PaneChat
from studio.services.compare.service import CompareService
from studio.services.data.dial import named_rows
from studio.services.lineage.steps import run_of
from studio.services.lineage.vector import is_vector
from studio.services.runs.store import RunStore
from studio.services.strength import check_strength
from studio.services.wording import counted


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
    tokens = compare.moved(PaneChat(run_id, tuple(messages), strength=strength, blend=blend), answer)
    recipe = runs.get(run_of(run_id)).recipe
    # a blend or a steering vector was not trained with a beta; where a run went on from an adapter, its rewards are measured from there and not from the base
    dpo = recipe.settings if blend is None and not recipe.start_run and not is_vector(run_id) else None
    return MovedWords(tokens, strength, dpo.beta if isinstance(dpo, AnswerSettings) else None)


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
    system = runs.get(run_of(run_id)).recipe.system_prompt if system_prompt is None else system_prompt
    before = (Message("system", system.strip()),) if system.strip() else ()
    return moved_words(compare, runs, run_id, (*before, Message("user", prompt)), answer, strength, blend)


def moved_pair(compare: CompareService, runs: RunStore, run_id: str, number: int) -> MovedPair:
    """The words that moved in both answers of training row ``number`` (from 1) of a DPO run.

    Raises:
        InputError: there is no such row. RecipeError: the run is of another method.
        StudioError: as :func:`moved_words`; NotFoundError also where the run carries no data.
    """
    recipe = DpoRecipe.of(runs.get(run_id).recipe)
    if not 1 <= number <= len(recipe.row_ids):
        raise InputError(f"Pair is {number}; this run was trained on {counted(len(recipe.row_ids), 'pair')}.")
    ids, sides = recipe.row_ids[number - 1 : number], recipe.rows_support[number - 1 : number]
    (row,) = named_rows(runs.dataset(run_id).pairs, ids, sides)
    asked = conversation(row.prompt, recipe.system_prompt, row.history)
    chosen, rejected = (moved_words(compare, runs, run_id, asked, answer) for answer in (row.chosen, row.rejected))
    return MovedPair(row, chosen, rejected)
