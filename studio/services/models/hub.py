"""Bases from the Hub: what of a repository is used, whether it is here, its size, its download, its errors as sentences."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from studio.errors import InputError, ModelLoadError, NotFoundError
from studio.services.hub import hub_client, is_hub_id
from studio.services.models.children import Cancelled, run_child

log = logging.getLogger(__name__)

#: A fraction 0..1 and what is being done.
Progress = Callable[[float, str], None]
#: What of a repository is used: no pickles, no other frameworks' weights.
HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
_TIMEOUT_S = 10.0
_DOWNLOAD = (
    "import sys; from huggingface_hub import snapshot_download as get; get(sys.argv[1], allow_patterns=sys.argv[2:])"
)


def check_hub_id(model_id: str) -> None:
    """Refuse what cannot be a base's id.

    Raises:
        InputError: it has not the form ``owner/name``.
    """
    if not is_hub_id(model_id):
        raise InputError(
            f"{model_id[:120]!r} is not a base model: give the name of a listed one, a folder's or a GGUF file's full path, or "
            "a Hub id like organisation/name."
        )


def cached_snapshot(model_id: str) -> Path | None:
    """The folder of a Hub model that is completely in the local cache, or None. Needs no network.

    Raises:
        huggingface_hub.errors.HFValidationError: not of the form of a Hub id.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(model_id, local_files_only=True, allow_patterns=list(HUB_FILES)))
    except LocalEntryNotFoundError:
        return None
    index = folder / "model.safetensors.index.json"
    shards = {"*.safetensors"}
    if index.is_file():
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    complete = (folder / "config.json").is_file() and all(any(folder.glob(shard)) for shard in shards)
    return folder if complete else None


def hub_sizes(model_id: str) -> dict[str, int]:
    """Bytes of each file of a Hub model that would be downloaded.

    Raises:
        ModelLoadError: the Hub cannot be reached, has no such model, or the model no safetensors.
    """
    from huggingface_hub.utils import filter_repo_objects

    try:
        siblings = hub_client().model_info(model_id, files_metadata=True, timeout=_TIMEOUT_S).siblings or []
    except Exception as error:
        raise _hub_error(model_id, error) from error
    sizes = {entry.rfilename: entry.size or 0 for entry in siblings}
    used = {name: sizes[name] for name in filter_repo_objects(list(sizes), allow_patterns=list(HUB_FILES))}
    if not any(name.endswith(".safetensors") for name in used):
        raise ModelLoadError(
            f"{model_id} has no safetensors on the hub; other weight formats are not read, for safety."
        )
    return used


def download(model_id: str, say: Progress, cancelled: Cancelled, with_code: bool = False) -> Path:
    """Fetch a model into the Hub's cache, where an interrupted download goes on; the folder.

    Raises:
        ModelLoadError: it cannot be had; the sentence says why.
        ConflictError: cancelled; what has come so far stays in the Hub's cache.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    total = sum(hub_sizes(model_id).values())
    blobs = Path(HF_HUB_CACHE) / f"models--{model_id.replace('/', '--')}" / "blobs"

    def look(printed: str) -> None:
        here = sum(path.stat().st_size for path in blobs.glob("*")) if blobs.is_dir() else 0
        say(min(1.0, here / max(1, total)), f"Downloading {model_id}: {here / 1e6:.0f} of {total / 1e6:.0f} MB")

    patterns = [*HUB_FILES, *(["*.py"] if with_code else [])]
    code, complaints = run_child([sys.executable, "-c", _DOWNLOAD, model_id, *patterns], cancelled, look)
    folder = cached_snapshot(model_id) if code == 0 else None
    if folder is None:
        log.info("the download of %s failed: %s", model_id, complaints[-2000:])
        raise _not_downloaded(model_id, _reason(complaints))
    return folder


def remove_snapshot(model_id: str) -> None:
    """Delete a model from the Hub's cache.

    Raises:
        NotFoundError: it is not there.
    """
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        cache = None
    repos = cache.repos if cache else ()
    revisions = [r.commit_hash for repo in repos if repo.repo_id == model_id for r in repo.revisions]
    if cache is None or not revisions:
        raise NotFoundError(f"{model_id} is not on this machine.")
    cache.delete_revisions(*revisions).execute()


_GATED = "its owner asks you to accept terms on its page first, and to log in (hf auth login)."
_FULL = "the disk is full."


def _reason(complaints: str) -> str:
    if "GatedRepo" in complaints or "gated repo" in complaints:
        return _GATED
    return _FULL if "No space left" in complaints else _unreachable()


def _unreachable() -> str:
    return (
        "the model hub cannot be reached (HF_ENDPOINT names a mirror). The embedded base works without it; so does a model "
        "folder or a GGUF file by its full path."
    )


def _hub_error(model_id: str, error: Exception) -> ModelLoadError:
    """What went wrong with the Hub, in a sentence. Anything the Hub's client can raise ends here."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        why = _GATED
    elif isinstance(error, errors.RepositoryNotFoundError):
        why = "the hub knows no such model, or it is private."
    else:
        log.info("the hub cannot be used: %r", error)
        why = _unreachable()
    return _not_downloaded(model_id, why)


def _not_downloaded(model_id: str, why: str) -> ModelLoadError:
    return ModelLoadError(f"{model_id} is not on this machine and could not be downloaded: {why}")
