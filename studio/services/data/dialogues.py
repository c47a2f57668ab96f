"""Conversations to summarise (the format of DialogSum: ``id, dialogue, summary, topic``) as prompts without answers.

Such prompts are what a detox run trains on and what before/after answers are asked for; there is nothing to prefer in them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from studio.errors import DatasetError
from studio.services.data.formats import RawRow, checked_object, checked_text
from studio.services.data.prompt_key import normalised
from studio.services.data.row_reader import Parsed, rows_named
from studio.services.data.shapes.table import listed

FIELD = "dialogue"
#: Dialogues of this many characters are kept: the longest answer well within what FLAN-T5 reads, the shortest say something.
SHORTEST, LONGEST = 200, 1000
#: What is kept aside for before/after answers where nobody says how much: this share, but no more than so many.
ASIDE, ASIDE_MOST = 0.2, 60
_KNOWN = {FIELD, "id", "fname", "summary", "topic"}


def holds_dialogues(rows: Sequence[RawRow]) -> bool:
    """Whether a file's first row is a dialogue to summarise, not a pair."""
    first = rows[0].value if rows else None
    return isinstance(first, dict) and FIELD in first and not {"chosen", "rejected", "support", "oppose"} & set(first)


def summary_prompt(dialogue: str) -> str:
    """What a model is asked for a dialogue: the notebook's words, which FLAN-T5 has seen in its training."""
    return f"Summarize the following conversation.\n\n{dialogue}\n\nSummary:"


def parse_dialogues(rows: Sequence[RawRow], name: str, skip_broken: bool = False) -> Parsed:
    """Prompts from dialogues of a fitting length, each once.

    Raises:
        DatasetError: a row breaks the format, or no dialogue fits; the message starts with ``name``.
    """
    kept: dict[str, str] = {}
    short, long, repeated = 0, 0, 0
    broken: list[str] = []
    strangers: set[str] = set()
    for row in rows:
        try:
            text = _dialogue(row)
        except DatasetError as error:
            broken.append(str(error))
            continue
        strangers |= {key for key, held in row.value.items() if held is not None and key not in _KNOWN}
        if not SHORTEST <= len(text) <= LONGEST:
            short, long = short + (len(text) < SHORTEST), long + (len(text) > LONGEST)
            continue
        repeated += normalised(text) in kept
        kept.setdefault(normalised(text), text)
    if broken and not (skip_broken and kept):
        raise DatasetError(f"{name}, {rows_named(broken)}")
    if not kept:
        raise DatasetError(
            f"{name}: none of its {len(rows)} dialogues has {SHORTEST} to {LONGEST} characters ({short} are shorter, {long} "
            "longer)."
        )
    counts = ((short, f"under {SHORTEST} characters"), (long, f"over {LONGEST} characters"), (repeated, "repeated"))
    lost = ", ".join(f"{count} {what}" for count, what in counts if count)
    warnings = [f"{name}: {len(kept)} of {len(rows)} dialogues became prompts{f'; left out: {lost}' if lost else ''}."]
    notes = [f"{len(broken)} broken rows left out: {rows_named(broken)}"] if broken else []
    warnings += [f"{name}: {note}" for note in notes]
    if strangers:
        warnings.append(f"{name}: fields not used: {listed(sorted(strangers))}.")
    prompts = tuple(map(summary_prompt, kept.values()))
    shape = "dialogues to summarise"
    return Parsed(
        "labels", (), prompts=prompts, warnings=tuple(warnings), shape=shape, notes=tuple(notes), broken=tuple(broken)
    )


def split_prompts(prompts: Sequence[str], fraction: float, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split distinct prompts into those to train on and those to ask before and after; order is kept.

    ``fraction`` 0 keeps a fifth aside, at most :data:`ASIDE_MOST`: answers to trained prompts would show nothing new.

    Raises:
        DatasetError: the fraction is out of range, or there is only one prompt.
    """
    if isinstance(fraction, bool) or not 0 <= fraction < 1:
        raise DatasetError(f"heldout_fraction is {fraction}; it must be at least 0 and below 1.")
    if len(prompts) < 2:
        raise DatasetError("There is only one prompt, so none is left to ask before and after; import more.")
    count = round(fraction * len(prompts)) if fraction else min(round(ASIDE * len(prompts)), ASIDE_MOST)
    places = set(random.Random(seed).sample(range(len(prompts)), min(max(1, count), len(prompts) - 1)))
    return (
        tuple(prompt for place, prompt in enumerate(prompts) if place not in places),
        tuple(prompt for place, prompt in enumerate(prompts) if place in places),
    )


def _dialogue(row: RawRow) -> str:
    value = checked_object(row)
    if FIELD not in value:
        raise DatasetError(f"{row.where}: {FIELD} is missing.")
    return checked_text(value[FIELD], f"{row.where}: {FIELD}")
