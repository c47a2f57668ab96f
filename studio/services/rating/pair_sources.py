"""Where the pairs to be rated come from: answers on screen, a batch made in the background, files and the Hub."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from studio.config import Settings
from studio.domain.chat import Sampling, is_base
from studio.domain.runs import BaseModelRef
from studio.domain.votes import NewPair, Origin, PairSource
from studio.errors import ConflictError, InputError, NotFoundError
from studio.services.compare.panes import PaneChat, check_sampling
from studio.services.compare.service import CompareService
from studio.services.data.datasets import DatasetService
from studio.services.data.formats import RawRow, read_document
from studio.services.data.hub_rows import hub_limits, hub_rows
from studio.services.data.row_reader import AS_IT_IS, ReadOptions
from studio.services.data.shapes.table import field_names
from studio.services.files.decoding.rows import held
from studio.services.lineage.choices import PaneChoice, choice_of
from studio.services.lineage.steps import split_step
from studio.services.models.service import EMBEDDED
from studio.services.rating.pair_batches import BatchForm, BatchRunner, BatchStatus, Question, check_form
from studio.services.rating.pair_files import Comparisons, read_comparisons
from studio.services.rating.rooms import RoomService
from studio.services.rating.service import Added
from studio.services.runs.store import RunStore
from studio.store import pairs as pair_rows


@dataclass(frozen=True)
class ImportedPairs:
    """What became of the ``rows`` of a file: each was added, known already (or came twice), had identical answers, or was
    skipped. ``skipped`` says why, one sentence a row; ``warnings`` tell what was done to rows that were used, and which rows
    had identical answers; ``shape`` is what they were read as."""

    rows: int
    added: int
    known: int
    identical: int
    skipped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    shape: str = ""


@dataclass(frozen=True)
class PairPreview:
    """What a file of comparisons holds: ``comparisons`` as they would be imported, ``fields`` to map by hand."""

    comparisons: Comparisons
    fields: tuple[str, ...]

    def __str__(self) -> str:
        n = len(self.comparisons.pairs)
        return f"Read as {self.comparisons.shape}, {n:,} pair{'' if n == 1 else 's'}."


@dataclass(frozen=True)
class PromptSource:
    """Prompts that a batch can be made of: ``id`` for :meth:`PairSourceService.questions`, ``n`` how many there are."""

    id: str
    title: str
    n: int


class PairSourceService:
    """Brings pairs into the rooms of :class:`RoomService`. Every method may be called from any thread."""

    def __init__(
        self,
        settings: Settings,
        rooms: RoomService,
        compare: CompareService,
        runs: RunStore,
        datasets: DatasetService,
    ) -> None:
        self._runs = runs
        self._max_bytes, self._max_rows = settings.max_upload_mb * 1_000_000, settings.max_rows
        self._rooms = rooms
        self._compare = compare
        self._datasets = datasets
        self._batch = BatchRunner(rooms, compare, settings.cache_dir / "pair-batch.json")

    # -- answers on screen ----------------------------------------------------------------------------------------------

    def from_chats(
        self, chats: Sequence[PaneChat], system_prompt: str, sampling: Sampling, base: str = "", room: str = ""
    ) -> Added:
        """Every two panes that were asked the same make a pair of their newest answers, in the room of the code ``room``. A pane without an
        answer at its end is left out.

        Args:
            chats: conversations without the system prompt, answer last.
            base: the base model where no pane names a run (empty: the embedded one).

        Raises:
            InputError: no two panes have answers to the same question, an adapter answered at another strength than 1 or at a step, or a text
                cannot be stored.
            NotFoundError, ConflictError, ModelLoadError: the room or a run is gone, or does not fit its base any more.
        """
        check_sampling(sampling)
        answered = [
            chat
            for chat in chats
            if len(chat.messages) > 1 and chat.messages[-1].role == "assistant" and chat.messages[-2].role == "user"
        ]
        if len(answered) < 2:
            raise InputError("A pair needs answers in two panes; ask both of them first.")
        dialled = next((chat for chat in answered if not is_base(chat.pane_id) and chat.strength != 1), None)
        if dialled is not None:
            raise InputError(
                f"A pane answers at strength {dialled.strength:g}, and votes are counted for adapters as they were trained; set its "
                "strength to 1 first."
            )
        if stepped := next((chat.pane_id for chat in answered if split_step(chat.pane_id)[1] is not None), ""):
            raise InputError(
                f"A pane answers as {stepped}, and votes are counted for adapters as they were trained; choose the adapter at its end first."
            )
        if any(chat.blend for chat in answered):
            raise InputError(
                "A pane answers with a blend, and votes are counted for adapters as they were trained; take the blend out first."
            )
        couples = [
            (one, two) for one, two in itertools.combinations(answered, 2) if one.messages[:-1] == two.messages[:-1]
        ]
        if not couples:
            raise InputError(
                "These panes said different things before the last question, so their answers cannot be compared; "
                "press Clear and ask it first."
            )
        origins = self._origins([chat.pane_id for chat in answered], sampling, base)
        return self._rooms.rating(room).add_pairs(
            NewPair(
                prompt=one.messages[-2].content,
                answer_a=one.messages[-1].content,
                answer_b=two.messages[-1].content,
                origin_a=origins[one.pane_id],
                origin_b=origins[two.pane_id],
                source="compare",
                history=one.messages[:-2],
                system_prompt=system_prompt,
            )
            for one, two in couples
        )

    # -- a batch --------------------------------------------------------------------------------------------------------

    def prompt_sources(self) -> list[PromptSource]:
        """Test prompts and held-out prompts of every dataset that has some."""
        sources = []
        for info in self._datasets.list():
            # where a dataset names no test prompts of its own, its held-out ones are listed as those
            if info.n_heldout:
                sources.append(PromptSource(f"heldout:{info.id}", f"{info.title}: held-out prompts", info.n_heldout))
            if info.n_test and info.n_test != info.n_heldout:
                sources.append(PromptSource(f"test:{info.id}", f"{info.title}: test prompts", info.n_test))
        return sources

    def questions(self, source_id: str) -> tuple[Question, ...]:
        """The prompts of a source, in order, each once; held-out ones with the turns before them.

        Raises:
            NotFoundError: there is no such source.
        """
        part, _, dataset_id = source_id.partition(":")
        data = self._datasets.get(dataset_id)
        if part == "test":
            return tuple(Question(prompt) for prompt in dict.fromkeys(data.test_prompts))
        if part == "heldout":
            return tuple(dict.fromkeys(Question(pair.prompt, pair.history) for pair in data.heldout))
        raise NotFoundError(f"There are no prompts called {source_id[:80]!r}.")

    def start_batch(self, form: BatchForm) -> None:
        """Make pairs in the background; returns at once.

        Raises:
            InputError: a value of the form is not usable.
            NotFoundError, ConflictError, ModelLoadError: a side cannot answer; ConflictError also while a batch is made, NotFoundError also
                where the room is not there.
        """
        if self._batch.status.busy:
            raise ConflictError("A batch is being made already; wait for it, or cancel it.")
        check_form(form)
        self._rooms.find(form.room)
        origins = self._origins((form.first, form.second), form.sampling, form.base)
        names = [origins[pane].label for pane in (form.first, form.second)]
        title = f"two samples of {names[0]}" if form.first == form.second else " against ".join(names)
        self._batch.start(form, origins, title)

    def batch_status(self) -> BatchStatus:
        """How far the newest batch of this server is."""
        return self._batch.status

    def resume_batch(self) -> None:
        """Go on with a batch that a server left unfinished; returns at once.

        Raises:
            ConflictError: there is none, or a batch is being made.
            NotFoundError, ModelLoadError: a side is gone meanwhile, so it cannot answer.
        """
        form = self._batch.unfinished()
        self._batch.resume(self._origins((form.first, form.second), form.sampling, form.base))

    def cancel_batch(self) -> None:
        """Ask the batch to end; the pairs stored so far stay."""
        self._batch.cancel()

    # -- files and the Hub ----------------------------------------------------------------------------------------------

    def preview_file(self, path: str | Path, options: ReadOptions = AS_IT_IS) -> PairPreview:
        """What a file would be read as, and its first pair; nothing is stored.

        Raises:
            NotFoundError, DatasetError, UnknownShapeError: as :meth:`import_file`.
        """
        source = Path(path)
        return _preview(read_document(source, self._max_bytes, self._max_rows), source.name, options)

    def preview_hub(self, dataset_id: str, split: str, limit: int, options: ReadOptions = AS_IT_IS) -> PairPreview:
        """As :meth:`preview_file`, of the first ``limit`` rows of a dataset on the Hub.

        Raises:
            NotFoundError, DatasetError, UnknownShapeError: as :meth:`import_hub`.
        """
        return _preview(self._hub_rows(dataset_id, split, limit), dataset_id, options)

    def import_file(self, path: str | Path, options: ReadOptions = AS_IT_IS, room: str = "") -> ImportedPairs:
        """Import comparison data into a room; formats as in ``pair_files``. The whole file is read and checked before any of it is
        stored.

        Raises:
            NotFoundError: there is no such file, or no such room.
            UnknownShapeError: its rows are of no known shape; their fields can be mapped by hand.
            DatasetError: it breaks its format, or none of its rows can be used.
        """
        source = Path(path)
        return self._import(read_document(source, self._max_bytes, self._max_rows), source.name, options, room)

    def import_hub(
        self,
        dataset_id: str,
        split: str = "train",
        limit: int | None = None,
        options: ReadOptions = AS_IT_IS,
        room: str = "",
    ) -> ImportedPairs:
        """Take the first ``limit`` rows (None: all) of a dataset on the Hub into a room.

        Raises:
            NotFoundError: there is no such room, dataset or split, or the dataset needs an account.
            UnknownShapeError: as :meth:`import_file`.
            DatasetError: the Hub cannot be reached, or none of the rows can be used.
        """
        return self._import(self._hub_rows(dataset_id, split, limit), dataset_id, options, room)

    def counts(self, room: str = "") -> dict[PairSource, int]:
        """How many pairs of a room came from where."""
        rating = self._rooms.rating(room)
        with rating.store().read() as connection:
            return pair_rows.count_by_source(connection, rating.room)

    def close(self) -> None:
        """End the batch, if one is being made."""
        self._batch.close()

    # -- within ---------------------------------------------------------------------------------------------------------

    def _hub_rows(self, dataset_id: str, split: str, limit: int | None) -> list[RawRow]:
        limits = hub_limits(self._max_bytes, self._max_rows)
        rows = hub_rows(dataset_id, split, limit, None, limits)
        return held(rows, dataset_id, limits)

    def _import(
        self, document: Sequence[RawRow] | dict[str, object], name: str, options: ReadOptions, room: str
    ) -> ImportedPairs:
        comparisons = read_comparisons(document, name, options)
        added = self._rooms.rating(room).add_pairs(comparisons.pairs)
        return ImportedPairs(
            rows=comparisons.rows,
            added=added.added,
            known=added.known,
            identical=comparisons.identical + added.identical,
            skipped=comparisons.skipped,
            warnings=comparisons.warnings,
            shape=comparisons.shape,
        )

    def _origins(self, pane_ids: Sequence[str], sampling: Sampling, base: str) -> dict[str, Origin]:
        """What is known of each pane."""
        drawn = {pane: _of_base(ref, sampling) for pane, ref in self._compare.bases_of(pane_ids, base).items()}
        return {
            pane: origin if is_base(pane) else _of_run(origin, choice_of(self._runs.get(pane)))
            for pane, origin in drawn.items()
        }


def _of_base(ref: BaseModelRef, sampling: Sampling) -> Origin:
    base = Path(ref.id).name
    return Origin(
        "base",
        "Base model" if ref.id == EMBEDDED else f"Base model {base}",
        model=ref.id,
        fingerprint=ref.fingerprint,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_new_tokens=sampling.max_new_tokens,
        seed=sampling.seed,
    )


def _of_run(drawn: Origin, choice: PaneChoice) -> Origin:
    return replace(
        drawn,
        kind="adapter",
        label=str(choice.label),
        run_id=choice.id,
        adapter_hash=choice.adapter_hash,
        ratio=choice.ratio,
    )


def _preview(document: Sequence[RawRow] | dict[str, object], name: str, options: ReadOptions) -> PairPreview:
    fields = () if isinstance(document, dict) else tuple(field_names(document[:100]))
    return PairPreview(read_comparisons(document, name, options), fields)
