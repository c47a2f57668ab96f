"""Base models: what there is to choose from, what each needs, and where it lies once it is here."""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from studio.config import Settings
from studio.domain.runs import BaseModelRef
from studio.errors import InputError, ModelLoadError, RecipeError
from studio.ml.models.loading import HUB_FILES, cached_snapshot, fingerprint
from studio.ml.models.seq2seq import is_encoder_decoder
from studio.services.hub import hub_client, is_hub_id
from studio.services.runs.store import RunView

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]

EMBEDDED = "embedded"
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class ModelInfo:
    """A base model to choose.

    Attributes:
        id: ``embedded``, a hub id, or a folder.
        params: number of weights; 0 where unknown before downloading.
        download_mb: what is still to be downloaded (10^6 bytes); 0 when it is here.
        memory_mb: about what chatting takes, weights and working space; 0 where unknown.
        needs: one sentence that says both, fit to be shown before loading.
        cached: it can be loaded without a network.
        load_in_4bit: meant to be loaded in 4 bits.
        preset: training preset that suits it (``services/recipes/presets.py``).
        seq2seq: an encoder-decoder (T5 and its kin); unknown, thus false, for a hub id that is not downloaded yet.
    """

    id: str
    title: str
    kind: Literal["embedded", "local", "hub"]
    params: int
    download_mb: int
    memory_mb: int
    needs: str
    cached: bool
    load_in_4bit: bool = False
    preset: str = "hub-small"
    seq2seq: bool = False


class ResolvedModel(NamedTuple):
    """A base as a run remembers it, and the local folder it is loaded from."""

    ref: BaseModelRef
    path: Path


@dataclass(frozen=True)
class _Preset:
    id: str
    title: str
    params: int
    download_mb: int
    load_in_4bit: bool = False
    preset: str = "hub-small"
    seq2seq: bool = False


#: Hub models known to fit, by size. Figures are those of their safetensors files on the hub.
_PRESETS = (
    _Preset("HuggingFaceTB/SmolLM2-135M-Instruct", "SmolLM2 135M Instruct (CPU)", 134_515_008, 272),
    _Preset("HuggingFaceTB/SmolLM2-360M-Instruct", "SmolLM2 360M Instruct (CPU)", 361_821_120, 727),
    _Preset("google/flan-t5-base", "FLAN-T5 base (encoder-decoder, CPU)", 247_577_856, 994, seq2seq=True),
    _Preset("Qwen/Qwen3-0.6B", "Qwen3 0.6B (small GPU, patient CPU)", 751_632_384, 1_520),
    _Preset("Qwen/Qwen2.5-1.5B-Instruct", "Qwen2.5 1.5B Instruct (small GPU)", 1_543_714_304, 3_098),
    _Preset(
        "MediaTek-Research/Breeze-7B-Instruct-v0_1",
        "Breeze 7B Instruct v0.1 (the course's model, 4-bit)",
        7_491_293_184,
        14_986,
        load_in_4bit=True,
        preset="course",
    ),
)


