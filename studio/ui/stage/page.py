"""``/stage``, one screen for a room: a question, the answers of the base and of an adapter, the dial between them and what was measured
along it. A plain page; it asks through the endpoints ``/stream`` and ``/explain``, whose bounds are every visitor's.

``GET stage``        the page: one HTML answer with its style and script inside
``GET stage/state``  ``dial`` (an id of :attr:`studio.services.stage.Dial.id`, a run id, or nothing: the newest adapter), ``rate`` (where
                     this browser finds the voting page), ``room`` (whose code to show) -> what the page shows: see :func:`state_of`.
                     What a person can mend comes back as ``{"error": sentence}`` with a status of 4xx.
"""

from __future__ import annotations

import functools
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from studio.domain.events import SupportShare
from studio.domain.runs import FINAL_STATES, DpoRecipe, KtoRecipe, PairRecipe
from studio.errors import NotFoundError, StoreError, StudioError
from studio.i18n import _, said
from studio.services import Services
from studio.services.rating.rooms import FIRST, room_title
from studio.services.runs.store import RunView
from studio.services.stage import Dial, dials, find_dial, measured_along, ratio_of
from studio.services.strength import HIGHEST, LOWEST
from studio.ui.parts.plain_page import plain_page
from studio.ui.rating.qr import best_address, checked_address, of_room, only_here, qr_path
from studio.ui.training.run_view import frame, how_far
from studio.ui.training.watch import find, moving, to_watch

log = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("stage.html")
#: Prepared questions, one a key; the longest answer in tokens, which still fits on the screen.
QUESTIONS, ANSWER_TOKENS = 4, 64
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def stage_routes(services: Services) -> list[BaseRoute]:
    """The routes, for ``launch(app_kwargs={"routes": ...})``."""

    async def page(request: Request) -> Response:
        return plain_page(PAGE)

    async def state(request: Request) -> Response:
        link = getattr(getattr(request.app, "blocks", None), "share_url", None)
        asked = request.query_params
        work = functools.partial(
            state_of, services, asked.get("dial", ""), asked.get("rate", ""), link, asked.get("room", "")
        )
        status = 200
        try:
            answer = await run_in_threadpool(work)
        except StudioError as error:
            status, answer = 404 if isinstance(error, NotFoundError) else 400, {"error": said(str(error))}
        except Exception:
            log.exception("the stage's state failed")
            status, answer = 500, {"error": said("That failed; the server's log has the details.")}
        return Response(json.dumps(answer), status, _HEADERS, "application/json")

    return [
        Route("/stage", page),
        # relative addresses in the page count from its folder
        Route("/stage/", lambda request: RedirectResponse("../stage", 308)),
        Route("/stage/state", state),
    ]


def state_of(
    services: Services, name: str, rate: str = "", share_url: str | None = None, room: str = ""
) -> dict[str, Any]:
    """The dials there are and the chosen one with what was measured along it, the prepared questions, the run at work with its
    film-strip, the rooms people may vote in, and the code of the voting page of ``room`` (None while voting is closed there, or where
    ``rate`` is empty; the first room's where there is no such room any more).

    Raises:
        NotFoundError, ConflictError: as :func:`find_dial`; a run that waits or works has no adapter yet, and the newest one stands in.
        InputError: ``rate`` is no web address.
    """
    runs = services.runs.list()
    training = find(services.runs, to_watch([run for run in runs if moving(run)]))
    dial = _chosen(services, runs, name)
    offered = dials(runs)
    if dial is not None and dial.id not in {one.id for one in offered}:
        offered.insert(0, dial)
    shown = training if training is not None and services.runs.samples(training.run_id) else dial and dial.run
    return {
        "dials": [{"id": one.id, "label": _label(one)} for one in offered],
        "dial": _dial(dial, measured_along(dial, services.sweeps.list())) if dial else None,
        "questions": _questions(services, shown) if shown else [],
        "training": _training(services, training) if training else None,
        **_voting(services, rate, share_url, room),
    }


def _chosen(services: Services, runs: Sequence[RunView], name: str) -> Dial | None:
    waits = any(run.run_id == name and not run.has_adapter and run.status.state not in FINAL_STATES for run in runs)
    if name and not waits:
        return find_dial(runs, name)
    newest = services.compare.opening()[-1].run_id
    return find_dial(runs, newest) if newest else None


