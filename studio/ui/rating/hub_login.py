"""Who a visitor is on Hugging Face, where they signed in (on a Space whose metadata says ``hf_oauth: true``)."""

from __future__ import annotations

import importlib.util
import math
import os
import time
from dataclasses import dataclass

from starlette.requests import Request


@dataclass(frozen=True)
class Account:
    """A Hugging Face account: ``id`` never changes, ``name`` may."""

    id: str
    name: str


def login_offered() -> bool:
    """Whether people can sign in here. Off a Space Gradio only plays a login, with the machine's own account."""
    return bool(
        os.environ.get("SPACE_ID")
        and os.environ.get("OAUTH_CLIENT_ID")
        and importlib.util.find_spec("authlib") is not None
    )


def account_of(request: Request) -> Account | None:
    """The account of a request's session (a signed cookie of Gradio's), None where there is none or it ran out."""
    info = request.scope.get("session", {}).get("oauth_info")
    if not isinstance(info, dict) or (info.get("expires_at") or math.inf) < time.time():
        return None
    user = info.get("userinfo")
    if not isinstance(user, dict) or not user.get("sub"):
        return None
    return Account(str(user["sub"]), str(user.get("preferred_username") or user.get("name") or "Hugging Face account"))