class ModelService:
    """The catalogue of bases. Safe to use from many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._fingerprints: dict[tuple[Any, ...], str] = {}

    def catalogue(self) -> list[ModelInfo]:
        """The embedded base, the folders in ``models_dir``, and the hub presets by size. Needs no network."""
        listed = []
        for model_id in [EMBEDDED, *self._local_ids(), *(preset.id for preset in _PRESETS)]:
            try:
                listed.append(self.info(model_id))
            except ModelLoadError as error:
                log.warning("base %s left out of the catalogue: %s", model_id, error)
        return listed

    def info(self, model_id: str) -> ModelInfo:
        """What a base needs, before anything is loaded or downloaded. Needs no network.

        Raises:
            InputError: neither ``embedded``, nor a model folder, nor of the form of a hub id.
            ModelLoadError: the folder is not a model folder.
        """
        if model_id == EMBEDDED:
            return replace(
                self._folder_info(self._embedded(), EMBEDDED, "Embedded (ships with the studio)"),
                kind="embedded",
                preset=EMBEDDED,
            )
        folder = _as_folder(model_id)
        if folder is not None:
            return self._folder_info(folder, str(folder), folder.name)
        _check_hub_id(model_id)
        known = next((preset for preset in _PRESETS if preset.id == model_id), None)
        snapshot = cached_snapshot(model_id)
        if snapshot is not None:
            found = self._folder_info(snapshot, model_id, known.title if known else model_id)
            found = replace(found, kind="hub")
            return _with_preset(found, known) if known else found
        if known is None:
            return ModelInfo(
                model_id, model_id, "hub", 0, 0, 0, "Not downloaded yet; its size is asked from the hub first.", False
            )
        blank = ModelInfo(model_id, known.title, "hub", known.params, known.download_mb, 0, "", False)
        return _with_preset(blank, known)

    def ask_hub(self, model_id: str) -> ModelInfo:
        """As :meth:`info`, and for a hub model that is not here its size as the hub tells it.

        Raises:
            InputError, ModelLoadError: as :meth:`info`; ModelLoadError also when the hub cannot be reached or knows no
                such model, or the model has no safetensors.
        """
        found = self.info(model_id)
        if found.cached or found.download_mb:
            return found
        sizes = _hub_sizes(model_id)
        weights = sum(size for name, size in sizes.items() if name.endswith(".safetensors"))
        params = weights // 2
        download = sum(sizes.values())
        return _measured(replace(found, params=params, download_mb=_mb(download)))

    def resolve(self, model_id: str, progress: Progress | None = None) -> ResolvedModel:
        """Make sure a base is on this machine, downloading it if it has to be, and say what exactly it is.

        Raises:
            InputError: not a base's id.
            ModelLoadError: not here and not to be had: the message says why and what works without a network.
        """
        if model_id == EMBEDDED:
            folder = self._embedded()
            return ResolvedModel(BaseModelRef(EMBEDDED, fingerprint=self.fingerprint(folder)), folder)
        local = _as_folder(model_id)
        if local is not None:
            return ResolvedModel(BaseModelRef(str(local), fingerprint=self.fingerprint(local)), local)
        _check_hub_id(model_id)
        folder = cached_snapshot(model_id) or self._download(model_id, progress)
        revision = folder.name if re.fullmatch(r"[0-9a-f]{40}", folder.name) else ""
        return ResolvedModel(BaseModelRef(model_id, revision, self.fingerprint(folder)), folder)

    def resolve_causal(self, model_id: str, way_out: str, progress: Progress | None = None) -> ResolvedModel:
        """As :meth:`resolve`, for what an encoder-decoder is not fit for; one known as such is not even downloaded.
        ``way_out`` ends the sentence that refuses it.

        Raises:
            RecipeError: it is an encoder-decoder.
            InputError, ModelLoadError: as :meth:`resolve`.
        """
        found = None if self.info(model_id).seq2seq else self.resolve(model_id, progress)
        if found is None or is_encoder_decoder(found.path):
            raise RecipeError(f"{model_id} is an encoder-decoder model; {way_out}")
        return found

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

    def _embedded(self) -> Path:
        folder = self._settings.data_dir / "embedded"
        if not (folder / "config.json").is_file():
            raise ModelLoadError(
                f"The embedded base is missing: {folder} has no config.json. Restore it from the repository."
            )
        return folder

    def _local_ids(self) -> list[str]:
        root = self._settings.models_dir
        if not root.is_dir():
            return []
        return sorted(str(path.parent.resolve()) for path in root.glob("*/config.json"))

    def _folder_info(self, folder: Path, model_id: str, title: str) -> ModelInfo:
        if not (folder / "config.json").is_file():
            raise ModelLoadError(f"{folder} is not a model folder: it has no config.json.")
        if (folder / "adapter_config.json").exists():
            raise ModelLoadError(f"{folder} is an adapter, not a base model; import it in the Library.")
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise ModelLoadError(f"{folder} has no *.safetensors; other weight formats are not read, for safety.")
        params = sum(_count_weights(path) for path in files)
        seq2seq = is_encoder_decoder(folder)
        return _measured(ModelInfo(model_id, title, "local", params, 0, 0, "", True, seq2seq=seq2seq))

    def _download(self, model_id: str, progress: Progress | None) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.constants import HF_HUB_CACHE

        total = sum(_hub_sizes(model_id).values())
        say = progress or (lambda fraction, text: None)
        patterns = [*HUB_FILES, *(["*.py"] if self._settings.trust_remote_code else [])]
        blobs = Path(HF_HUB_CACHE) / f"models--{model_id.replace('/', '--')}" / "blobs"
        with ThreadPoolExecutor(1) as pool:
            job = pool.submit(snapshot_download, model_id, allow_patterns=patterns)
            while not wait([job], timeout=0.5).done:
                here = sum(path.stat().st_size for path in blobs.glob("*")) if blobs.is_dir() else 0
                say(min(1.0, here / max(1, total)), f"Downloading {model_id}: {_mb(here)} of {_mb(total)} MB")
            try:
                return Path(job.result())
            except Exception as error:
                raise _hub_error(model_id, error) from error


def _with_preset(info: ModelInfo, preset: _Preset) -> ModelInfo:
    seq2seq = info.seq2seq or preset.seq2seq
    return _measured(replace(info, load_in_4bit=preset.load_in_4bit, preset=preset.preset, seq2seq=seq2seq))


def _measured(info: ModelInfo) -> ModelInfo:
    """The same with its memory and the sentence about both: 2 bytes a weight (0.7 in NF4 with its scales and the parts
    left in bfloat16), and a tenth for the working space, on top of the ~400 MB of the program itself."""
    memory = _mb(info.params * (0.7 if info.load_in_4bit else 2) * 1.1) + 400
    size = f"{info.params / 1e9:.1f} billion" if info.params >= 1e9 else f"{info.params / 1e6:.1f} million"
    first = "It is on this machine." if info.cached else f"Download {info.download_mb:,} MB."
    kind = " in 4 bits" if info.load_in_4bit else ""
    needs = f"{size} weights. {first} Memory about {memory:,} MB{kind}."
    if info.params >= 1e8 and not info.load_in_4bit:
        needs += " Double on a processor without bfloat16."
    return replace(info, memory_mb=memory, needs=needs)


def _mb(size: float) -> int:
    return round(size / 1e6)


def _as_folder(model_id: str) -> Path | None:
    """A folder for anything written like one, or None. A bare ``org/name`` stays a hub id even where a folder of that
    name happens to lie below the working directory."""
    path = Path(model_id).expanduser()
    if path.is_absolute() or model_id.startswith((".", "~")):
        if not path.is_dir():
            raise ModelLoadError(f"There is no folder {model_id}.")
        return path.resolve()
    return None


def _check_hub_id(model_id: str) -> None:
    if not is_hub_id(model_id):
        raise InputError(
            f"{model_id[:120]!r} is not a base model: give {EMBEDDED}, a folder's full path, or a hub id like organisation/name."
        )


def _count_weights(path: Path) -> int:
    """Weights in a safetensors file, read from its header alone.

    Raises:
        ModelLoadError: it is not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelLoadError(f"{path} is not a safetensors file.") from error


