"""Put the base and adapters side by side: panes that stream together, and the before/after table over test prompts."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from studio.config import ZEROGPU, Settings
from studio.domain.chat import BASE, BaseCheck, Blend, PaneUpdate, Sampling, base_pane, is_base
from studio.domain.data import Message
from studio.domain.runs import BaseModelRef
from studio.domain.words import Token
from studio.errors import InputError
from studio.ml.chat.answerer import Answerer
from studio.ml.chat.engine import ChatEngine
from studio.ml.chat.lent import LentEngine
from studio.ml.chat.request import BaseSource, GenRow
from studio.ml.chat.served import ServedAnswerer
from studio.ml.chat.server import ChatServer
from studio.ml.lora.snapshots import step_folder
from studio.services.compare.panes import PaneChat, behind, check_sampling, row_seed
from studio.services.compare.table import TableProgress, TableRow
from studio.services.compare.voices import Voices
from studio.services.lineage.choices import PaneChoice, choice_of, unfinished
from studio.services.lineage.steps import split_step
from studio.services.lineage.vector import is_vector, vector_folder
from studio.services.models.service import ModelService, Progress
from studio.services.recipes.queue import cores, mark_chat, training_threads
from studio.services.runs.file_cache import FileCache
from studio.services.runs.store import RunStore
from studio.services.strength import broken_noted, check_blend, check_strength, one_each

#: Answers made together while a table is filled: enough to use the hardware, few enough that a chat gets its turn.
TABLE_ROWS = 16


class CompareService:
    """Chat with the base and any of its adapters at once. Safe to use from many threads; answers queue, first in first
    out. Building it imports no torch."""

    def __init__(self, settings: Settings, runs: RunStore, models: ModelService) -> None:
        self._settings = settings
        self._runs = runs
        self._models = models
        self._files = FileCache()
        code = settings.trust_remote_code
        engine: Answerer = (
            ServedAnswerer(ChatServer(settings.chat_url, settings.chat_key), code)
            if settings.chat_url
            else LentEngine(self.threads, code)
            if settings.device == ZEROGPU
            else ChatEngine(settings.device, self.threads, code)
        )
        self._engine = engine
        #: Who answers in panes.
        self.voices = Voices(settings, runs, models, engine)

    @property
    def served(self) -> bool:
        """Whether a server answers (``STUDIO_CHAT_URL``), and not a model in this process."""
        return bool(self._settings.chat_url)

    def panes(self) -> list[PaneChoice]:
        """The base, then every run that has an adapter that answers, newest first (a reward model gives numbers)."""
        choices = [PaneChoice(BASE, "Base model", None, None, "", "", sampling=self._sampling(""))]
        choices += [choice_of(run) for run in self._runs.list() if run.has_adapter and run.method != "reward"]
        return choices

    def bases(self) -> list[PaneChoice]:
        """The bases on this machine, where there are several: what a pane can show beside the base that the others share."""
        here = [(info, info.title) for info in self._models.catalogue() if info.cached and not self.served]
        return [
            PaneChoice(base_pane(info.id), f"Base · {known_as}", None, None, "", info.id, sampling=info.sampling)
            for info, known_as in here
            if len(here) > 1
        ]

    def unfinished(self) -> list[PaneChoice]:
        """The runs without an adapter of their own yet, of which steps can be asked, then the steering vectors of runs' pairs, which a
        server does not add."""
        choices = unfinished(self._runs.list())
        return [choice for choice in choices if not (self.served and is_vector(choice.id))]

    def opening(self) -> tuple[PaneChoice, ...]:
        """What Compare opens with: the base and the newest adapter of it; where it has none, the newest of another base that is
        here, or the base alone."""
        base, *runs = self.panes()
        default = self._models.default_base()
        here = [run for run in runs if run.base == default] or [run for run in runs if self.voices.here(run.base)]
        return (base, *here[:1])

    def default_panes(self) -> tuple[str, ...]:
        """Ids of :meth:`opening`."""
        return tuple(choice.id for choice in self.opening())

    def warm_up(self) -> None:
        """Import torch and load the base that forms begin with, so that the first answer comes at once. Blocks.

        Raises:
            ModelLoadError: the embedded base is missing. ChatServerError: the server that answers cannot be used.
        """
        self._engine.warm_up(self.voices.source(self._models.default_base(), False)).result()

    def load(self, base: str, progress: Progress | None = None) -> None:
        """Download a base if it has to be and load it; others leave memory for it where they have to.

        Raises:
            InputError, ModelLoadError, ChatServerError: as :meth:`ModelService.resolve`, or it cannot be loaded.
        """
        self._engine.load(self.voices.source(base, self._models.info(base).load_in_4bit, progress), progress)

    def stream(
        self,
        chats: Sequence[PaneChat],
        sampling: Sampling,
        cancel: threading.Event | None = None,
        base: str = "",
    ) -> Iterator[list[PaneUpdate]]:
        """Answer every pane's conversation, those of one base in one batch, base after base; yields all panes together, in the order given.

        Args:
            sampling: a repetition penalty of 1 takes each base's own.
            base: base model where no pane names a run or a base (empty: the one that forms begin with).
            cancel: set it to stop; closing the iterator stops too. What was answered so far is kept.

        Raises:
            InputError: no pane, too many, an empty question, a sampling value or strength out of range, panes of different bases where a
                server answers.
            NotAllowedError: a base would have to be loaded that who asks may not have loaded.
            NotFoundError: no such run.
            ConflictError: a run has no adapter yet.
            ModelLoadError: base or adapter cannot be loaded, or the run was trained on another state of the base.
            ChatServerError: the server that answers cannot be used.
        """
        check_sampling(sampling)
        for chat in chats:
            check_strength(chat.strength)
            check_blend(chat.pane_id, chat.blend)
            if not chat.messages or chat.messages[-1].role != "user" or not chat.messages[-1].content.strip():
                raise InputError("There is no question to answer; write something first.")
        sources, folders = self.voices.prepare([name for chat in chats for name in chat.adapters], base)
        rows = [GenRow(chat.messages, _adapter(chat.pane_id), chat.seed, chat.strength, chat.blend) for chat in chats]
        owners = [sources[chat.pane_id] for chat in chats]
        for updates in self._generate(owners, rows, folders, sampling, cancel):
            yield [broken_noted(u) if row.voice else u for row, u in zip(rows, updates, strict=True)]

    def table(
        self,
        prompts: Sequence[str],
        pane_ids: Sequence[str],
        sampling: Sampling,
        system_prompt: str = "",
        cancel: threading.Event | None = None,
        base: str = "",
        ids: Sequence[str] = (),
        strengths: Sequence[float] = (),
        blends: Sequence[Blend | None] = (),
        own_prompts: Sequence[str] = (),
    ) -> Iterator[TableProgress]:
        """Answer every prompt with every pane, several at a time; yields as rows are filled, the last one finished.

        Each prompt has its own noise, and the panes of one prompt share it: before and after are paired. Chats get
        their turn between two batches. A cancelled table ends with the rows it has, not ``finished``. ``ids`` name the
        prompts, in their order; without them they are numbered from 1. ``strengths`` are the panes', in their order, or one for
        all; ``blends`` likewise, or none; ``own_prompts`` are system prompts of single panes, empty where ``system_prompt`` counts.

        Raises:
            InputError, NotFoundError, ConflictError, ModelLoadError: as :meth:`stream`.
        """
        check_sampling(sampling)
        questions = [prompt.strip() for prompt in prompts]
        if not questions or not all(questions):
            raise InputError("There is no test prompt." if not questions else "One of the test prompts is empty.")
        names = tuple(ids) or tuple(str(number) for number in range(1, len(questions) + 1))
        if len(names) != len(questions):
            raise InputError(f"There are {len(questions)} prompts and {len(names)} ids; each prompt needs one.")
        panes = tuple(pane_ids)
        factors = one_each(strengths, len(panes), of="panes")
        mixed = tuple(blends) or (None,) * len(panes)
        for pane, blend in zip(panes, mixed, strict=True):
            check_blend(pane, blend)
        sources, folders = self.voices.prepare([*panes, *(blend.run_id for blend in mixed if blend)], base)
        stop = cancel or threading.Event()
        systems = [behind(own.strip() or system_prompt) for own in (own_prompts or [""] * len(panes))]
        rows: list[TableRow] = []

        def so_far(note: str = "") -> TableProgress:
            finished = len(rows) == len(questions)
            return TableProgress(panes, len(rows), len(questions), tuple(rows), finished, note, factors, mixed)

        step = max(1, TABLE_ROWS // len(panes))
        yield so_far()
        for start in range(0, len(questions), step):
            part = questions[start : start + step]
            batch = [
                GenRow(
                    (*system, Message("user", prompt)),
                    _adapter(pane),
                    row_seed(sampling.seed, start + index),
                    strength,
                    blend,
                )
                for index, prompt in enumerate(part)
                for system, pane, strength, blend in zip(systems, panes, factors, mixed, strict=True)
            ]
            updates: list[PaneUpdate] = []
            for updates in self._generate(
                [sources[pane] for pane in panes] * len(part), batch, folders, sampling, stop
            ):
                if updates[0].note and not updates[0].tokens:
                    yield so_far(updates[0].note)
            if stop.is_set():
                yield so_far("Stopped.")
                return
            for index, prompt in enumerate(part):
                answers = updates[index * len(panes) : (index + 1) * len(panes)]
                rows.append(TableRow(names[start + index], prompt, tuple(answer.text for answer in answers)))
            yield so_far()

    def samples(
        self, pane_id: str, messages: Sequence[Message], count: int, sampling: Sampling, base: str = ""
    ) -> tuple[str, ...]:
        """``count`` answers of one model to one conversation, each with noise of its own.

        Raises:
            InputError, NotFoundError, ConflictError, ModelLoadError: as :meth:`stream`.
        """
        chats = [PaneChat(pane_id, tuple(messages), row_seed(sampling.seed, index)) for index in range(count)]
        updates = deque(self.stream(chats, sampling, base=base), maxlen=1).pop()
        return tuple(update.text for update in updates)

    def moved(self, chat: PaneChat, answer: str) -> tuple[Token, ...]:
        """The tokens of ``answer`` to an adapter's conversation, under its base and as it answers.

        Raises:
            InputError, NotFoundError, ConflictError, ModelLoadError, ChatServerError: as :meth:`stream`.
        """
        check_blend(chat.pane_id, chat.blend)
        sources, folders = self.voices.prepare(chat.adapters, "")
        row = GenRow(chat.messages, chat.pane_id, strength=chat.strength, blend=chat.blend)
        return self._engine.moved(sources[chat.pane_id], row, folders, answer)

    def test_prompts(self, run_id: str) -> tuple[str, ...]:
        """The test prompts of the data a run was trained on; its held-out prompts where there are none.

        Raises:
            InputError, NotFoundError: no such run, or it carries no data.
        """
        dataset = self._runs.dataset(run_id)
        return dataset.test_prompts or tuple(pair.prompt for pair in dataset.heldout)

    def bases_of(self, pane_ids: Sequence[str], base: str = "") -> dict[str, BaseModelRef]:
        """The base that answers in each of these panes, as a run would remember it.

        Raises:
            InputError, NotFoundError, ConflictError, ModelLoadError: as :meth:`stream`.
        """
        return {pane: source.ref for pane, source in self.voices.prepare(pane_ids, base)[0].items()}

    def base_of(self, pane_ids: Sequence[str], base: str = "") -> BaseModelRef:
        """The one base that answers in all of these panes.

        Raises:
            InputError: they are of several. StudioError: as :meth:`bases_of`.
        """
        refs = list(dict.fromkeys(self.bases_of(pane_ids, base).values()))
        if len(refs) > 1:
            raise InputError(
                f"These models are of different bases ({', '.join(sorted(ref.id for ref in refs))}); choose those of one base."
            )
        return refs[0]

    def adapter_hash(self, pane_id: str) -> str:
        """First 12 hex digits of the sha256 of what answers as RUN, RUN@STEP or RUN@vector; empty where there is nothing (yet).

        Raises:
            InputError, NotFoundError: no such run.
        """
        run_id, step = split_step(pane_id)
        folder = self._runs.folder(run_id)
        if isinstance(step, str):
            folder = vector_folder(self._settings, self._runs.get(run_id))
        return self._files.adapter_hash(step_folder(folder, step) if isinstance(step, int) else folder)

    def base_check(self, base: str = "") -> BaseCheck | None:
        """The newest check that the pane of a base (empty: the one used last) is the base; None before the first answer that had one, and
        of a server."""
        return self._engine.base_check(base)

    def release(self, run_id: str) -> None:
        """Forget a run's adapter (the run is being deleted). Does not wait for answers in progress."""
        self._engine.release(run_id)

    def leave(self) -> None:
        """This program ends: a server that answers forgets the adapters it was given. What is here ends by itself."""
        if self.served:
            self._engine.close()

    def close(self) -> None:
        """Free the model and end the engine's thread."""
        self._engine.close()

    # -- within -------------------------------------------------------------------------------------------------------

    def _generate(
        self,
        sources: Sequence[BaseSource],
        rows: Sequence[GenRow],
        folders: Mapping[str, Path],
        sampling: Sampling,
        cancel: threading.Event | None,
    ) -> Iterator[list[PaneUpdate]]:
        """The answers of ``rows``, each of its one of ``sources``; a training gives half of the cores back while they are computed here."""
        shown = [PaneUpdate(note=f"Answers after {sources[0].ref.id}." if one != sources[0] else "") for one in sources]
        for source in dict.fromkeys(sources):
            places = [place for place, one in enumerate(sources) if one == source]
            own = [rows[place] for place in places]
            for updates in self._engine.generate(source, own, folders, self._as_base(sampling, source), cancel):
                if not self.served:
                    mark_chat(self._settings.adapters_dir)
                for place, update in zip(places, updates, strict=True):
                    shown[place] = update
                yield list(shown)

    def _as_base(self, sampling: Sampling, source: BaseSource) -> Sampling:
        """``sampling`` with the base's own repetition penalty, which no form asks for."""
        penalty = self._sampling(source.ref.id).repetition_penalty
        return replace(sampling, repetition_penalty=penalty) if sampling.repetition_penalty == 1 else sampling

    def _sampling(self, base: str) -> Sampling:
        return self._models.info(base or self._models.default_base()).sampling

    def threads(self) -> int:
        """All cores while nothing trains; beside a training only those it leaves, since threads that fight for a core
        slow both down."""
        if self._settings.chat_threads:
            return self._settings.chat_threads
        mark_chat(self._settings.adapters_dir)
        if not any(run.status.state in ("running", "stopping") for run in self._runs.list()):
            return cores()
        return max(1, cores() - training_threads(self._settings))


def _adapter(pane_id: str) -> str:
    return BASE if is_base(pane_id) else pane_id
