"""``/runs/<id>``: a DPO or KTO run as one static page, to be opened or saved. It holds what everybody sees of a run in Align."""

from __future__ import annotations

import logging

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from studio.errors import NotFoundError, StudioError
from studio.i18n import said
from studio.services import Services
from studio.services.pages.run import POLICY, run_page

log = logging.getLogger(__name__)


def run_page_routes(services: Services) -> list[BaseRoute]:
    """The route, for ``launch(app_kwargs={"routes": ...})``."""

    async def page(request: Request) -> Response:
        return await run_in_threadpool(_answer, services, request.path_params["run_id"])

    return [Route("/runs/{run_id}", page)]


def _answer(services: Services, run_id: str) -> Response:
    headers = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
    try:
        text = run_page(services.runs, run_id)
    except StudioError as error:
        return PlainTextResponse(said(str(error)), 404 if isinstance(error, NotFoundError) else 400, headers)
    except Exception:
        log.exception("the page of %s failed", run_id)
        return PlainTextResponse(said("Something went wrong; the server's log has the details."), 500, headers)
    allowed = f"{POLICY}; frame-ancestors 'self'"
    return HTMLResponse(text, headers={**headers, "Content-Security-Policy": allowed})
