"""The datasets of this studio: the shipped ones and those people import, each one file (``kept.file``).

An import is read and checked whole, written beside its place and then given its name in one step: a dataset is there
entirely or not at all.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import re
import threading
from dataclasses import dataclass
from pathlib import Path

from studio.config import Settings
from studio.domain.data import Kind, PreferenceDataset
from studio.errors import ConflictError, DatasetError, NotFoundError
from studio.services.data import preference_rows
from studio.services.data.annotated.rated import count_thumbs, pairs_of
from studio.services.data.dialogues import split_prompts
from studio.services.data.formats import PromptFile, read_prompts
from studio.services.data.hub_rows import hub_limits, hub_rows
from studio.services.data.kept.file import SUFFIXES, as_dataset, guess_language, kept_file, read_dataset, write_dataset
from studio.services.data.kept.rows import first_held
from studio.services.data.preview import ImportPreview, preview
from studio.services.data.prompt_key import normalised
from studio.services.data.row_reader import AS_IT_IS, Parsed, ReadOptions
from studio.services.files.bin import deleted_last, put_into_bin

log = logging.getLogger(__name__)

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,80}")
#: How many whole datasets stay in memory between calls (the form asks for the same one at every slider move).
_KEPT = 4


@dataclass(frozen=True)
class DatasetInfo:
    """One line of the list of datasets; counts are of pairs, prompts (``n_prompts``: those without answers) and rated answers. ``notes``
    say what was left out when it was imported."""

    id: str
    title: str
    kind: Kind
    language: str
    n_pairs: int
    n_heldout: int
    n_test: int
    source: str
    n_prompts: int = 0
    notes: tuple[str, ...] = ()
    n_rated: int = 0


@dataclass(frozen=True)
class ImportReport:
    """An imported dataset, what a person should know about it, one sentence each, and what its file was seen to hold; None where none
    was read."""

    dataset: PreferenceDataset
    warnings: tuple[str, ...]
    seen: ImportPreview | None = None

    @property
    def shape(self) -> str:
        """What the file was read as; empty where none was."""
        return self.seen.shape if self.seen else ""


@dataclass(frozen=True)
class ImportParts:
    """What comes with a file of data.

    Attributes:
        test_prompts: a file of prompts for before/after answers, as the course has them.
        heldout_file: a file of pairs that no training touches.
        title: by default what the file says, or its name.
        heldout_share: share of the distinct prompts to keep out of training, for data without a held-out part of its own. 0 by
            default: the course's 50 pairs are all trained on (prompts without answers: a few are kept aside all the same, see
            ``dialogues.split_prompts``).
        seed: which ones are kept out.
    """

    test_prompts: Path | None = None
    heldout_file: Path | None = None
    title: str | None = None
    heldout_share: float = 0.0
    seed: int = 0


#: The data alone.
NO_PARTS = ImportParts()


class DatasetService:
    """Lists, gives, imports and deletes preference datasets. Safe to call from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._shipped_dir = settings.data_dir
        self._imported_dir = settings.imported_dir
        self._max_bytes, self._max_rows = settings.max_upload_mb * 1_000_000, settings.max_rows
        self._lock = threading.Lock()
        self._infos: dict[Path, tuple[tuple[int, int], DatasetInfo | None]] = {}
        self._whole: dict[Path, tuple[tuple[int, int], PreferenceDataset]] = {}

    def list(self) -> list[DatasetInfo]:
        """Shipped datasets by id, then imported ones, newest first. A file that cannot be read is logged and left out."""
        imported = [(path.stat().st_mtime_ns, path) for path in _files(self._imported_dir)]
        newest = [path for _, path in sorted(imported, key=lambda item: (-item[0], item[1].name))]
        infos = (self._info(path) for path in [*_files(self._shipped_dir), *newest])
        return [info for info in infos if info is not None]

    def get(self, dataset_id: str) -> PreferenceDataset:
        """The dataset of that id.

        Raises:
            NotFoundError: there is none.
            DatasetError: its file is broken.
        """
        return self._load(self._path(dataset_id))

    def import_file(
        self, path: str | Path, parts: ImportParts = NO_PARTS, options: ReadOptions = AS_IT_IS
    ) -> ImportReport:
        """Import a file in any of the formats of ``preference_rows`` (pairs) or ``dialogues`` (prompts without answers).

        Args:
            path: any file that ``formats`` reads.
            parts: what else comes with it.
            options: how to read it.

        Raises:
            NotFoundError: a file is not there.
            UnknownShapeError: its rows are of no known shape; their fields can be mapped by hand.
            DatasetError: a file or row breaks its format, or the result cannot be kept; nothing has been imported then.
        """
        source = Path(path)
        parsed = preference_rows.parse_file(source, self._max_bytes, options, self._max_rows)
        return self._keep_read(parsed, parts, options, source.name, _stem(source))

    def import_hub(
        self,
        dataset_id: str,
        split: str = "train",
        limit: int | None = None,
        parts: ImportParts = NO_PARTS,
        config: str | None = None,
        options: ReadOptions = AS_IT_IS,
    ) -> ImportReport:
        """Import ``owner/name`` from the Hub, streamed, so that ``limit`` rows cost no more than they are.

        Raises:
            NotFoundError: there is no such dataset, split or configuration, or it needs an account.
            UnknownShapeError: as :meth:`import_file`.
            DatasetError: the Hub cannot be reached, a row breaks the format, or the rows exceed the size limit.
        """
        parsed = self._parse_hub(dataset_id, split, limit, config, options)
        return self._keep_read(parsed, parts, options, f"hub:{dataset_id}", dataset_id)

    def named(self, text: str) -> ImportReport:
        """The dataset of that id; or that of a file, imported unless just that is here already.

        Raises:
            NotFoundError: there is neither.
            DatasetError: as :meth:`import_file`.
        """
        path = Path(text)
        try:
            return ImportReport(self.get(text), ())
        except NotFoundError:
            if not path.is_file():
                raise NotFoundError(f"There is no dataset {text!r}, and no file of that name.") from None
        parsed = preference_rows.parse_file(path, self._max_bytes, max_rows=self._max_rows)
        made = as_dataset("", parsed)
        for info in self.list():
            if info.source == path.name and self.get(info.id).content_hash == made.content_hash:
                return ImportReport(self.get(info.id), (), preview(parsed, AS_IT_IS))
        return self._keep_read(parsed, NO_PARTS, AS_IT_IS, path.name, _stem(path))

    def preview_file(self, path: str | Path, options: ReadOptions = AS_IT_IS) -> ImportPreview:
        """What a file would be read as, and its first row; nothing is kept.

        Raises:
            NotFoundError, DatasetError, UnknownShapeError: as :meth:`import_file`; broken rows are told, not refused.
        """
        source = Path(path)
        lenient = dataclasses.replace(options, skip_broken=True)
        return preview(preference_rows.parse_file(source, self._max_bytes, lenient, self._max_rows), options)

    def preview_hub(
        self, dataset_id: str, split: str, limit: int, config: str | None = None, options: ReadOptions = AS_IT_IS
    ) -> ImportPreview:
        """As :meth:`preview_file`, of the first ``limit`` rows of a dataset on the Hub.

        Raises:
            NotFoundError, DatasetError, UnknownShapeError: as :meth:`import_hub`.
        """
        lenient = dataclasses.replace(options, skip_broken=True)
        return preview(self._parse_hub(dataset_id, split, limit, config, lenient), options)

    def _parse_hub(
        self, dataset_id: str, split: str, limit: int | None, config: str | None, options: ReadOptions
    ) -> Parsed:
        limits = hub_limits(self._max_bytes, self._max_rows)
        return preference_rows.parse_rows(
            hub_rows(dataset_id, split, limit, config, limits), dataset_id, options, limits
        )

    def _keep_read(
        self, parsed: Parsed, parts: ImportParts, options: ReadOptions, source: str, title: str
    ) -> ImportReport:
        kept = self._keep(self._with_parts(parsed, parts, options, source, title), parts)
        return dataclasses.replace(kept, seen=preview(parsed, options))

    def _with_parts(self, parsed: Parsed, parts: ImportParts, options: ReadOptions, source: str, title: str) -> Parsed:
        """What was read, with its name and what comes with it."""
        tests = read_prompts(parts.test_prompts, self._max_bytes) if parts.test_prompts else PromptFile((), (), ())
        warnings = (*parsed.warnings, *tests.warnings)
        parsed = dataclasses.replace(
            parsed,
            title=parts.title or parsed.title or title,
            source=source,
            test_prompts=tests.prompts or parsed.test_prompts,
            warnings=warnings,
        )
        if parts.heldout_file is None:
            return parsed
        held = preference_rows.parse_file(parts.heldout_file, self._max_bytes, options, self._max_rows)
        if parts.heldout_share or parsed.heldout:
            raise DatasetError("There are held-out pairs already; give a file of them or a share, not both.")
        pairs = held.pairs or pairs_of(first_held(held.rated)[0])
        preference_rows.check_split(itertools.chain(parsed.pairs, parsed.rated), pairs, parts.heldout_file.name)
        return dataclasses.replace(
            parsed, heldout=pairs, warnings=(*warnings, *held.warnings), notes=(*parsed.notes, *held.notes)
        )

    def keep(self, parsed: Parsed) -> PreferenceDataset:
        """Keep data that was made here, split as it is.

        Raises:
            DatasetError: it cannot be written; nothing has been kept then.
        """
        return self._keep(parsed, NO_PARTS).dataset

    def delete(self, dataset_id: str) -> None:
        """Move an imported dataset into the bin. Runs keep their own copy of what they trained on.

        Raises:
            NotFoundError: there is no such dataset.
            ConflictError: it is a shipped one.
        """
        path = self._path(dataset_id)
        if path.parent == self._shipped_dir:
            raise ConflictError(
                f"{dataset_id} is shipped with the studio and stays; only imported datasets are deleted."
            )
        put_into_bin(path)
        with self._lock:
            self._infos.pop(path, None)
            self._whole.pop(path, None)

    def restore(self, dataset_id: str) -> None:
        """Take a dataset out of the bin; of several of that id the one deleted last.

        Raises:
            NotFoundError: the bin holds no such dataset.
            ConflictError: a dataset of that id is there.
        """
        path = deleted_last(self._imported_dir, [f"{dataset_id}{suffix}" for suffix in SUFFIXES])
        if path is None:
            raise NotFoundError(f"The bin holds no dataset {dataset_id[:80]!r}.")
        if any(kept_file(folder, dataset_id) for folder in (self._shipped_dir, self._imported_dir)):
            raise ConflictError(f"There is a dataset {dataset_id} already; delete that one first.")
        path.rename(self._imported_dir / f"{dataset_id}{path.suffix}")

    def _path(self, dataset_id: str) -> Path:
        if _ID.fullmatch(dataset_id or ""):
            for folder in (self._shipped_dir, self._imported_dir):
                if path := kept_file(folder, dataset_id):
                    return path
        raise NotFoundError(f"There is no dataset {dataset_id!r}.")

    def _info(self, path: Path) -> DatasetInfo | None:
        try:
            stamp = _stamp(path)
            with self._lock:
                known = self._infos.get(path)
            if known and known[0] == stamp:
                return known[1]
            info = _describe(self._load(path))
        except NotFoundError:
            return None  # deleted since the folder was read
        except (DatasetError, FileNotFoundError) as error:
            log.warning("left out of the list of datasets: %s", error)
            info = None
        with self._lock:
            self._infos[path] = (stamp, info)
        return info

    def _load(self, path: Path) -> PreferenceDataset:
        try:
            stamp = _stamp(path)
        except FileNotFoundError:
            raise NotFoundError(f"There is no dataset {path.stem!r}.") from None
        with self._lock:
            known = self._whole.pop(path, None)
            if known and known[0] == stamp:
                self._whole[path] = known  # now the newest
                return known[1]
        dataset = read_dataset(path, shipped=path.parent == self._shipped_dir)
        with self._lock:
            self._whole[path] = (stamp, dataset)
            for oldest in list(itertools.islice(self._whole, max(0, len(self._whole) - _KEPT))):
                del self._whole[oldest]
        return dataset

    def _keep(self, parsed: Parsed, parts: ImportParts) -> ImportReport:
        """Split, check and write; the dataset as it was written."""
        fraction, seed = parts.heldout_share, parts.seed
        warnings = list(parsed.warnings)
        if parsed.prompts and not parsed.test_prompts:
            trained, aside = split_prompts(parsed.prompts, fraction, seed)
            parsed = dataclasses.replace(parsed, prompts=trained, test_prompts=aside)
            warnings.append(f"{len(aside)} of the prompts were kept aside for before/after answers.")
        elif fraction and parsed.prompts:
            warnings.append("There are test prompts already; no more were kept aside.")
        elif fraction and parsed.heldout:
            warnings.append("The file has a held-out part of its own; nothing more was kept aside.")
        elif parsed.rated:
            rated, unseen = preference_rows.keep_aside(parsed.rated, fraction, seed)
            asked, _ = first_held(unseen)
            tests = parsed.test_prompts or tuple(dict.fromkeys(answer.prompt for answer in asked))
            parsed = dataclasses.replace(
                parsed, rated=rated, heldout=parsed.heldout or pairs_of(asked), test_prompts=tests
            )
        else:
            train, heldout = preference_rows.keep_aside(parsed.pairs, fraction, seed)
            parsed = dataclasses.replace(parsed, pairs=train, heldout=parsed.heldout or heldout)
        warnings += _overlap(parsed)
        parsed = dataclasses.replace(
            parsed, title=" ".join(parsed.title.split())[:200], language=parsed.language or guess_language(parsed)
        )
        try:
            path = write_dataset(parsed, self._imported_dir, self._shipped_dir)
        except OSError as error:
            raise DatasetError(
                f"{parsed.title} could not be kept ({error.strerror}); nothing was imported. "
                f"Make room or choose another folder for STUDIO_IMPORTED_DIR ({self._imported_dir})."
            ) from None
        return ImportReport(self._load(path), tuple(warnings))


