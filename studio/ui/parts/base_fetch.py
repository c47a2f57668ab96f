"""Fetching a base: the buttons beside a base field, the one line at the foot of the page, and what becomes of the forms once a
base is here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gradio as gr

from studio.errors import StudioError
from studio.services import Services
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.shared import POLLED, PRIVATE, QUIET, Shared
from studio.ui.page.theme import PALETTE
from studio.ui.parts.html import parts

#: Seconds between two looks while a base is being fetched.
_LOOK_S = 1.0


class BaseNeeds(NamedTuple):
    """Below a base field: what the base needs, and fetching it; ``others`` says which may be typed instead."""

    line: gr.HTML
    accept: gr.Checkbox
    fetch: gr.Button
    others: str


def build_needs(elem_id: str, others: str = "") -> BaseNeeds:
    """Draw them; ``elem_id`` is that of the base field. The box and the button are seen only where a base asks for them."""
    return BaseNeeds(
        gr.HTML(elem_id=f"{elem_id}-needs", padding=False),
        gr.Checkbox(False, label="I accept its terms of use", visible=False, elem_id=f"{elem_id}-terms"),
        gr.Button("Fetch", size="sm", visible=False, elem_id=f"{elem_id}-fetch"),
        others,
    )


def bind_fetch(
    services: Services, shared: Shared, app: gr.Blocks, base: gr.Dropdown, needs: BaseNeeds, known: Callable[[str], str]
) -> None:
    """Have the button fetch the base typed in the field, and be seen where the operator can. ``known`` makes an id of what was
    typed."""

    def offer(mark: Visitor, typed: str | None) -> tuple[Any, Any]:
        try:
            info = services.models.info(known(typed or ""))
        except StudioError:  # what is wrong stands below the base
            return gr.Checkbox(visible=False), gr.Button(visible=False)
        missing = mark.operator and not info.cached
        terms = f"I accept the {info.licence} ({info.terms})"
        return gr.Checkbox(False, label=terms, visible=missing and bool(info.terms)), gr.Button(visible=missing)

    def fetch(mark: Visitor, typed: str | None, accepted: bool) -> tuple[Any, Any]:
        require_operator(mark, "fetching a base")
        services.fetches.start(known(typed or ""), accepted)
        return gr.Button(visible=False), gr.Timer(active=True)

    here, shown = [shared.visitor, base], [needs.accept, needs.fetch]
    gr.on([app.load, base.change, shared.base_ready.change], guarded(offer), here, shown, **QUIET)
    needs.fetch.click(
        guarded(fetch), [*here, needs.accept], [needs.fetch, shared.fetch_timer], show_progress="hidden", **PRIVATE
    )


class FetchLine(NamedTuple):
    """At the foot of the page: how the fetch stands."""

    line: gr.HTML
    cancel: gr.Button
    close: gr.Button
    timer: gr.Timer


def build_fetch_line() -> FetchLine:
    """Draw it; nothing is seen while nothing is fetched."""
    with gr.Row(elem_id="fetch-bar"):
        line = gr.HTML(visible=False, padding=False, elem_id="fetch-line")
        cancel = gr.Button("Cancel", size="sm", scale=0, min_width=90, visible=False, elem_id="fetch-cancel")
        close = gr.Button("Close", size="sm", scale=0, min_width=90, visible=False, elem_id="fetch-close")
    return FetchLine(line, cancel, close, gr.Timer(_LOOK_S, active=False))


def bind_fetch_line(services: Services, shared: Shared, app: gr.Blocks, line: FetchLine) -> None:
    """Have the line follow what the server fetches; ``shared.base_ready`` becomes the id of a base that has come."""

    def look(mark: Visitor, ready: str | None) -> tuple[Any, ...]:
        fetch = services.fetches.last()
        fetching = fetch is not None and fetch.state == "fetching"
        html = ""
        if fetch is not None and fetching:
            html = parts.slim_line(fetch.share, PALETTE[0], fetch.text)
        elif fetch is not None and fetch.state in ("failed", "cancelled"):
            html = parts.quiet(fetch.text)
        # a server that has just begun starts to fetch its default base in a moment
        waiting = fetch is None and services.models.default_base() != services.settings.base
        come = fetch.base if fetch is not None and fetch.state == "done" else None
        return (
            gr.HTML(html, visible=bool(html)),
            gr.Button(visible=fetching and mark.operator),
            gr.Button(visible=bool(html) and not fetching),
            gr.Timer(active=fetching or waiting),
            come if come != ready else gr.skip(),
        )

    def cancel(mark: Visitor) -> None:
        require_operator(mark, "cancelling")
        services.fetches.cancel()

    outputs = [line.line, line.cancel, line.close, line.timer, shared.base_ready]
    gr.on([app.load, line.timer.tick], guarded(look), [shared.visitor, shared.base_ready], outputs, **POLLED)
    line.cancel.click(guarded(cancel), shared.visitor, None, **PRIVATE)
    line.close.click(lambda: (gr.HTML(visible=False), gr.Button(visible=False)), None, [line.line, line.close], **QUIET)


def bind_default(
    services: Services,
    shared: Shared,
    base: gr.Dropdown,
    choices: Callable[[], Sequence[Any]],
    suit: Callable[[str], Sequence[Any]] = lambda base: (),
    suited: Sequence[Any] = (),
) -> None:
    """Have a form that began with the embedded base go over to the default base once that is here, with what ``suit`` says for
    the widgets ``suited``. Whoever has changed the base or one of those keeps what they chose."""
    first = services.models.default_base()
    if first == services.settings.base:
        return
    chosen = gr.State(False)
    gr.on([widget.input for widget in (base, *suited)], lambda: True, None, chosen, **POLLED)

    def adopt(changed: bool, current: str | None) -> list[Any]:
        default = services.models.default_base()
        if changed or current != first or default == first:
            return [gr.skip()] * (1 + len(suited))
        return [gr.Dropdown(choices=list(choices()), value=default), *suit(default)]

    shared.base_ready.change(guarded(adopt), [chosen, base], [base, *suited], **QUIET)
