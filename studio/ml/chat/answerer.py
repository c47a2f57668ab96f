"""Who answers conversations with the base and its adapters: the engine in this process (:mod:`studio.ml.chat.engine`), or a server
(:mod:`studio.ml.chat.served`). Safe to use from many threads; building one costs nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from studio.domain.chat import BaseCheck, BaseRoom, PaneUpdate, Sampling
from studio.domain.words import Token
from studio.ml.chat.request import BaseSource, GenRow
from studio.ml.models.loading import Progress


class Answerer(Protocol):
    """In each method ``adapters`` holds the folder of each adapter that a row names.

    A base or adapter that cannot be loaded is a ModelLoadError; a server that cannot be used, a ChatServerError.
    """

    def warm_up(self, source: BaseSource | None = None) -> Future[None]:
        """Get ready in the background, for a base if one is named."""

    def load(self, source: BaseSource, progress: Progress | None = None) -> None:
        """Get ready for a base.

        Raises:
            ModelLoadError, ChatServerError.
        """

    def generate(
        self,
        source: BaseSource,
        rows: Sequence[GenRow],
        adapters: Mapping[str, Path],
        sampling: Sampling,
        cancel: threading.Event | None = None,
    ) -> Iterator[list[PaneUpdate]]:
        """Answer all rows together; yields what every row shows, in the order of ``rows``, until all are done.

        Args:
            cancel: set it to stop after the current token; closing the iterator does the same.

        Raises:
            InputError: no rows, or a prompt that does not fit the model.
            ModelLoadError, ChatServerError: also where memory ran out.
        """

    def moved(self, source: BaseSource, row: GenRow, adapters: Mapping[str, Path], answer: str) -> tuple[Token, ...]:
        """The tokens of ``answer`` behind the messages of ``row``, under the bare base and as ``row`` answers.

        Raises:
            InputError: the base is an encoder-decoder, or the text does not fit into its context.
            ModelLoadError, ChatServerError: also where there are no log-probabilities to be had.
        """

    def base_check(self, base: str = "") -> BaseCheck | None:
        """The newest check that a base (by id; empty: the one used last) is the base; None before its first answer, and where it cannot be
        checked."""

    def held(self) -> tuple[str, ...]:
        """Ids of the bases that are ready to answer, the last used one last."""

    def room(self, source: BaseSource) -> BaseRoom | None:
        """What loading a base takes; None where it is ready, and where that cannot be told (yet)."""

    def release(self, name: str) -> None:
        """Forget an adapter (its run is deleted); does not wait."""

    def close(self) -> None:
        """Free everything and end."""
