"""What a scorer is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from studio.domain.toxicity import Context, ScorerInfo, TextScore


class Scorer(Protocol):
    """What scores texts. Safe to use from many threads."""

    @property
    def info(self) -> ScorerInfo:
        """Who scores."""

    def score(self, texts: Sequence[str], prompts: Sequence[Context] | None = None) -> list[TextScore]:
        """What it says of each text, in order. Of a text that is empty or only white space nothing can be said: it is not
        covered. ``prompts``, one a text, are what the texts answer; only reward runs read them, and cannot do without.

        Raises:
            StudioError: a score that is no number (ScorerError), no prompts for a reward run, the scorer was released.
        """

    def release(self) -> None:
        """Give its memory back."""