def _dial(dial: Dial, measured: dict[float, SupportShare]) -> dict[str, Any]:
    recipe, blend = dial.run.recipe, dial.second is not None
    return {
        "id": dial.id,
        "title": dial.run.title,
        "run": dial.run.run_id,
        "second": dial.second.run_id if dial.second else "",
        "low": 0 if blend else LOWEST,
        "high": 1 if blend else HIGHEST,
        "start": dial.start,
        "poles": [_pole(dial.second), _pole(dial.run)] if dial.second else [],
        "measure": _("Measured support") if _sides(dial.run) else _("Share like the preferred answers"),
        "measured": [{"at": at, **_share(share)} for at, share in measured.items()],
        "base": _share(base) if (base := dial.run.base_share) and base.n and not dial.run.recipe.start_run else None,
        "base_model": recipe.base.id,
        "system_prompt": recipe.system_prompt,
        "sampling": {
            **asdict(recipe.sampling),
            "max_new_tokens": min(ANSWER_TOKENS, recipe.sampling.max_new_tokens),
        },
    }


def _share(share: SupportShare) -> dict[str, Any]:
    return {"share": share.share, "low": share.low, "high": share.high, "n": share.n}


def _sides(run: RunView) -> bool:
    recipe = run.recipe
    return recipe.dataset_kind == "sides" if isinstance(recipe, PairRecipe) else not isinstance(recipe, KtoRecipe)


def _pole(run: RunView) -> str:
    return f"{_('support') if _sides(run) else _('ratio')} {ratio_of(run):g}"


def _label(dial: Dial) -> str:
    if dial.second is None:
        return _("Strength: {title}", title=dial.run.title)
    return _("Blend: {one} – {other}", one=dial.second.title, other=dial.run.title)


def _questions(services: Services, run: RunView) -> list[str]:
    """The first test prompts of a run's data; those of its film-strip where it carries none."""
    try:
        prompts: Sequence[str] = services.compare.test_prompts(run.run_id)
    except NotFoundError:
        prompts = list(dict.fromkeys(sample.prompt for sample in services.runs.samples(run.run_id)))
    return list(prompts[:QUESTIONS])


def _training(services: Services, run: RunView) -> dict[str, Any]:
    share, figures = how_far(run)
    if run.probe is not None and math.isfinite(run.probe.share) and isinstance(run.recipe, DpoRecipe):
        share_of = f"{run.probe.share:.0%}"
        likelier = (
            _("the supporting answer is likelier in {share} of {n} held-out pairs", share=share_of, n=run.probe.n)
            if _sides(run)
            else _("the preferred answer is likelier in {share} of {n} held-out pairs", share=share_of, n=run.probe.n)
        )
        figures.append(likelier)
    samples = services.runs.samples(run.run_id)
    step, film = 0, []
    if samples:
        _first, step, answers = frame(samples, max(sample.step for sample in samples))
        film = [
            {"prompt": now.prompt, "base": before.answer if before else "", "answer": now.answer}
            for before, now in answers
        ]
    return {
        "run": run.run_id,
        "title": run.title,
        "state": _(run.status.state),
        "share": share,
        "figures": " · ".join(figures),
        "step": step,
        "film": film,
    }


def _voting(services: Services, rate: str, share_url: str | None, code: str) -> dict[str, Any]:
    nothing: dict[str, Any] = {"rooms": [], "room": FIRST.code, "code": None}
    if not rate:
        return nothing
    address = best_address(checked_address(rate), share_url, services.settings.host)
    try:
        rooms = services.rooms.list()
        room = next((one for one in rooms if one.code == code), FIRST)
        is_open = services.rooms.rating(room.code).rules().open
    except (StoreError, NotFoundError) as error:  # the room may be deleted at this moment
        log.warning("no code of the voting page: %s", error)
        return nothing
    address = of_room(address, room.code)
    size, dots = qr_path(address)
    return {
        "rooms": [{"code": one.code, "title": said(room_title(one))} for one in rooms],
        "room": room.code,
        "code": {"address": address, "size": size, "dots": dots, "only_here": only_here(address)} if is_open else None,
    }
