"""Thumbs up and down on single answers: who may give one on what, how they are kept, and the rows that KTO trains on.

A thumb is given on an answer that this studio gave: one of a pair in the store, or one that :meth:`ThumbService.gave` was told of. So
nobody can have the studio train on words of their own by a thumb.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Literal

from studio.domain.data import Message, PreferenceDataset, RatedAnswer
from studio.domain.votes import Rater, Thumb
from studio.errors import ConflictError, DatasetError, NotAllowedError, NotFoundError
from studio.services.data.annotated.rated import count_thumbs
from studio.services.data.datasets import DatasetService
from studio.services.data.row_reader import Parsed
from studio.services.rating.service import RatingService
from studio.services.texts import check_text, normalised
from studio.store import pairs as pair_rows
from studio.store import raters as rater_rows
from studio.store import thumbs as thumb_rows

#: Thumbs of one visitor at most, and answers that are remembered as given.
MAX_THUMBS, MAX_GIVEN = 1000, 20_000
#: The source of a dataset made of thumbs.
SOURCE = "thumbs"


class ThumbService:
    """Thumbs in the store of :class:`RatingService`. Every method may be called from any thread."""

    def __init__(self, rating: RatingService) -> None:
        self._rating = rating
        self._lock = threading.Lock()
        self._given: OrderedDict[str, str] = OrderedDict()

    def gave(self, turns: Sequence[Message], answer: str, model: str) -> None:
        """Remember that ``model`` answered these turns so: the answer may have a thumb from now on, until the server ends or
        :data:`MAX_GIVEN` others were given since."""
        with self._lock:
            self._given[_digest(turns, answer)] = model
            while len(self._given) > MAX_GIVEN:
                self._given.popitem(last=False)

    def rate(self, rater: Rater, turns: Sequence[Message], answer: str, liked: bool | None) -> None:
        """A thumb on an answer to ``turns``, whose last one is the question; None takes it back.

        Raises:
            NotFoundError: no such answer was given here.
            ConflictError: this visitor gave :data:`MAX_THUMBS`. NotAllowedError: the rater is not known. InputError: a text cannot be kept.
        """
        with self._lock:
            model = self._given.get(_digest(turns, answer))
        if model is None:
            raise NotFoundError(
                "Only a finished answer that was given since the studio was started can be rated; wait for its end, or ask again."
            )
        system, rest = "", tuple(turns)
        if rest and rest[0].role == "system":
            system, rest = rest[0].content, rest[1:]
        self._keep(rater, system, rest[:-1], rest[-1].content, answer, model, liked)

    def rate_in_pair(self, rater: Rater, pair_id: str, answer: Literal["1", "2"], liked: bool | None) -> None:
        """A thumb on answer 1 or 2 of a pair; None takes it back.

        Raises:
            NotFoundError: there is no such pair. ConflictError, NotAllowedError: as :meth:`rate`.
        """
        with self._rating.store().read() as connection:
            pair = pair_rows.find_pair(connection, pair_id)
        if pair is None:
            raise NotFoundError("There is no such pair here any more; reload the page.")
        text, origin = (pair.answer_1, pair.origin_1) if answer == "1" else (pair.answer_2, pair.origin_2)
        self._keep(rater, pair.system_prompt, pair.history, pair.prompt, text, origin.label, liked)

    def all(self) -> tuple[Thumb, ...]:
        """Every thumb, oldest first."""
        with self._rating.store().read() as connection:
            return thumb_rows.all_thumbs(connection)

    def keep_as_dataset(self, datasets: DatasetService, title: str = "") -> PreferenceDataset:
        """The rated answers as data that Align trains on with KTO.

        Raises:
            DatasetError: there are none, or they cannot be written.
        """
        rated, split = rated_answers(self.all())
        if not rated:
            raise DatasetError("There are no thumbs yet; press one below an answer in Compare.")
        notes = (f"{split} answers have as many thumbs up as down and were left out.",) if split else ()
        name = title or f"Thumbs, {time.strftime('%Y-%m-%d')}, {count_thumbs(rated)}"
        return datasets.keep(Parsed("rated", (), rated=rated, title=name, source=SOURCE, notes=notes))

    def _keep(
        self,
        rater: Rater,
        system: str,
        history: tuple[Message, ...],
        prompt: str,
        answer: str,
        model: str,
        liked: bool | None,
    ) -> None:
        check_text("prompt", prompt)
        check_text("answer", answer)
        named = [normalised(system), [[m.role, normalised(m.content)] for m in history], normalised(prompt)]
        name = hashlib.sha256(json.dumps([*named, normalised(answer)]).encode()).hexdigest()[:24]
        with self._rating.store().write() as connection:
            if rater_rows.find_rater(connection, rater.id, lock=True) is None:
                raise NotAllowedError("This rater is not known here; register again.")
            if liked is None:
                thumb_rows.take_back(connection, rater.id, name)
                return
            full = thumb_rows.given_by(connection, rater.id) >= MAX_THUMBS
            if full and not thumb_rows.is_known(connection, rater.id, name):
                raise ConflictError(f"You rated {MAX_THUMBS:,} answers, which is the most one visitor can; thank you.")
            now = time.time()
            thumb_rows.keep_thumb(connection, Thumb(rater.id, name, prompt, answer, liked, model, now, history, system))


def rated_answers(thumbs: Sequence[Thumb]) -> tuple[tuple[RatedAnswer, ...], int]:
    """Each answer once with the thumb that most gave it, in the order of the first thumbs; and how many had as many up as down."""
    ups: Counter[str] = Counter()
    for thumb in thumbs:
        ups[thumb.answer_id] += 1 if thumb.liked else -1
    once = {thumb.answer_id: thumb for thumb in reversed(thumbs)}
    ordered = [once[name] for name in dict.fromkeys(thumb.answer_id for thumb in thumbs)]
    rated = tuple(
        RatedAnswer(
            thumb.answer_id, thumb.prompt.strip(), thumb.completion.strip(), ups[thumb.answer_id] > 0, _turns(thumb)
        )
        for thumb in ordered
        if ups[thumb.answer_id]
    )
    return rated, len(ordered) - len(rated)


def _turns(thumb: Thumb) -> tuple[Message, ...]:
    system = (Message("system", thumb.system_prompt),) if thumb.system_prompt.strip() else ()
    return (*system, *thumb.history)


def _digest(turns: Sequence[Message], answer: str) -> str:
    said = json.dumps([[[turn.role, turn.content] for turn in turns], answer])
    return hashlib.sha256(said.encode(errors="replace")).hexdigest()
