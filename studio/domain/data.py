"""The frozen types that cross floors. No behaviour beyond (de)serialising themselves.

A run folder ``adapters/<run-id>/`` holds these as JSON: ``run.json`` is a :class:`Recipe`, ``status.json`` a
:class:`RunStatus`; the lines of ``events.jsonl`` and ``samples.jsonl`` are in ``studio/domain/events.py`` and ``studio/domain/detox.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

Role = Literal["system", "user", "assistant"]
Side = Literal["support", "oppose"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class PreferencePair:
    """One question with an answer for each side.

    For chosen/rejected data ``support`` is the answer labelled chosen and ``oppose`` the one labelled rejected.
    ``history`` holds the turns before ``prompt`` where the source is a longer conversation.
    """

    id: str
    prompt: str
    support: str
    oppose: str
    history: tuple[Message, ...] = ()


@dataclass(frozen=True)
class RatedAnswer:
    """One answer with a thumb up (``liked``) or down: TRL's unpaired preference, ``prompt, completion, label``."""

    id: str
    prompt: str
    completion: str
    liked: bool
    history: tuple[Message, ...] = ()


if TYPE_CHECKING:
    #: Rows in their order; those of a large dataset are read from its file when they are asked for.
    Pairs = Sequence[PreferencePair]
    Answers = Sequence[RatedAnswer]
    Prompts = Sequence[str]
else:
    #: As they are read from a record, which is checked by this.
    Pairs = tuple[PreferencePair, ...]
    Answers = tuple[RatedAnswer, ...]
    Prompts = tuple[str, ...]


#: Which answers data holds: ``sides`` for support/oppose data, ``labels`` for chosen/rejected data, ``rated`` for single answers with a
#: thumb.
Kind = Literal["sides", "labels", "rated"]
#: Where data comes from that the studio brings along.
SHIPPED = "shipped"


@dataclass(frozen=True)
class PreferenceDataset:
    """Pairs to train on, pairs kept aside, and prompts without answers; or prompts alone, for reinforcement learning.

    Attributes:
        id: folder-safe name, unique in this studio.
        kind: see :data:`Kind` (for ``labels`` the dial reads "share kept as labelled, the rest flipped").
        pairs: the training pairs, in file order; of rated answers those that make pairs: a liked and a disliked one to the same prompt,
            among those that are held in memory at most (``kept.rows.HELD``).
        heldout: pairs no training touches (may be empty).
        test_prompts: prompts for before/after answers; the held-out prompts where no separate file was given.
        content_hash: sha256 of the canonical JSON of pairs, heldout and test prompts.
        source: where it came from: :data:`SHIPPED`, a file name, or ``hub:<id>``.
        prompts: prompts to train on without answers, none of them among the test prompts; data that has them has no pairs.
        notes: what is to be known of it: rows that were left out when it was imported, and why.
        rated: single answers to train on, in file order; empty for other kinds.
    """

    id: str
    title: str
    kind: Kind
    language: str
    pairs: Pairs
    heldout: Pairs
    test_prompts: tuple[str, ...]
    content_hash: str
    source: str
    prompts: Prompts = ()
    notes: tuple[str, ...] = ()
    rated: Answers = ()


@dataclass(frozen=True)
class PreferenceRow:
    """One row as the trainer sees it: ``side`` says which answer is chosen, ``flipped`` whether that is not the
    dataset's first-named side (``support``)."""

    pair_id: str
    prompt: str
    chosen: str
    rejected: str
    side: Side
    flipped: bool
    history: tuple[Message, ...] = ()


def to_dict(value: Any) -> dict[str, Any]:
    """A frozen type as plain JSON-ready data (tuples become lists when dumped)."""
    return dataclasses.asdict(value)
