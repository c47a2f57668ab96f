"""What a file would be read as, told before anything is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from studio.domain.data import Message, PreferencePair, RatedAnswer
from studio.services.data.row_reader import Parsed, ReadOptions


@dataclass(frozen=True)
class ImportPreview:
    """What a file holds.

    Attributes:
        shape: what its rows were read as.
        n: pairs in it, rated answers, or prompts without answers; ``history``, ``prompt`` and ``answers`` (by name: none, the preferred
            one and the other, or one with its thumb) are the first of them.
        warnings: what was done to rows that are used.
        broken: why rows cannot be used, one sentence each.
        fields: names of the rows' fields, to map by hand.
    """

    shape: str
    n: int
    history: tuple[Message, ...]
    prompt: str
    answers: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    broken: tuple[str, ...]
    fields: tuple[str, ...]

    def __str__(self) -> str:
        what = ("prompt", "rated answer", "pair")[len(self.answers)]
        return f"Read as {self.shape}, {self.n:,} {what}{'' if self.n == 1 else 's'}."


def preview(parsed: Parsed, options: ReadOptions) -> ImportPreview:
    """What a file holds that was ``parsed``, its broken rows left out, and its first row.

    Args:
        options: how it is to be imported.
    """
    warnings = parsed.warnings
    if not options.skip_broken:  # nothing is left out yet: ``broken`` says what stands in the way
        warnings = tuple(
            warning for warning in warnings if not (parsed.broken and " broken rows left out: " in warning)
        )
    rows: Sequence[PreferencePair | RatedAnswer] = parsed.pairs or parsed.rated
    first = rows[0] if rows else None
    answers: tuple[tuple[str, str], ...] = ()
    if isinstance(first, RatedAnswer):
        answers = (("Thumb up" if first.liked else "Thumb down", first.completion),)
    elif first:
        answers = (("Preferred", first.support), ("Not preferred", first.oppose))
    return ImportPreview(
        parsed.shape,
        len(parsed.pairs) + len(parsed.heldout) + len(parsed.prompts) + len(parsed.rated),
        first.history if first else (),
        first.prompt if first else parsed.prompts[0],
        answers,
        warnings,
        parsed.broken,
        parsed.fields,
    )
