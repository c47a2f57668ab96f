"""``/results`` and ``/results/<id>``: the evaluations that are kept, as plain pages anybody with the link can read.

Only what the operator chose to keep is served. Plain routes, without Gradio: a link in a slide opens at once.
"""

from __future__ import annotations

import logging
import re

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from studio.domain.evaluations import Evaluation
from studio.domain.runs import Recipe
from studio.errors import NotFoundError, StudioError
from studio.i18n import said
from studio.services import Services
from studio.ui.evaluations.report import POLICY, report_html
from studio.ui.parts.html import Macros

log = logging.getLogger(__name__)

_HTML = Macros("evaluations/report_page.html")
_ID = re.compile(r"[0-9a-f]{1,64}")
_HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def report_routes(services: Services) -> list[BaseRoute]:
    """The routes, for ``launch(app_kwargs={"routes": ...})``."""

    async def one(request: Request) -> Response:
        return await run_in_threadpool(_answer, services, request.path_params["evaluation_id"])

    async def every(request: Request) -> Response:
        return await run_in_threadpool(_answer, services, "")

    return [Route("/results", every), Route("/results/{evaluation_id}", one)]


def report_of(services: Services, evaluation: Evaluation, way_back: bool = False) -> str:
    """The report of an evaluation, with the titles and recipes of the runs that are still there."""
    recipes: dict[str, Recipe] = {}
    names: dict[str, str] = {}
    for name in (evaluation.spec.before, *evaluation.spec.adapters):
        try:
            run = services.runs.get(name)
        except StudioError:  # the base, or a run that was deleted since
            continue
        recipes[name], names[name] = run.recipe, run.title
    return report_html(evaluation, names, recipes, way_back)


def _answer(services: Services, evaluation_id: str) -> Response:
    try:
        return HTMLResponse(_page(services, evaluation_id), headers=_HEADERS)
    except NotFoundError:
        return _plain("There is no such result here, or it is not kept.", 404)
    except StudioError as error:
        return _plain(str(error), 503)
    except Exception:
        log.exception("the report of %s failed", evaluation_id)
        return _plain("Something went wrong; the server's log has the details.", 500)


def _page(services: Services, evaluation_id: str) -> str:
    if not evaluation_id:
        return _HTML.listing([one for one in services.evaluations.list() if one.kept])
    if not _ID.fullmatch(evaluation_id):
        raise NotFoundError("no id of an evaluation")
    evaluation = services.evaluations.get(evaluation_id)
    if not evaluation.kept:
        raise NotFoundError("not kept")
    return report_of(services, evaluation, way_back=True)


def _plain(sentence: str, status: int) -> Response:
    return HTMLResponse(_HTML.sentence(said(sentence)), status, headers=_HEADERS)
