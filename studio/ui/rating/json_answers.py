"""JSON that the plain pages of a vote ask for.

What a person can mend comes back as ``{"error": sentence}`` with a status of 4xx; a store that cannot be used is 503, anything
else 500; both are logged.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from studio.errors import ConflictError, InputError, NotAllowedError, NotFoundError, StoreError, StudioError
from studio.i18n import said

log = logging.getLogger(__name__)

#: The largest request; what a browser sends is a few hundred bytes.
MAX_BODY = 64 * 1024
_API_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_STATUS = {NotAllowedError: 403, NotFoundError: 404, ConflictError: 409, InputError: 422}

Action = Callable[[dict[str, Any], Request], dict[str, Any]]


async def answer_json(action: Action, limiter: CapacityLimiter, request: Request) -> Response:
    """What ``action`` makes of the request's JSON object, in a thread of ``limiter``."""
    started = time.monotonic()
    try:
        body = await _body(request)
        status, answer = 200, await to_thread.run_sync(action, body, request, limiter=limiter)
    except _Refused as error:
        status, answer = error.status, {"error": said(str(error))}
    except StoreError as error:
        log.error("%s: %s", request.url.path, error)  # where the store lies is the operator's to know
        status, answer = 503, {"error": said("Voting pauses for a moment; your vote is kept and sent again.")}
    except StudioError as error:
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 400)
        answer = {"error": said(str(error))}
    except ClientDisconnect:
        # whoever asked is gone; nobody reads this
        return Response(status_code=400)
    except Exception:
        log.exception("%s failed after %.2f s", request.url.path, time.monotonic() - started)
        status, answer = 500, {"error": said("That failed; the server's log has the details.")}
    # ASCII only: half a surrogate pair in somebody's text cannot break the answer
    return Response(json.dumps(answer), status, _API_HEADERS, "application/json")


class _Refused(Exception):
    """A request that is not the page's, with the status to answer."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


async def _body(request: Request) -> dict[str, Any]:
    """The request's JSON object.

    Raises:
        _Refused: it comes from another site's page, is too large, or is no JSON object.
    """
    # Another site's page could otherwise vote in the name of a visitor who is signed in here.
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise _Refused(403, "Votes are taken from the studio's own page only.")
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise _Refused(415, "The body must be JSON (Content-Type: application/json).")
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY:
            raise _Refused(413, f"The body is larger than {MAX_BODY // 1024} kB.")
    try:
        body = json.loads(bytes(raw).decode("utf-8"))
    except (ValueError, RecursionError):
        raise _Refused(400, "The body is not JSON in UTF-8.") from None
    if not isinstance(body, dict):
        raise _Refused(400, "The body must be a JSON object.")
    return body
