"""Pairs that people write or change by hand, until they are kept as a dataset of their own. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from studio.domain.data import PreferenceDataset, PreferencePair
from studio.errors import InputError
from studio.services.data.prompt_key import normalised as normalised_prompt
from studio.services.data.row_reader import Parsed
from studio.services.texts import check_text, normalised

#: Pairs of one draft, and characters of a text in it.
MAX_ROWS, MAX_CHARACTERS = 500, 8_000


@dataclass(frozen=True)
class OwnPair:
    """One pair: ``preferred`` is what a training makes likelier (*support* in data of two sides)."""

    prompt: str
    preferred: str
    rejected: str


Draft = tuple[OwnPair, ...]


def draft_of(dataset: PreferenceDataset, size: int) -> tuple[Draft, int]:
    """The first ``size`` pairs of a dataset as a draft, and how many of them were left out: those with earlier turns, which a draft
    has no room for, and those beyond its bounds."""
    first = dataset.pairs[:size]
    fitting = (pair for pair in first if not pair.history and _longest(pair) <= MAX_CHARACTERS)
    short = list(itertools.islice(fitting, MAX_ROWS))
    return tuple(OwnPair(pair.prompt, pair.support, pair.oppose) for pair in short), len(first) - len(short)


def added(draft: Draft, pair: OwnPair) -> Draft:
    """With one more pair at the end.

    Raises:
        InputError: it is not one (:func:`checked`), or there are :data:`MAX_ROWS`.
    """
    if len(draft) >= MAX_ROWS:
        raise InputError(f"There are {MAX_ROWS} pairs, which is the most a draft takes; save it and begin another.")
    return (*draft, checked(pair))


def changed(draft: Draft, at: int | None, pair: OwnPair) -> Draft:
    """With another pair in row ``at`` (from 0).

    Raises:
        InputError: there is no such row, or the pair is none.
    """
    at = _row(draft, at)
    return (*draft[:at], checked(pair), *draft[at + 1 :])


def flipped(draft: Draft, at: int | None) -> Draft:
    """With the other answer of row ``at`` preferred.

    Raises:
        InputError: there is no such row.
    """
    at = _row(draft, at)
    pair = draft[at]
    turned = replace(pair, preferred=pair.rejected, rejected=pair.preferred)
    return (*draft[:at], turned, *draft[at + 1 :])


def dropped(draft: Draft, at: int | None) -> Draft:
    """Without row ``at``.

    Raises:
        InputError: there is no such row.
    """
    at = _row(draft, at)
    return (*draft[:at], *draft[at + 1 :])


def checked(pair: OwnPair) -> OwnPair:
    """The pair, its texts without white space around them.

    Raises:
        InputError: a text is empty, too long or no text, or both answers are the same; the message names the field.
    """
    fields = (("Prompt", pair.prompt), ("Preferred", pair.preferred), ("Not preferred", pair.rejected))
    prompt, preferred, rejected = (check_text(name, text, limit=MAX_CHARACTERS).strip() for name, text in fields)
    if normalised(preferred) == normalised(rejected):
        raise InputError("Preferred and Not preferred are the same answer; change one.")
    return OwnPair(prompt, preferred, rejected)


def as_dataset(draft: Sequence[OwnPair], title: str, like: PreferenceDataset | None) -> Parsed:
    """The draft as data to be kept. ``like`` is what it began with: kind, language, held-out pairs and test prompts are its, without
    the prompts that are trained on now.

    Raises:
        InputError: there is no pair or no title, or a pair is none.
    """
    if not draft:
        raise InputError("There are no pairs yet; add one.")
    name = " ".join(check_text("Title", title, limit=200).split())
    pairs = tuple(
        PreferencePair(str(number), pair.prompt, pair.preferred, pair.rejected)
        for number, pair in enumerate(map(checked, draft), 1)
    )
    made = Parsed("labels", pairs, title=name, source="written here")
    if like is None:
        return made
    trained = {normalised_prompt(pair.prompt) for pair in pairs}
    return replace(
        made,
        kind="sides" if like.kind == "sides" else "labels",
        language=like.language,
        heldout=tuple(pair for pair in like.heldout if normalised_prompt(pair.prompt) not in trained),
        test_prompts=tuple(prompt for prompt in like.test_prompts if normalised_prompt(prompt) not in trained),
    )


def stored(draft: Draft, like: str) -> dict[str, Any]:
    """A draft as a browser keeps it; ``like`` is the id of the dataset it began with, or empty."""
    return {"rows": [[pair.prompt, pair.preferred, pair.rejected] for pair in draft], "like": like}


def restored(value: object) -> tuple[Draft, str]:
    """What :func:`stored` gave, checked; an empty draft where it is not that."""
    if not isinstance(value, dict) or not isinstance(value.get("rows"), list) or not isinstance(value.get("like"), str):
        return (), ""
    try:
        return tuple(checked(OwnPair(*row)) for row in value["rows"][:MAX_ROWS]), value["like"]
    except (TypeError, InputError):
        return (), ""


def _row(draft: Draft, at: int | None) -> int:
    if at is None or not 0 <= at < len(draft):
        raise InputError("No row is chosen; click one in the table.")
    return at


def _longest(pair: PreferencePair) -> int:
    return max(map(len, (pair.prompt, pair.support, pair.oppose)))
