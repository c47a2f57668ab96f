"""The Hugging Face Hub: its client, ids and tokens checked, a folder pushed, its errors as sentences. A token is used for one
call and told nowhere."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from studio.errors import ConflictError, InputError, NotAllowedError, StudioError
from studio.services.files.disk import is_full

log = logging.getLogger(__name__)

_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


class HubApi(Protocol):
    """What is used of ``huggingface_hub.HfApi`` to publish and to keep a copy."""

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool, repo_type: str = ...) -> Any: ...

    def repo_info(self, repo_id: str, *, repo_type: str = ...) -> Any: ...

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str, **options: Any) -> Any: ...

    def list_repo_files(self, repo_id: str, *, repo_type: str) -> list[str]: ...

    def snapshot_download(self, repo_id: str, *, repo_type: str, local_dir: str, allow_patterns: list[str]) -> Any: ...


def hub_client(token: str | None = None) -> Any:
    """``huggingface_hub.HfApi``, for a token or with this machine's login."""
    from huggingface_hub import HfApi

    return HfApi(token=token)


def is_hub_id(text: str) -> bool:
    """Whether a text has the form ``owner/name`` of the Hub."""
    return _ID.fullmatch(text) is not None and ".." not in text


def checked_token(token: str) -> str:
    """The token without white space around it.

    Raises:
        InputError: it is empty or cannot be one.
    """
    token = token.strip()
    if not token or not token.isascii() or any(c.isspace() for c in token):
        raise InputError("The token is missing or not one; make a write token at huggingface.co/settings/tokens.")
    return token


def checked_repo(repo: str) -> str:
    """The repository's name without white space around it.

    Raises:
        InputError: the Hub would not take it as one.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    repo = repo.strip()
    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise InputError(f"{repo[:120]!r} is not a repository name; use owner/name (letters, digits, - _ .).") from None
    return repo


def push_folder(
    client: Callable[[str], HubApi],
    repo: str,
    token: str,
    private: bool,
    fill: Callable[[str], AbstractContextManager[str | Path]],
    message: str,
    otherwise: str,
    *,
    repo_type: str = "",
    **upload: Any,
) -> str:
    """Publish a folder as a repository; its address. The token is used for this and forgotten.

    Args:
        client: makes the Hub's client for a token.
        fill: makes the folder, given the repository's whole name.
        message: of the commit; ``otherwise`` ends the sentence of an unreachable Hub.
        upload: further options of ``HfApi.upload_folder``.

    Raises:
        InputError: the repository's name or the token is not one.
        ConflictError: private was asked for, but a public repository of that name exists.
        NotAllowedError: the Hub refuses the token.
        StudioError: the Hub cannot be reached or refuses the upload.
    """
    repo, token = checked_repo(repo), checked_token(token)
    kind: dict[str, Any] = {"repo_type": repo_type} if repo_type else {}
    try:
        api = client(token)
        url = api.create_repo(repo, private=private, exist_ok=True, **kind)
        full = str(getattr(url, "repo_id", repo))
        if private and api.repo_info(full, **kind).private is False:
            raise ConflictError(
                f"{full} exists already and is public. Choose another name, or untick private to publish there."
            )
        with fill(full) as folder:
            api.upload_folder(repo_id=full, folder_path=str(folder), commit_message=message, **kind, **upload)
    except StudioError:
        raise
    except Exception as error:
        # The client can raise anything, and its texts may carry request headers: only the kind is told and logged.
        log.warning("push to %s failed: %s", repo, type(error).__name__)
        raise hub_sentence(error, otherwise) from None
    return str(url)


def hub_sentence(error: Exception, otherwise: str) -> StudioError:
    """What the client raised, told without its text, which may carry request headers. ``otherwise`` ends the sentence of
    an unreachable Hub: what is still there, what to do instead."""
    from huggingface_hub.errors import BadRequestError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    if isinstance(error, OfflineModeIsEnabled):
        return StudioError("This studio runs offline (HF_HUB_OFFLINE is set), so nothing can be pushed to the Hub.")
    status = getattr(getattr(error, "response", None), "status_code", 0) if isinstance(error, HfHubHTTPError) else 0
    if status in (401, 403) or isinstance(error, RepositoryNotFoundError):
        return NotAllowedError(
            "The Hub refused: the token is wrong, or may not write to that name (it needs write access)."
        )
    if isinstance(error, BadRequestError) or 400 <= status < 500:
        return StudioError(f"The Hub did not accept the upload (status {status or 400}); check the repository's name.")
    if status >= 500:
        return StudioError(f"The Hub has trouble of its own (status {status}); try again later.")
    if is_full(error):
        return ConflictError("The disk is full; delete old runs or merged exports, then try again.")
    return StudioError(f"The Hub could not be reached from this machine; {otherwise}")
