"""Who may do what: visitors chat and look; training, deleting, importing and publishing are the operator's.

Without ``STUDIO_ADMIN_PASSWORD`` the studio runs on somebody's own machine and every visitor is the operator. With it,
a page becomes the operator's by entering the password; the mark lives in that page's ``gr.State`` on the server and is
checked in the handler, because hiding a button locks nothing.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from studio.config import Settings
from studio.errors import NotAllowedError


@dataclass
class Visitor:
    """What the server remembers of one open page."""

    operator: bool = False


def new_visitor(settings: Settings) -> Visitor:
    """The visitor of a freshly opened page."""
    return Visitor(operator=not settings.admin_password)


def unlock(settings: Settings, password: str) -> Visitor:
    """The operator's visitor mark for the right password.

    Raises:
        NotAllowedError: the password is wrong.
    """
    if not hmac.compare_digest(password.encode(), settings.admin_password.encode()):
        raise NotAllowedError("That is not the operator's password (STUDIO_ADMIN_PASSWORD); try again.")
    return Visitor(operator=True)


def require_operator(visitor: Visitor, action: str) -> None:
    """Refuse ``action`` (a gerund: "training") to visitors.

    Raises:
        NotAllowedError: the page is not the operator's.
    """
    if not visitor.operator:
        raise NotAllowedError(f"Visitors may chat and look; {action} needs the operator's password (top right).")
