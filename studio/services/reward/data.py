"""What a reward run trains on and what it is measured on: votes, a preference dataset, or both. Pure.

The dial works on the dataset where there is one (votes beside it stay as voted), else on the votes. No prompt stands on both
sides of the split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from studio.domain.data import Pairs, PreferenceDataset, PreferencePair, PreferenceRow
from studio.errors import RecipeError
from studio.services.data.dial import build_preferences, named_rows, preference_row
from studio.services.data.preference_rows import content_hash, keep_aside
from studio.services.data.prompt_key import normalised
from studio.services.runs.folder import SNAPSHOT_HELDOUT

#: Share of the prompts held out where a dataset brings no held-out pairs, and the seed of that choice: not the run's, so that
#: runs with different seeds are measured on the same pairs.
HELDOUT, SPLIT_SEED = 0.2, 0


@dataclass(frozen=True)
class RewardData:
    """The data of one reward run. ``dataset`` is what the run keeps once :func:`to_dataset` made it: its pairs hold those of ``rows``,
    its held-out pairs are those of ``heldout``. ``doubled`` pairs of the dataset were left out because the votes hold them as
    well."""

    dataset: PreferenceDataset
    rows: tuple[PreferenceRow, ...]
    heldout: tuple[PreferenceRow, ...]
    doubled: int = 0


@dataclass(frozen=True)
class TableRow:
    """One row as somebody checks it before training: ``number`` counts from 1, within the training rows or the held-out ones.
    ``source`` is how its votes stood, or the title of its dataset."""

    number: int
    row: PreferenceRow
    source: str
    heldout: bool


def gather(
    votes: PreferenceDataset | None, data: PreferenceDataset | None, support_ratio: float, data_size: int, seed: int
) -> RewardData:
    """Rows to train on and to measure on.

    Args:
        votes: the decided pairs (kind ``labels``).
        data: a preference dataset, of which the first ``data_size`` pairs are taken.
        support_ratio: share of the dataset's rows (without one: of the voted rows) that prefer *support*.
        seed: has no effect on which rows support: those are the first ones, as in Align.

    Raises:
        RecipeError: nothing to train on, or ratio or size does not fit.
    """
    if data is not None and not 1 <= data_size <= len(data.pairs):
        raise RecipeError(f"data_size is {data_size}; {data.title} has 1 to {len(data.pairs)} pairs to give.")
    if votes is not None and data is not None:
        return _both(votes, data, support_ratio, data_size, seed)
    if data is not None:
        chosen, aside = _split(data, data_size)
        made = replace(data, pairs=chosen, heldout=aside)
    elif votes is not None:
        made = votes
    else:
        raise RecipeError("There is nothing to train on; choose the votes, a dataset, or both.")
    return _as_run(made, build_preferences(made.pairs, support_ratio, len(made.pairs), seed))


def run_rows(
    dataset: PreferenceDataset, row_ids: Sequence[str], rows_support: Sequence[bool]
) -> tuple[tuple[PreferenceRow, ...], tuple[PreferenceRow, ...]]:
    """The rows that a run trains on and those it is measured on, from what its folder keeps: dataset, ids and flip mask. The
    preview and the worker both come here, so that what is shown is what is trained on.

    Raises:
        InputError: a pair is not in the dataset.
    """
    return named_rows(dataset.pairs, row_ids, rows_support), heldout_rows(dataset, rows_support)


def to_dataset(data: RewardData) -> PreferenceDataset:
    """What the run keeps, with the hash of what it really holds."""
    made = data.dataset
    return replace(made, content_hash=content_hash(made.pairs, made.heldout, made.test_prompts))


def table(data: RewardData, tallies: Mapping[str, str], title: str, most: int) -> tuple[TableRow, ...]:
    """At most ``most`` rows to look at, training rows before held-out ones. Of many training rows the first and the last are
    given, since the dial turns the last ones round, of many held-out ones the first: a quarter of the room at least.

    Args:
        tallies: how the votes on a pair stand, by pair id (see ``decisions.tally``).
        title: the dataset's, for all other pairs.
    """
    aside = min(len(data.heldout), max(most // 4, most - len(data.rows)))
    training = list(enumerate(data.rows, 1))
    if len(training) > most - aside:
        first = (most - aside + 1) // 2
        training = [*training[:first], *training[len(training) - (most - aside - first) :]]

    def table_row(number: int, row: PreferenceRow, heldout: bool) -> TableRow:
        votes = tallies.get(row.pair_id)
        return TableRow(number, row, f"votes {votes}" if votes else title, heldout)

    held = enumerate(data.heldout[:aside], 1)
    return (*(table_row(*numbered, False) for numbered in training), *(table_row(*numbered, True) for numbered in held))


def heldout_rows(dataset: PreferenceDataset, rows_support: Sequence[bool]) -> tuple[PreferenceRow, ...]:
    """A run's held-out pairs as rows. In data with sides the chosen answer is that of the side which most training rows
    prefer (the dial may have turned it round); labels and votes stand as they are."""
    support = dataset.kind != "sides" or _mostly(rows_support)
    return tuple(preference_row(pair, support) for pair in dataset.heldout)


def _both(
    votes: PreferenceDataset, data: PreferenceDataset, support_ratio: float, data_size: int, seed: int
) -> RewardData:
    voted = {pair.id for pair in (*votes.pairs, *votes.heldout)}
    texts = {_texts(pair) for pair in (*votes.pairs, *votes.heldout)}
    chosen, aside = _split(data, data_size)
    known = [pair for pair in (*chosen, *aside) if pair.id in voted or _texts(pair) in texts]
    gone = {id(pair) for pair in known}
    chosen, aside = (tuple(pair for pair in part if id(pair) not in gone) for part in (chosen, aside))
    held = {_question(pair) for pair in (*votes.heldout, *aside)}
    from_votes, votes_aside = _parted((*votes.pairs, *votes.heldout), held)
    from_data, data_aside = _parted((*chosen, *aside), held)
    if not from_votes and not from_data:
        raise RecipeError("Every pair falls among the held-out prompts, so nothing is left to train on; add data.")
    rows = tuple(preference_row(pair, True) for pair in from_votes)
    if from_data:
        rows = (*rows, *build_preferences(from_data, support_ratio, len(from_data), seed))
    if data.kind == "sides" and not _mostly([row.side == "support" for row in rows[len(from_votes) :]]):
        data_aside = tuple(replace(pair, support=pair.oppose, oppose=pair.support) for pair in data_aside)
    made = replace(
        votes,
        id=f"{votes.id}+{data.id}",
        title=f"{votes.title} + {data.title}",
        pairs=(*from_votes, *from_data),
        heldout=(*votes_aside, *data_aside),
    )
    return _as_run(made, rows, len(known))


def _as_run(made: PreferenceDataset, rows: Sequence[PreferenceRow], doubled: int = 0) -> RewardData:
    """The data as the run itself will find it in its folder."""
    return RewardData(
        made, *run_rows(made, [row.pair_id for row in rows], [row.side == "support" for row in rows]), doubled
    )


def _split(data: PreferenceDataset, size: int) -> tuple[Pairs, Pairs]:
    """Training and held-out pairs of the first ``size``; the dataset's own held-out part where it has one. Pairs of one
    single prompt cannot be split: all of them are trained on, and nothing can be said of the result."""
    pairs = data.pairs[:size]
    first = _question(pairs[0])
    if data.heldout or all(_question(pair) == first for pair in pairs):  # ends at the second question
        return pairs, data.heldout[:SNAPSHOT_HELDOUT]
    return keep_aside(pairs, HELDOUT, SPLIT_SEED)


def _parted(
    pairs: Iterable[PreferencePair], held: set[tuple[str, ...]]
) -> tuple[tuple[PreferencePair, ...], tuple[PreferencePair, ...]]:
    listed = tuple(pairs)
    return (
        tuple(pair for pair in listed if _question(pair) not in held),
        tuple(pair for pair in listed if _question(pair) in held),
    )


def _mostly(supports: Sequence[bool]) -> bool:
    return 2 * sum(supports) >= len(supports)


def _question(pair: PreferencePair) -> tuple[str, ...]:
    """The normalised prompt and the turns before it, without the system prompt: it does not make another question."""
    turns = (turn for turn in pair.history if turn.role != "system")
    return (*(normalised(turn.content) for turn in turns), normalised(pair.prompt))


def _texts(pair: PreferencePair) -> tuple[object, ...]:
    return (_question(pair), frozenset((normalised(pair.support), normalised(pair.oppose))))
