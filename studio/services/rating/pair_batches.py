"""A batch of pairs made here: prompts answered by two models, or twice by one, in the background of the server.

The engine is asked for a few answers at a time, so that a chat gets its turn in between, and their pairs are stored before
the next are asked for: whatever ends the server, what was answered is kept. A batch that has not reached its end is described in a
file, from which another server goes on with it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from studio.domain.chat import PaneUpdate, Sampling
from studio.domain.data import Message
from studio.domain.votes import NewPair, Origin
from studio.errors import ConflictError, InputError
from studio.services.compare.panes import PaneChat, check_sampling, row_seed
from studio.services.compare.service import TABLE_ROWS, CompareService
from studio.services.files.records import read_record, write_record
from studio.services.jobs import Job, JobEnd, JobQueue, owner_gone, owner_name
from studio.services.rating import pair_id as identity
from studio.services.rating.rooms import RoomService
from studio.services.rating.service import Added

log = logging.getLogger(__name__)

#: Prompts of one batch at most.
MAX_QUESTIONS = 2_000
BatchState = Literal["idle", "running", "cancelling", JobEnd]
_JOB = "batch"


@dataclass(frozen=True)
class Question:
    """A prompt, and the turns before it where there are any."""

    prompt: str
    history: tuple[Message, ...] = ()


@dataclass(frozen=True)
class BatchForm:
    """What to answer and by whom.

    Attributes:
        first, second: :data:`studio.domain.chat.BASE` or run ids; the same twice means two samples of one model.
        sampling: of every answer; the first answer to question *i* has the seed ``compare.row_seed(sampling.seed, i)``, the
            second one more.
        base: the base model where no side is an adapter (empty: the embedded one).
        room: the code of the room whose pairs they become.
    """

    questions: tuple[Question, ...]
    first: str
    second: str
    sampling: Sampling
    system_prompt: str = ""
    base: str = ""
    room: str = ""


@dataclass(frozen=True)
class BatchStatus:
    """How far a batch is. ``done`` of ``total`` questions are answered and stored: ``added`` + ``known`` + ``identical`` +
    ``unusable`` (an empty answer) of them. ``note`` says what it waits for, ``error`` why it failed."""

    state: BatchState = "idle"
    title: str = ""
    done: int = 0
    total: int = 0
    added: int = 0
    known: int = 0
    identical: int = 0
    unusable: int = 0
    note: str = ""
    error: str = ""

    @property
    def resumable(self) -> bool:
        """Whether it can go on: the server ended, or something failed, before it was done."""
        return self.state in ("interrupted", "failed")

    @property
    def busy(self) -> bool:
        """Whether it is still at work."""
        return self.state in ("running", "cancelling")


@dataclass(frozen=True)
class _Unfinished:
    """A batch that was begun, how far it came, and which process works on it: what its file holds."""

    form: BatchForm
    status: BatchStatus
    owner: str


class BatchRunner:
    """One batch at a time, described in ``file`` until it is done or cancelled. Every method may be called from any thread."""

    def __init__(self, rooms: RoomService, compare: CompareService, file: Path) -> None:
        self._rooms = rooms
        self._compare = compare
        self._file = file
        self._lock = threading.Lock()
        self._queue = JobQueue("pair-batch")
        self._unfinished = _read(file)
        self._status = self._unfinished.status if self._unfinished else BatchStatus()

    @property
    def status(self) -> BatchStatus:
        """How far the newest batch is."""
        with self._lock:
            return self._status

    def start(self, form: BatchForm, origins: Mapping[str, Origin], title: str) -> None:
        """Begin, with a form that :func:`check_form` passed; returns at once. ``origins`` holds what is known of each side, but
        for the seed.

        Raises:
            ConflictError: a batch is being made already.
        """
        self._begin(form, origins, BatchStatus("running", title, total=len(form.questions)))

    def unfinished(self) -> BatchForm:
        """The form of the batch that ended before it was done.

        Raises:
            ConflictError: there is none.
        """
        with self._lock:
            if self._unfinished is None or not self._status.resumable:
                raise ConflictError("There is no unfinished batch to go on with; make a new one.")
            return self._unfinished.form

    def resume(self, origins: Mapping[str, Origin]) -> None:
        """Go on with :meth:`unfinished` behind the questions that were answered; returns at once. ``origins`` as in :meth:`start`, as
        its sides are now.

        Raises:
            ConflictError: there is none, or a batch is being made already.
        """
        form = self.unfinished()
        self._begin(form, origins, replace(self.status, state="running", error=""))

    def _begin(self, form: BatchForm, origins: Mapping[str, Origin], status: BatchStatus) -> None:
        with self._lock:
            if self._status.busy:
                raise ConflictError("A batch is being made already; wait for it, or cancel it.")
            self._status, self._unfinished = status, _Unfinished(form, status, owner_name())
            self._keep()
            self._queue.add(Job(_JOB, partial(self._run, form, origins, status.done), self._record_end))

    def cancel(self) -> None:
        """Ask the batch to end; the pairs stored so far stay. Nothing happens where there is none."""
        with self._lock:
            if self._status.state != "running":
                return
            self._status = replace(self._status, state="cancelling", note="")
        self._queue.cancel(_JOB)

    def close(self) -> None:
        """Interrupt it, and wait until it has ended; :meth:`resume` goes on from there."""
        self._queue.close()

    # -- in the batch's thread ------------------------------------------------------------------------------------------

    def _run(self, form: BatchForm, origins: Mapping[str, Origin], done: int, job: Job) -> None:
        step = max(1, TABLE_ROWS // 2)
        for start in range(done, len(form.questions), step):
            part = list(enumerate(form.questions))[start : start + step]
            answers = self._answers(form, part, job.stop)
            if job.stop.is_set():
                return
            self._store(form, part, answers, origins)

    def _record_end(self, job: Job, end: JobEnd, sentence: str) -> None:
        with self._lock:
            self._status = replace(self._status, state=end, note="", error=sentence)
            self._keep()

    def _keep(self) -> None:
        """Describe the batch in its file as it stands; take the file away once it is not to go on. The lock is held."""
        if self._unfinished is None or not (self._status.busy or self._status.resumable):
            self._unfinished = None
            self._file.unlink(missing_ok=True)
            return
        self._unfinished = replace(self._unfinished, status=self._status)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_record(self._file, self._unfinished)
        except OSError:  # a full disk must not end the batch
            log.exception("the batch of pairs could not be described; after a restart it would not go on")

    def _answers(self, form: BatchForm, part: Sequence[tuple[int, Question]], stop: threading.Event) -> list[str]:
        """Two answers a question, in order."""
        chats = [
            PaneChat(pane, _conversation(form, question), seed)
            for place, question in part
            for pane, seed in zip((form.first, form.second), _seeds(form, place), strict=True)
        ]
        updates: list[PaneUpdate] = []
        for updates in self._compare.stream(chats, form.sampling, stop, form.base):
            waits = updates[0].note if not any(update.tokens for update in updates) else ""
            with self._lock:
                if not stop.is_set():
                    self._status = replace(self._status, note=waits)
        return [update.text for update in updates]

    def _store(
        self,
        form: BatchForm,
        part: Sequence[tuple[int, Question]],
        answers: Sequence[str],
        origins: Mapping[str, Origin],
    ) -> None:
        pairs, unusable = [], 0
        for (place, question), one, two in zip(part, answers[::2], answers[1::2], strict=True):
            seeds = _seeds(form, place)
            pair = NewPair(
                prompt=question.prompt,
                answer_a=one,
                answer_b=two,
                origin_a=replace(origins[form.first], seed=seeds[0]),
                origin_b=replace(origins[form.second], seed=seeds[1]),
                source="batch",
                history=question.history,
                system_prompt=_system_prompt(form, question),
            )
            try:
                identity.check_pair(pair)
                pairs.append(pair)
            except InputError:  # an answer that is empty or no text; how many there were is told
                unusable += 1
        added = self._rooms.rating(form.room).add_pairs(pairs) if pairs else Added(0, 0, 0, ())
        with self._lock:
            now = self._status
            self._status = replace(
                now,
                done=now.done + len(part),
                added=now.added + added.added,
                known=now.known + added.known,
                identical=now.identical + added.identical,
                unusable=now.unusable + unusable,
            )
            self._keep()


def _read(file: Path) -> _Unfinished | None:
    """The batch that an earlier server left, as interrupted; None without one, where another server works on it, or where the file
    cannot be read."""
    try:
        batch, written = read_record(_Unfinished, file), file.stat().st_mtime
    except FileNotFoundError:
        return None
    except InputError as error:
        log.warning("the unfinished batch of pairs is left out: %s", error)
        return None
    if batch.status.busy and not owner_gone(batch.owner, written):
        return None
    state: BatchState = "failed" if batch.status.state == "failed" else "interrupted"
    return replace(batch, status=replace(batch.status, state=state, note=""))


def check_form(form: BatchForm) -> None:
    """Raises InputError, naming the value, where a batch cannot be made as asked."""
    check_sampling(form.sampling)
    if not form.questions:
        raise InputError("There is no prompt to answer; choose some or write them, one a line.")
    if len(form.questions) > MAX_QUESTIONS:
        raise InputError(f"These are {len(form.questions):,} prompts; a batch takes {MAX_QUESTIONS:,}.")
    for number, question in enumerate(form.questions, 1):
        identity.check_text(f"prompt {number}", question.prompt)
    identity.check_text("system_prompt", form.system_prompt, empty=True)
    if form.first == form.second and form.sampling.temperature == 0:
        raise InputError(
            "At temperature 0 two samples of one model are the same answer; set a temperature above 0, or another side."
        )


def _conversation(form: BatchForm, question: Question) -> tuple[Message, ...]:
    system = _system_prompt(form, question)
    before = (Message("system", system),) if system else ()
    return (*before, *question.history, Message("user", question.prompt.strip()))


def _system_prompt(form: BatchForm, question: Question) -> str:
    """A system message among the turns before belongs to the data and wins, as in training."""
    return "" if any(turn.role == "system" for turn in question.history) else form.system_prompt.strip()


def _seeds(form: BatchForm, place: int) -> tuple[int, int]:
    """Never shared: with the same noise models that are alike mostly say the same, and that is no pair to rate."""
    seed = row_seed(form.sampling.seed, place)
    return seed, (seed + 1) % 2**63
