"""Conversations to summarise (the format of DialogSum: ``id, dialogue, summary, topic``) as prompts without answers.

Such prompts are what a detox run trains on and what before/after answers are asked for; there is nothing to prefer in them.
"""

from __future__ import annotations

import array
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from studio.errors import DatasetError
from studio.services.data.formats import RawRow, checked_object, checked_text
from studio.services.data.kept.rows import gathered, picked
from studio.services.data.prompt_key import digest, normalised
from studio.services.data.row_reader import FIELDS, Parsed, Told, as_parsed, broken_left_out, check_broken
from studio.services.data.shapes.table import listed

FIELD = "dialogue"
#: Dialogues of this many characters are kept: the longest answer well within what FLAN-T5 reads, the shortest say something.
SHORTEST, LONGEST = 200, 1000
#: What is kept aside for before/after answers where nobody says how much: this share, but no more than so many.
ASIDE, ASIDE_MOST = 0.2, 60
#: What is kept aside at most where somebody says how much: one evaluation asks no more.
MOST_ASIDE = 2_000
_KNOWN = {FIELD, "id", "fname", "summary", "topic"}
#: What is counted.
_ROWS, _SHORT, _LONG, _REPEATED = "rows", f"under {SHORTEST} characters", f"over {LONGEST} characters", "repeated"


def holds_dialogues(rows: Sequence[RawRow]) -> bool:
    """Whether a file's first row is a dialogue to summarise, not a pair."""
    first = rows[0].value if rows else None
    return isinstance(first, dict) and FIELD in first and not {"chosen", "rejected", "support", "oppose"} & set(first)


def summary_prompt(dialogue: str) -> str:
    """What a model is asked for a dialogue: the notebook's words, which FLAN-T5 has seen in its training."""
    return f"Summarize the following conversation.\n\n{dialogue}\n\nSummary:"


def parse_dialogues(dialogues: Iterable[RawRow], name: str, skip_broken: bool = False) -> Parsed:
    """Prompts from dialogues of a fitting length, each once.

    Raises:
        DatasetError: a row breaks the format, or no dialogue fits; the message starts with ``name``.
    """
    tally, broken, unused = Counter[str](), Told(), set[str]()
    kept = gathered(map(summary_prompt, _fitting(dialogues, tally, broken, unused)))
    check_broken(broken, bool(kept), skip_broken, name)
    rows, short, long = (tally[what] for what in (_ROWS, _SHORT, _LONG))
    if not kept:
        raise DatasetError(
            f"{name}: none of its {rows} dialogues has {SHORTEST} to {LONGEST} characters ({short} are shorter, {long} longer)."
        )
    lost = ", ".join(f"{tally[what]} {what}" for what in (_SHORT, _LONG, _REPEATED) if tally[what])
    notes = broken_left_out(broken)
    warnings = [f"{len(kept)} of {rows} dialogues became prompts{f'; left out: {lost}' if lost else ''}.", *notes]
    if unused:
        warnings.append(f"fields not used: {listed(sorted(unused))}.")
    return as_parsed(name, "labels", "dialogues to summarise", warnings, notes, broken, prompts=kept)


def _fitting(rows: Iterable[RawRow], tally: Counter[str], broken: Told, unused: set[str]) -> Iterator[str]:
    """The dialogues of a fitting length, each once; ``tally`` counts the rows and what was left out, ``unused`` takes the names of
    fields that are not used."""
    known: set[int] = set()
    for row in rows:
        tally[_ROWS] += 1
        try:
            text = _dialogue(row)
        except DatasetError as error:
            broken.add(str(error))
            continue
        if len(unused) < FIELDS:
            unused |= {key for key, value in row.value.items() if value is not None and key not in _KNOWN}
        if not SHORTEST <= len(text) <= LONGEST:
            tally[_SHORT if len(text) < SHORTEST else _LONG] += 1
        elif (key := digest(normalised(text))) in known:
            tally[_REPEATED] += 1
        else:
            known.add(key)
            yield text


def split_prompts(prompts: Sequence[str], fraction: float, seed: int) -> tuple[Sequence[str], tuple[str, ...]]:
    """Split distinct prompts into those to train on and those to ask before and after; order is kept.

    ``fraction`` 0 keeps a fifth aside, at most :data:`ASIDE_MOST`, any other one at most :data:`MOST_ASIDE`: answers to trained prompts
    would show nothing new.

    Raises:
        DatasetError: the fraction is out of range, or there is only one prompt.
    """
    if isinstance(fraction, bool) or not 0 <= fraction < 1:
        raise DatasetError(f"heldout_fraction is {fraction}; it must be at least 0 and below 1.")
    if len(prompts) < 2:
        raise DatasetError("There is only one prompt, so none is left to ask before and after; import more.")
    share, most = (fraction, MOST_ASIDE) if fraction else (ASIDE, ASIDE_MOST)
    count = min(max(1, round(share * len(prompts))), len(prompts) - 1, most)
    aside = set(random.Random(seed).sample(range(len(prompts)), count))
    trained = array.array("Q", (place for place in range(len(prompts)) if place not in aside))
    return picked(prompts, trained), tuple(prompts[place] for place in sorted(aside))


def _dialogue(row: RawRow) -> str:
    value = checked_object(row)
    if FIELD not in value:
        raise DatasetError(f"{row.where}: {FIELD} is missing.")
    return checked_text(value[FIELD], f"{row.where}: {FIELD}")