def _hub_sizes(model_id: str) -> dict[str, int]:
    """Bytes of each file of a hub model that would be downloaded.

    Raises:
        ModelLoadError: the hub cannot be reached, has no such model, or the model no safetensors.
    """
    from huggingface_hub.utils import filter_repo_objects

    try:
        siblings = hub_client().model_info(model_id, files_metadata=True, timeout=_TIMEOUT_S).siblings or []
    except Exception as error:
        raise _hub_error(model_id, error) from error
    sizes = {entry.rfilename: entry.size or 0 for entry in siblings}
    wanted = {name: sizes[name] for name in filter_repo_objects(list(sizes), allow_patterns=list(HUB_FILES))}
    if not any(name.endswith(".safetensors") for name in wanted):
        raise ModelLoadError(
            f"{model_id} has no safetensors on the hub; other weight formats are not read, for safety."
        )
    return wanted


def _hub_error(model_id: str, error: Exception) -> ModelLoadError:
    """What went wrong with the hub, in a sentence. Anything the hub's client can raise ends here."""
    from huggingface_hub import errors

    if isinstance(error, ModelLoadError):
        return error
    if isinstance(error, errors.GatedRepoError):
        why = "its owner asks you to accept terms on its page first, and to log in (hf auth login)."
    elif isinstance(error, errors.RepositoryNotFoundError):
        why = "the hub knows no such model, or it is private."
    elif isinstance(error, OSError) and error.errno == 28:
        why = "the disk is full."
    else:
        log.info("the hub cannot be used: %r", error)
        why = "the model hub cannot be reached. The embedded base works without it; so does a model folder by its full path."
    return ModelLoadError(f"{model_id} is not on this machine and could not be downloaded: {why}")


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
