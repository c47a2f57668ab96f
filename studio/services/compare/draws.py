"""Several answers of each pane to one question, and which side each of them takes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from studio.domain.chat import Sampling, is_base
from studio.domain.data import Side
from studio.errors import InputError, NotFoundError
from studio.ml.measure.stance import StanceJudge
from studio.services.compare.panes import PaneChat, row_seed
from studio.services.compare.service import CompareService
from studio.services.compare.table import TableProgress
from studio.services.lineage.steps import run_of
from studio.services.runs.store import RunStore

#: Answers drawn for each pane.
COUNT = 8
#: Judges kept for the next question.
_KEPT = 4


@dataclass(frozen=True)
class Draws:
    """The answers of one pane: ``sides`` are what the judge reads in them, None where it is unsure; empty without a judge."""

    pane_id: str
    answers: tuple[str, ...]
    sides: tuple[Side | None, ...] = ()

    @property
    def support(self) -> int:
        """How many of them take the support side."""
        return self.sides.count("support")


@dataclass(frozen=True)
class DrawProgress:
    """``done`` of ``total`` answers are finished; ``panes`` stays empty until all are."""

    done: int
    total: int
    note: str = ""
    panes: tuple[Draws, ...] = ()
    judged_by: str = ""


class DrawService:
    """Safe to use from many threads."""

    def __init__(self, compare: CompareService, runs: RunStore) -> None:
        self._compare = compare
        self._runs = runs
        self._lock = threading.Lock()
        self._judges: OrderedDict[str, StanceJudge] = OrderedDict()

    def draw(
        self, chats: Sequence[PaneChat], sampling: Sampling, cancel: threading.Event | None = None, base: str = ""
    ) -> Iterator[DrawProgress]:
        """Draw :data:`COUNT` answers to each conversation, all in one batch, each with noise of its own; the same number of different
        panes shares its noise. The judge is that of the data of the first pane whose run has one: character n-grams and logistic
        regression on that data's own answers.

        Raises:
            InputError: the temperature is 0, so that all answers would be the same; or as :meth:`CompareService.stream`.
            NotFoundError, ConflictError, ModelLoadError: as :meth:`CompareService.stream`.
        """
        if not sampling.temperature:
            raise InputError(
                "temperature is 0, so all answers would be the same; raise it under System prompt and sampling."
            )
        drawn = [replace(chat, seed=row_seed(sampling.seed, at)) for chat in chats for at in range(COUNT)]
        texts: list[str] = []
        for updates in self._compare.stream(drawn, sampling, cancel, base):
            texts = [update.text for update in updates]
            yield DrawProgress(sum(update.done for update in updates), len(drawn), updates[0].note)
        judge, title = self._judge([chat.pane_id for chat in chats])
        sides = judge.judge(texts) if judge else []
        panes = tuple(
            Draws(chat.pane_id, tuple(texts[at : at + COUNT]), tuple(sides[at : at + COUNT]))
            for chat, at in zip(chats, range(0, len(texts), COUNT), strict=True)
        )
        yield DrawProgress(len(drawn), len(drawn), "", panes, title)

    def tally(self, table: TableProgress) -> tuple[Draws, ...]:
        """The answers of each pane of a finished table with the side each takes; empty where there is no judge, or where the prompts
        are not those of the judged data."""
        judge, _ = self._judge(table.panes)
        own = {prompt for pane in table.panes if not is_base(pane) for prompt in self._prompts(pane)}
        if judge is None or not table.finished or not own.issuperset(row.prompt for row in table.rows):
            return ()
        columns = [tuple(row.answers[at] for row in table.rows) for at in range(len(table.panes))]
        return tuple(
            Draws(pane, answers, tuple(judge.judge(answers)))
            for pane, answers in zip(table.panes, columns, strict=True)
        )

    def _prompts(self, run_id: str) -> tuple[str, ...]:
        try:
            return self._compare.test_prompts(run_id)
        except (InputError, NotFoundError):
            return ()

    def _judge(self, pane_ids: Sequence[str]) -> tuple[StanceJudge | None, str]:
        """The judge, and the title of the data it was fitted on."""
        for run_id in map(run_of, pane_ids):
            if is_base(run_id):
                continue
            try:
                data = self._runs.dataset(run_id)
            except (InputError, NotFoundError):  # made elsewhere, or what a browser kept of a run that is gone
                continue
            if data.kind != "sides" or len(data.pairs) < 2:
                continue
            with self._lock:
                if data.content_hash not in self._judges:
                    self._judges[data.content_hash] = StanceJudge.fit(data.pairs)
                self._judges.move_to_end(data.content_hash)
                while len(self._judges) > _KEPT:
                    self._judges.popitem(last=False)
                return self._judges[data.content_hash], data.title
        return None, ""
