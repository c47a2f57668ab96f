"""Pushing to the Hub: names and tokens checked, its errors as sentences. A token is used for one call and told nowhere."""

from __future__ import annotations

import errno
import re

from studio.errors import ConflictError, InputError, NotAllowedError, StudioError


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
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ConflictError("The disk is full; delete old runs or merged exports, then try again.")
    return StudioError(f"The Hub could not be reached from this machine; {otherwise}")


_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}$")


def is_hub_id(base_id: str) -> bool:
    """Whether a base model's id has the form ``owner/name`` of the Hub."""
    return bool(_HUB_ID.match(base_id)) and ".." not in base_id
