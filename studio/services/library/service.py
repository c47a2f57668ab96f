"""The library of adapters: what is there, and the ways in and out of it."""

from __future__ import annotations

import builtins
import contextlib
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from studio.config import Settings
from studio.errors import ConflictError, InputError, ModelLoadError, NotFoundError
from studio.services.files.bin import Binned, binned, remove_old
from studio.services.files.choosing import FOREIGN_CARD
from studio.services.files.disk import needs_room
from studio.services.files.plain import plain_file
from studio.services.files.unpacking import MIB, adapters_in, copy_folder, unpack_zip
from studio.services.files.zips import pack
from studio.services.hub import HubApi, hub_client, push_folder
from studio.services.library.blend import save_blend
from studio.services.library.bundle import PUBLISHED, staged
from studio.services.library.model_card import model_card, write_card
from studio.services.library.upload import Fill, Imported, import_adapter
from studio.services.runs.bin import restore
from studio.services.runs.events import read_samples
from studio.services.runs.store import RunStore, RunView
from studio.services.runs.view import DamagedRun
from studio.services.strength import at_strength, check_strength

if TYPE_CHECKING:
    from studio.services.models.service import ModelService

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
_WAY_OUT = "delete old runs or merged exports, then try again."


class Holder(Protocol):
    """Whatever may hold a run's adapter in memory: the chat engine, scorers."""

    def release(self, run_id: str) -> None:
        """Let go of a run's adapter."""


