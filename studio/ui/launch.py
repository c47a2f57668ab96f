"""Bind the port, then warm up: what ``python app.py`` does."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import secrets
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.config import Settings, load_settings
from studio.errors import StudioError
from studio.services.files.folders import add_demos
from studio.services.recipes.queue import check_ray
from studio.ui.start_checks import check_address, check_folders

if TYPE_CHECKING:
    from studio.services import Services

log = logging.getLogger(__name__)

#: Run before Gradio's own scripts: say words in the page's language; draw charts; keep a page listening while it waits for an answer; tell it of
#: changes; say beside a field what is wrong with it; move by
#: the keys; give what is shown an address; explain words of the field; lead through the page.
SCRIPTS = (
    "parts/words.js",
    "parts/charts.js",
    "page/stream.js",
    "page/changes.js",
    "page/fields.js",
    "page/keys.js",
    "page/address.js",
    "page/glossary.js",
    "guide/steps.js",
    "guide/guide.js",
)


def main(argv: list[str] | None = None) -> None:
    """Parse flags and settings, serve the page until interrupted. Exit code 2 and one line for an unusable setting."""
    parser = argparse.ArgumentParser(prog="app.py", description="Alignment Studio")
    parser.add_argument("--host", help="address to bind (STUDIO_HOST; 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port (STUDIO_PORT; the first free one from 7860)")
    parser.add_argument(
        "--ray", metavar="HOST:PORT", help="a Ray cluster that carries the runs out (STUDIO_RAY_ADDRESS)"
    )
    parser.add_argument("--share", action="store_true", default=None, help="open a public Gradio link (STUDIO_SHARE)")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    for chatty in ("httpx", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        settings = load_settings(host=options.host, port=options.port, share=options.share, ray_address=options.ray)
        check_folders(settings)
        check_ray(settings)
        add_demos(settings)
        check_address(settings.host, settings.port)
        settings = with_operator(settings)
    except StudioError as error:
        sys.exit(_usage(str(error)))

    # Before torch is imported: idle OpenMP threads sleep instead of spinning on the cores a training run needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

    from studio.services import build_services
    from studio.services.votes.hub_backup import mirrored
    from studio.ui.page.uploads import temporary_folder

    try:
        with temporary_folder():
            services = build_services(settings)
            with mirrored(settings, services.rating, os.environ) as services.mirror:
                _serve(services)
    except StudioError as error:
        sys.exit(_usage(str(error)))


def _serve(services: Services) -> None:
    from studio.ui.page.lines import open_queue
    from studio.ui.page.uploads import keep_tidy
    from studio.ui.shell import build_app

    settings = services.settings
    app = build_app(services)
    open_queue(app, services.gate)
    if services.lent:
        services.lent.preload()
    _, url, _ = app.launch(
        server_name=settings.host,
        server_port=settings.port or None,
        share=settings.share,
        prevent_thread_lock=True,
        quiet=True,
        max_file_size=f"{settings.max_upload_mb}mb",
        **page_options(services),
    )
    print(f"Alignment Studio is at {url}", flush=True)
    threading.Thread(target=services.warm_up, name="warm-up", daemon=True).start()
    keep_tidy(app)
    try:
        app.block_thread()
    finally:
        services.leave()
        app.close(verbose=False)


def page_options(services: Services) -> dict[str, Any]:
    """What ``launch()`` takes for any server of the page: its looks, its bounds, and the routes of plain pages beside Gradio's."""
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.types import Scope

    from studio.ui.evaluations.report_page import report_routes
    from studio.ui.page.access import secret_of
    from studio.ui.page.changes import changes_routes
    from studio.ui.page.door import Door
    from studio.ui.page.first_page import asset_routes
    from studio.ui.page.lines import STATES
    from studio.ui.page.operator_box import operator_routes
    from studio.ui.page.theme import CSS_FILES, theme
    from studio.ui.page.uploads import UploadBounds
    from studio.ui.rating.present_page import present_routes
    from studio.ui.rating.voting_page import rate_routes
    from studio.ui.stage.page import stage_routes
    from studio.ui.training.run_page import run_page_routes

    def operator(scope: Scope) -> bool:
        return services.gate.knows(secret_of(Request(scope)))

    folder = Path(__file__).parent
    scripts = [(folder / name).read_text(encoding="utf-8") for name in SCRIPTS]
    # uvicorn believes X-Forwarded-For of these; where nothing is said, of whoever connects from this machine
    os.environ["FORWARDED_ALLOW_IPS"] = services.settings.trusted_proxies
    return {
        "theme": theme(),
        "css_paths": [*CSS_FILES, folder / "guide" / "guide.css"],
        "head": "".join(f"<script>{script}</script>" for script in scripts),
        "show_error": True,
        "footer_links": [],
        "ssr_mode": False,
        # Gradio would ask its own page once and give up after three seconds, which the first page of a busy machine may take
        "_frontend": False,
        "state_session_capacity": STATES,
        "app_kwargs": {
            "routes": [
                *operator_routes(services.gate),
                *rate_routes(services),
                *stage_routes(services),
                *present_routes(services),
                *report_routes(services),
                *run_page_routes(services),
                *changes_routes(services),
                *asset_routes(),
            ],
            "middleware": [
                Middleware(Door, settings=services.settings, scripts="".join(scripts)),
                Middleware(UploadBounds, operator=operator),
            ],
        },
    }


def with_operator(settings: Settings) -> Settings:
    """Settings that are safe to serve: whoever can be reached by others has an operator's password.

    A page that only this machine reaches needs none. Beyond that, where ``STUDIO_ADMIN_PASSWORD`` is not set, one is made up
    for this start and printed, so that strangers cannot train or delete on somebody's machine by default.
    """
    if not settings.exposed or settings.admin_password:
        return settings
    password = secrets.token_urlsafe(9)
    print(
        f"Others can reach this page. Operator's password for this start: {password} (STUDIO_ADMIN_PASSWORD sets your own)"
    )
    return dataclasses.replace(settings, admin_password=password)


def _usage(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2
