"""The whole page in a real browser. A test module takes the fixtures with ``pytest_plugins = ("browser",)``:

``services``    services over the test's own folders (``conftest.settings``)
``studio_url``  the running page over them; training does not start by itself. Where the module names ``TABS`` (labels of
                :data:`studio.ui.shell.TABS`) these stand on the page alone: less for the browser to draw
``open_page``   ``open_page(url, **context)`` opens another visitor's page
``page``        one page at ``studio_url``

Where there is no Chromium the tests skip and say so.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from studio.config import Settings
from studio.services import Services, build_services

FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
#: Long, for machines with other work; a page that is right takes a second.
WAIT_MS = 120_000


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser, started once."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (tests/requirements.txt)")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=path, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture(scope="session", autouse=True)
def patient_launch() -> Iterator[None]:
    """``launch()`` asks its own page once and gives up after three seconds, which the first page of a busy machine may
    take; whoever opens the page sees whether it is there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradio.networking.url_ok", lambda url: True)
        yield


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    """Services over the test's own folders."""
    services = build_services(settings)
    yield services
    services.compare.close()
    services.rating.close()


@pytest.fixture
def studio_url(services: Services, request: pytest.FixtureRequest) -> Iterator[str]:
    """The running page's address."""
    from ui_helpers import section_page

    from studio.ui.launch import page_options
    from studio.ui.shell import TABS, build_app

    if labels := getattr(request.module, "TABS", ()):
        with section_page(services, {label: TABS[label] for label in labels}) as url:
            yield url
        return
    app = build_app(services)
    app.queue(default_concurrency_limit=8)
    _, url, _ = app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **page_options(services))
    yield url
    app.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page as a visitor of its own (its own storage). Keywords go to Playwright's ``new_context``."""
    contexts = []

    def open_(url: str, **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture
def page(open_page: Callable[..., Any], studio_url: str) -> Any:
    """One visitor's page."""
    return open_page(studio_url)