class LibraryService:
    """Adapters as things to keep, name, hand on and import. Safe to use from many threads.

    ``holders`` let go of a run that is deleted. ``hub`` makes the Hub's client for a token; tests give their own.
    """

    def __init__(
        self,
        settings: Settings,
        runs: RunStore,
        models: ModelService,
        *holders: Holder,
        hub: Callable[[str], HubApi] = hub_client,
    ) -> None:
        self._settings = settings
        self._runs = runs
        self._models = models
        self._holders = holders
        self._hub = hub
        self._merging = threading.Lock()
        self._lock = threading.Lock()
        self._downloads: tempfile.TemporaryDirectory[str] | None = None

    def list(self) -> list[RunView]:
        """Every run that has an adapter, newest first."""
        return [view for view in self._runs.list() if view.has_adapter]

    def damaged(self) -> tuple[DamagedRun, ...]:
        """Folders among the runs that cannot be read as one, each with the reason."""
        return self._runs.damaged()

    def get(self, run_id: str) -> RunView:
        """One run with its adapter.

        Raises:
            InputError: not a run id.
            NotFoundError: no such run, or it has no adapter (yet).
        """
        view = self._runs.get(run_id)
        if not view.has_adapter:
            raise NotFoundError(f"Run {run_id} has no adapter; it was stopped or failed before one was saved.")
        return view

    def card(self, run_id: str) -> str:
        """The model card as it would be written now (Markdown with a YAML head).

        Raises:
            InputError, NotFoundError: as :meth:`get`.
        """
        view = self.get(run_id)
        return model_card(view, read_samples(view.folder))

    def foreign_card(self, run_id: str) -> str:
        """The card an adapter brought from elsewhere, as text of unknown making; empty where it brought none.

        Raises:
            InputError, NotFoundError: as :meth:`get`.
        """
        path = self.get(run_id).folder / FOREIGN_CARD
        if not path.is_file():
            return ""
        with plain_file(path, f"{run_id}/{FOREIGN_CARD}") as file:
            return file.read(MIB).decode("utf-8", errors="replace")

    def rename(self, run_id: str, title: str) -> None:
        """Give an adapter another title; an empty one restores the first.

        Raises:
            InputError, NotFoundError: as :meth:`get`; InputError also for too long a title.
        """
        self._runs.rename(run_id, title)
        self._write_card(run_id)

    def set_note(self, run_id: str, text: str) -> None:
        """Keep a note with an adapter.

        Raises:
            InputError, NotFoundError: as :meth:`get`; InputError also for too long a note.
        """
        self._runs.set_note(run_id, text)
        self._write_card(run_id)

    def delete(self, run_id: str) -> None:
        """Move a run with its adapter into the bin; remove what was made of it here (merged export, downloads) and free the memory
        it takes.

        Raises:
            InputError, NotFoundError: as :meth:`get`.
            ConflictError: it is running; stop it first.
        """
        self._runs.delete(run_id)
        for holder in self._holders:
            holder.release(run_id)
        shutil.rmtree(self._merged(run_id), ignore_errors=True)
        self._merged_key(run_id).unlink(missing_ok=True)
        if self._downloads is not None:
            shutil.rmtree(Path(self._downloads.name) / run_id, ignore_errors=True)

    def binned(self) -> builtins.list[Binned]:
        """The deleted runs that can be had back, the newest first."""
        return binned(self._settings.adapters_dir)

    def restore(self, run_id: str) -> None:
        """Take a run out of the bin.

        Raises:
            NotFoundError: the bin holds no such run.
            ConflictError: a run of that id is there.
        """
        with self._runs.queue_lock():
            restore(self._settings.adapters_dir, run_id)
        self._runs.notify()

    def empty_bin(self) -> None:
        """Delete what is in the bin for good."""
        remove_old(self._settings.adapters_dir, days=0)

    # -- out ----------------------------------------------------------------------------------------------------------

    def zip(self, run_id: str, *, include_log: bool = False, include_data: bool = False, strength: float = 1.0) -> Path:
        """A zip ``<run-id>.zip`` with adapter, record, curves and card: loads in plain PEFT, and in another studio.

        It lies in a temporary folder of this process until the next one of the same run. ``include_log`` and
        ``include_data`` add the log and the pairs it was trained on. At another ``strength`` than 1 the adapter's weights are those of that
        strength, and the names and the card say so.

        Raises:
            InputError, NotFoundError: as :meth:`get`; InputError also for a strength out of range.
            ConflictError: the disk is full, or the adapter can only be saved at strength 1.
        """
        check_strength(strength)
        view, name = self.get(run_id), run_id + at_strength(strength).replace(" ", "-")
        with (
            needs_room(_WAY_OUT),
            staged(
                view, self._settings, include_log=include_log, include_data=include_data, strength=strength
            ) as folder,
        ):
            return pack(folder, self._download_folder(run_id) / f"{name}.zip", name)

    def merge(
        self, run_id: str, out: Path | None = None, progress: Progress | None = None, strength: float = 1.0
    ) -> Path:
        """Base and adapter, at a strength, as one plain transformers folder: ``out`` (must not exist), or by default
        ``<cache>/merged/<run-id>``, made anew only when adapter, strength or base changed. One at a time.

        Raises:
            InputError, NotFoundError: as :meth:`get`; InputError also for a strength out of range.
            ConflictError: a reward model, trained on a 4-bit base, ``out`` exists, or the disk is full.
            ModelLoadError: the base is not here, is not the one the adapter was made for, or cannot be loaded.
        """
        view = self.get(run_id)
        if view.method == "reward":
            raise ConflictError(
                "This is a reward model: a head that gives a number, not answers, so there is nothing to merge into a chat model "
                "(download the zip instead)."
            )
        if view.recipe.settings and view.recipe.settings.load_in_4bit:
            raise ConflictError(
                "This adapter was trained on a base in 4 bit; merged into full-precision weights it would answer differently, so "
                "it is only handed out as an adapter (download the zip instead)."
            )
        if out is not None and out.exists():
            raise ConflictError(f"{out} exists already; name a folder that does not.")
        base, base_path = self._models.resolve(view.recipe.base.id)
        if view.recipe.base.fingerprint not in ("", base.fingerprint):
            raise ModelLoadError(
                f"The base model {base_path.name} is not the one this adapter was made for (its files changed), so merging would "
                "give a broken model."
            )
        check_strength(strength)
        key = f"{view.adapter_hash} {base.fingerprint}{at_strength(strength)}"
        target = out or self._merged(run_id)
        with self._merging:
            if out is None and target.is_dir() and _text(self._merged_key(run_id)) == key:
                return target
            from studio.ml.models.merge import merge_adapter

            with needs_room(_WAY_OUT), contextlib.ExitStack() as stack:
                adapter = view.folder
                if strength != 1:
                    adapter = stack.enter_context(staged(view, self._settings, strength=strength))
                merge_adapter(
                    base_path,
                    adapter,
                    target,
                    trust_remote_code=self._settings.trust_remote_code,
                    progress=progress,
                )
                if out is None:
                    self._merged_key(run_id).write_text(key, encoding="utf-8")
        return target

    def merged_zip(self, run_id: str, progress: Progress | None = None, strength: float = 1.0) -> Path:
        """:meth:`merge`, then zipped as ``<run-id>-merged.zip`` (the strength in its name where it is not 1); kept as :meth:`zip` keeps
        its own.

        Raises:
            StudioError: as :meth:`merge`.
        """
        folder = self.merge(run_id, progress=progress, strength=strength)
        name = f"{run_id}-merged" + at_strength(strength).replace(" ", "-")
        with needs_room(_WAY_OUT):
            return pack(folder, self._download_folder(run_id) / f"{name}.zip", name)

    def push(self, run_id: str, repo: str, token: str, private: bool = True) -> str:
        """Publish adapter, card and record as a Hub repository; its address. The token is used for this and forgotten.

        Raises:
            InputError: the repository's name or the token is not one; NotFoundError: as :meth:`get`.
            ConflictError: private was asked for, but a public repository of that name exists.
            NotAllowedError: the Hub refuses the token.
            StudioError: the Hub cannot be reached or refuses the upload.
        """
        view = self.get(run_id)
        return push_folder(
            self._hub,
            repo,
            token,
            private,
            lambda full: staged(view, self._settings, adapter_ref=full),
            f"Adapter {view.run_id} from Alignment Studio",
            "the adapter is untouched, download its zip instead.",
            allow_patterns=list(PUBLISHED),
        )

    # -- in -----------------------------------------------------------------------------------------------------------

    def adapters_in(self, path: Path) -> tuple[str, ...]:
        """The folders in a zip or folder that hold an adapter, the newest first: what ``checkpoint`` chooses from. For the
        operator only: it reads the machine's disk.

        Raises:
            InputError: it is neither.
        """
        return adapters_in(_existing(path))

    def import_zip(self, path: Path, base: str = "", checkpoint: str = "") -> Imported:
        """Import an adapter from a zip: made by :meth:`zip`, or with a plain PEFT LoRA adapter anywhere in it.

        ``base`` names the base model where the adapter does not say it in a way this studio knows; ``checkpoint`` the folder of
        the adapter where there are several, else the newest is taken.

        Raises:
            InputError: not sound, not LoRA, or made for another base; nothing was kept.
            ModelLoadError: ``base`` is not on this machine.
            ConflictError: the disk is full.
        """
        _existing(path)
        return self._import(lambda folder, limit: unpack_zip(path, folder, limit, checkpoint), path.stem, base)

    def import_folder(self, path: Path, base: str = "", checkpoint: str = "") -> Imported:
        """Import an adapter from a folder on this machine. For the operator only: it reads the machine's disk.

        Raises:
            InputError, ModelLoadError, ConflictError: as :meth:`import_zip`.
        """
        path = path.expanduser()
        name = path.name or path.resolve().name
        return self._import(lambda folder, limit: copy_folder(path, folder, limit, checkpoint), name, base)

    def save_blend(self, first: str, weight: float, second: str, title: str = "") -> str:
        """The blend of two adapters of one base, ``weight`` of the first and the rest of the second, as an adapter of its own; its run
        id. Its rank is the sum of both ranks; it answers as the blend does in Compare.

        Raises:
            InputError, NotFoundError: as :meth:`get`; InputError also for a weight out of range, the same adapter twice, or two bases.
            ConflictError: a reward model, or the disk is full. ModelLoadError: an adapter is no plain LoRA.
        """
        with needs_room(_WAY_OUT):
            run_id = save_blend(self._settings, self.get(first), weight, self.get(second), title)
            self._write_card(run_id)
        return run_id

    # -- within -------------------------------------------------------------------------------------------------------

    def _import(self, fill: Fill, name: str, base: str) -> Imported:
        with needs_room(_WAY_OUT):
            done = import_adapter(fill, name, self._settings, self._models, base)
        self._write_card(done.run_id)
        return done

    def _write_card(self, run_id: str) -> None:
        view = self._runs.get(run_id)
        if view.has_adapter:
            with needs_room(_WAY_OUT):
                write_card(view.folder, view)

    def _merged(self, run_id: str) -> Path:
        return self._settings.cache_dir / "merged" / run_id

    def _merged_key(self, run_id: str) -> Path:
        return self._settings.cache_dir / "merged" / f"{run_id}.made-of"

    def _download_folder(self, run_id: str) -> Path:
        with self._lock:
            if self._downloads is None:
                self._downloads = tempfile.TemporaryDirectory(prefix="studio-downloads-", ignore_cleanup_errors=True)
        return Path(self._downloads.name) / run_id


def _existing(path: Path) -> Path:
    path = path.expanduser()
    if not path.exists():
        raise InputError(f"There is no file {path.name}.")
    return path


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
