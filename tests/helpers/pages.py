"""Parts of the page alone: what its tabs share, without the shell."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from studio.services import Services
from studio.ui.launch import page_options
from studio.ui.page.access import new_visitor
from studio.ui.page.lines import open_queue
from studio.ui.page.quiet import finish_page
from studio.ui.page.shared import Shared
from studio.ui.parts.base_fetch import bind_fetch_line, build_fetch_line

#: Draws a tab and binds its events: one of the ``build_..._tab`` functions, or a part of one.
Builder = Callable[[Services, Shared, gr.Blocks], object]


def make_shared(visitor: gr.State, tabs: gr.Tabs) -> Shared:
    """What one tab alone needs of the shell: every state empty, nothing kept by the browser before."""
    states: dict[str, Any] = {}
    for field in dataclasses.fields(Shared):
        if field.name not in ("visitor", "tabs", "fetch_timer"):
            states[field.name] = gr.BrowserState(None) if "BrowserState" in str(field.type) else gr.State(None)
    states["fetch_timer"] = gr.Timer(1, active=False)
    return Shared(visitor=visitor, tabs=tabs, **states)


def elsewhere(services: Services, shared: Shared, app: gr.Blocks) -> None:
    """A tab to be in while another is not open."""
    gr.Markdown("Something else.")


def section_app(services: Services, tabs: Mapping[str, Builder], finished: bool = True) -> gr.Blocks:
    """A page with these tabs alone, by their labels: the whole page has tests of its own, takes two seconds to build, and a browser
    long to draw on a busy machine. A tab's id is its label in small letters, as in the shell. Not ``finished``, each event still
    stands alone, as its tab bound it."""
    with gr.Blocks(analytics_enabled=False, fill_width=True) as app:
        visitor = gr.State(lambda: new_visitor(services.gate))
        bar = gr.Tabs(elem_id="studio-tabs")
        line = build_fetch_line()
        # outside of the bar, whose every child counts as a tab
        shared = dataclasses.replace(make_shared(visitor, bar), fetch_timer=line.timer)
        with bar:
            for label, build in tabs.items():
                with gr.Tab(label, id=label.lower()):
                    build(services, shared, app)
        bind_fetch_line(services, shared, app, line)
        if finished:
            finish_page(app, shared)
    return app


@contextlib.contextmanager
def served(app: gr.Blocks, services: Services) -> Iterator[str]:
    """The address of a page that is served as the studio serves its own."""
    open_queue(app, services.gate)
    _, url, _ = app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **page_options(services))
    try:
        yield url
    finally:
        app.server.force_exit = True  # else five seconds for the streams of a browser that still shows it
        app.close()


@contextlib.contextmanager
def section_page(services: Services, tabs: Mapping[str, Builder]) -> Iterator[str]:
    """The address of :func:`section_app`, served."""
    with served(section_app(services, tabs), services) as url:
        yield url


def toast(page: Any, text: str) -> None:
    """Wait for a message that says ``text`` and put all away. By script: one that goes by itself while Playwright is about to
    click it is waited for in vain."""
    page.locator(".toast-body", has_text=text).first.wait_for()
    page.evaluate("document.querySelectorAll('.toast-close').forEach((button) => button.click())")


def expand(page: Any, box: str) -> None:
    """Open the accordion ``box``. While a page is being drawn what is on it moves, and a click that is pressed here and released
    there is none."""
    label = page.locator(f"{box} .label-wrap").first
    while not label.evaluate("(label) => label.classList.contains('open')"):
        label.click()
    _settle(page)


def open_tab(page: Any, name: str) -> None:
    """Go to the tab ``name``, of the whole page or of sections within one."""
    page.get_by_role("tab", name=name, exact=True).first.click()
    _settle(page)


def _settle(page: Any) -> None:
    """Wait until what has just been opened keeps what is typed into it: Gradio 6.31 gives the fields of a tab or an accordion
    that is opened for the first time their values once more a frame after they are drawn (``render_previously_invisible_children``)."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def give(page: Any, field: str, path: Path) -> None:
    """Put a file into the upload field ``field`` and wait until the page holds it. The whole name is written out while it is
    sent alone; what stays says it in two parts, and whole to a screen reader only."""
    page.set_input_files(f"{field} input[type=file]", str(path))
    page.locator(f'{field} .filename[aria-label="{path.name}"]').wait_for()


def shown_in(html: str) -> str:
    """What a drawn thing says that it shows (:func:`studio.ui.page.changes.marked`)."""
    found = re.search(r'data-seen="([^"]*)"', html)
    assert found, html
    return found[1]


def scroll_to(page: Any, selector: str) -> Any:
    """Bring something into view, as charts need to be to be drawn; its locator."""
    place = page.locator(selector)
    place.scroll_into_view_if_needed()
    return place
