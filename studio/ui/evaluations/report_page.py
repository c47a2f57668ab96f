"""``/results`` and ``/results/<id>``: the evaluations and results of votes that are kept, as plain pages anybody with the link can read.

Only what the operator chose to keep is served. Plain routes, without Gradio: a link in a slide opens at once.
"""

from __future__ import annotations

import logging
import re

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from studio.errors import NotFoundError, StudioError
from studio.i18n import said
from studio.services import Services
from studio.services.pages.evaluation import evaluation_page
from studio.services.pages.frame import THEME, policy
from studio.services.pages.votes import votes_page
from studio.services.votes.kept import kept_heads, kept_votes
from studio.services.wording import counted
from studio.ui.parts.html import Macros

log = logging.getLogger(__name__)

_HTML = Macros("evaluations/report_page.html")
_ID = re.compile(r"[0-9a-f]{1,64}")
_HEADERS = {
    "Content-Security-Policy": f"{policy(THEME)}; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def report_routes(services: Services) -> list[BaseRoute]:
    """The routes, for ``launch(app_kwargs={"routes": ...})``."""

    async def one(request: Request) -> Response:
        return await run_in_threadpool(_answer, services, request.path_params["result_id"])

    async def every(request: Request) -> Response:
        return await run_in_threadpool(_answer, services, "")

    return [Route("/results", every), Route("/results/{result_id}", one)]


def _answer(services: Services, result_id: str) -> Response:
    try:
        return HTMLResponse(_page(services, result_id), headers=_HEADERS)
    except NotFoundError:
        return _plain("There is no such result here, or it is not kept.", 404)
    except StudioError as error:
        return _plain(str(error), 503)
    except Exception:
        log.exception("the page of %s failed", result_id)
        return _plain("Something went wrong; the server's log has the details.", 500)


def _page(services: Services, result_id: str) -> str:
    if not result_id:
        kept: list[tuple[str, str, float, str, str]] = [
            (one.id, one.spec.title, one.created, counted(one.done, "pair"), one.state)
            for one in services.evaluations.list()
            if one.kept
        ]
        kept += [
            (one.id, one.title, one.created, counted(one.votes, "vote"), "kept") for one in kept_heads(services.rating)
        ]
        return _HTML.listing(sorted(kept, key=lambda one: -one[2]))
    if result_id.startswith("v"):
        return votes_page(kept_votes(services.rating, result_id), way_back=True)
    if not _ID.fullmatch(result_id):
        raise NotFoundError("no id of an evaluation")
    evaluation = services.evaluations.get(result_id)
    if not evaluation.kept:
        raise NotFoundError("not kept")
    return evaluation_page(services.runs, evaluation, way_back=True)


def _plain(sentence: str, status: int) -> Response:
    return HTMLResponse(_HTML.sentence(said(sentence)), status, headers=_HEADERS)