def counted(dataset: PreferenceDataset) -> str:
    """What a dataset holds, in numbers."""
    tests = f"{len(dataset.test_prompts)} test prompts"
    if dataset.rated:
        return f"{count_thumbs(dataset.rated)}; {len(dataset.heldout)} pairs held out, {tests}"
    if dataset.prompts:
        return f"{len(dataset.prompts)} prompts without answers, {tests}"
    return f"{len(dataset.pairs)} training pairs, {len(dataset.heldout)} held out, {tests}"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES and _ID.fullmatch(path.stem))


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def _stem(path: Path) -> str:
    return path.name.split(".")[0] or "dataset"


def _describe(data: PreferenceDataset) -> DatasetInfo:
    counts = (len(data.pairs), len(data.heldout), len(data.test_prompts))
    named = (data.id, data.title, data.kind, data.language)
    return DatasetInfo(*named, *counts, data.source, len(data.prompts), data.notes, len(data.rated))


def _overlap(parsed: Parsed) -> list[str]:
    tests = {normalised(prompt) for prompt in parsed.test_prompts}
    pairs, rated = ((row.prompt for row in rows) for rows in (parsed.pairs, parsed.rated))
    asked = itertools.chain(pairs, rated, parsed.prompts)
    trained = {key for prompt in asked if (key := normalised(prompt)) in tests} if tests else set()
    same = [prompt for prompt in parsed.test_prompts if normalised(prompt) in trained]
    if not same:
        return []
    return [
        f"{len(same)} of {len(parsed.test_prompts)} test prompts are also training prompts ({same[0][:60]!r}): answers to "
        "them show what was learned by heart."
    ]
