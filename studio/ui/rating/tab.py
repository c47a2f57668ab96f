"""The Rate tab: the voting page itself, the way to it for phones, the live tally, and what the operator decides."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr
from markupsafe import Markup

from studio.services import Services
from studio.ui.page.access import Visitor
from studio.ui.page.changes import VOTES, when_changed
from studio.ui.page.guard import guarded
from studio.ui.page.quiet import when_opened
from studio.ui.page.shared import IDLE_S, POLLED, PRIVATE, QUIET, Shared
from studio.ui.parts.html import Macros
from studio.ui.rating.add_pairs import build_pairs_box
from studio.ui.rating.hub_login import login_offered
from studio.ui.rating.pairs import PairsList
from studio.ui.rating.qr import best_address, checked_address, of_room, only_here, qr_path
from studio.ui.rating.rooms import RoomMenu, add_api
from studio.ui.rating.rules import RulesBox
from studio.ui.rating.tally import Tally, tally_html
from studio.ui.rating.thumbs_box import build_thumbs_box
from studio.ui.votes.export_box import build_export_box
from studio.ui.votes.panel import build_results_panel

_HTML = Macros("rating/tab.html")
#: Seconds between two looks at the tally while it says how many votes came in during the last minute.
RECENT_S = 4.0
#: The page's own theme, where its address asks for one, goes for the frame as well.
_THEME = """() => {
    const theme = new URLSearchParams(window.location.search).get("__theme");
    const frame = document.querySelector("iframe.rate-frame");
    if (!theme || !frame) return;
    const address = new URL(frame.src);
    address.searchParams.set("__theme", theme);
    frame.src = address.href;
}"""
#: Where the presenter's own browser finds the page; no server behind a proxy knows better. An address typed before, which that
#: browser keeps, goes first.
_HERE = "new URL('rate', window.location.href.split(/[?#]/)[0]).href"
_SEEN = f"(room) => [room, localStorage.getItem('alignment-studio-rate-address') || {_HERE}]"
_TYPED = f"(room, text) => [room, text && text.trim() ? text : {_HERE}, Boolean(text && text.trim())]"
_KEEP = """(address, typed) => {
    if (typed) localStorage.setItem("alignment-studio-rate-address", address);
    else localStorage.removeItem("alignment-studio-rate-address");
}"""


def build_rate_tab(services: Services, shared: Shared, app: gr.Blocks) -> None:
    """Draw the tab and bind its events."""
    tallies = Tallies(services)
    rooms = RoomMenu(services)
    room = rooms.room
    with gr.Row(equal_height=False, elem_id="rate-top"):
        with gr.Column(scale=3, min_width=340):
            frame = gr.HTML(_HTML.voting_page(""), elem_id="rate-page")
        with gr.Column(scale=2, min_width=300):
            code = gr.HTML(elem_id="rate-code")
            address = gr.Textbox(label="Address in the code", max_lines=1, submit_btn="Show", elem_id="rate-address")
            if login_offered():
                gr.LoginButton("Sign in with Hugging Face", size="sm")
            numbers = gr.HTML(elem_id="rate-tally")
            names = gr.Checkbox(label="Show who leads (operator)", elem_id="rate-names")
    build_pairs_box(services, shared, room, app)
    with gr.Accordion("Voting rules", open=False, elem_id="rate-rules"):
        rules = RulesBox(services, shared, room)
    with gr.Accordion("Pairs", open=False, elem_id="rate-list") as listing:
        pairs = PairsList(services, shared, room)
    with gr.Accordion("What the votes say", open=True, elem_id="rate-results") as results:
        build_results_panel(services, shared, room, app)
    build_thumbs_box(services, shared, app)
    build_export_box(services, shared, room, app)
    rooms.draw_box(shared, app)
    add_api(services)

    # what the page shows already: of which room, the tally, how many pairs the list was made of, and how often it looks
    drawn = gr.State(("", "", -1, IDLE_S))
    timer = gr.Timer(IDLE_S)
    by_hand = gr.Checkbox(visible=False)

    def offer(code: str, seen: str | None) -> tuple[str, str]:
        best = best_address(seen or "", app.share_url, services.settings.host)
        return best, code_html(best, code)

    def retype(code: str, text: str | None, typed: bool) -> tuple[str, str, bool]:
        """Another address; the one this page sees itself at again where the field was emptied."""
        shown = checked_address(text) if typed else best_address(text or "", app.share_url, services.settings.host)
        return shown, code_html(shown, code), typed

    def enter(code: str, shown: str) -> tuple[str, str]:
        return _HTML.voting_page(code), code_html(checked_address(shown), code)

    def tick(
        mark: Visitor, code: str, with_names: bool | None, search: str | None, before: tuple[str, str, int, float]
    ) -> dict[Any, Any]:
        standing = tallies[code].look(names=bool(with_names) and mark.operator)
        now = (code, tally_html(standing), standing.progress.pairs, RECENT_S if standing.recent else IDLE_S)
        if now == before:
            return {drawn: gr.skip()}
        came = pairs.load(code, search) if now[2] != before[2] and code == before[0] else {}
        return {numbers: now[1], drawn: now, timer: gr.Timer(now[3]), **came}

    def only_operator(mark: Visitor, with_names: bool | None) -> Any:
        if with_names and not mark.operator:
            gr.Warning("Who leads is shown to the operator only; it would sway the votes.")
            return False
        return gr.skip()

    def opened(code: str, search: str | None) -> dict[Any, Any]:
        return {**rules.load(code), **pairs.load(code, search)}

    # what an address asks for is to be seen
    shared.show_votes.change(lambda: gr.Accordion(open=True), None, results, **QUIET)
    when_opened(code, app, guarded(offer), [room, address], [address, code], js=_SEEN)
    app.load(None, None, None, js=_THEME, **PRIVATE)
    submitted = address.submit(guarded(retype), [room, address, by_hand], [address, code, by_hand], js=_TYPED, **QUIET)
    submitted.success(None, [address, by_hand], None, js=_KEEP, **PRIVATE)
    names.input(guarded(only_operator), [shared.visitor, names], names, **QUIET)
    standing = [shared.visitor, room, names, pairs.search, drawn]
    shown = [numbers, drawn, timer, *pairs.outputs]
    timer.tick(guarded(tick), standing, shown, **POLLED)
    names.change(guarded(tick), standing, shown, **POLLED)
    when_changed(VOTES, guarded(tick), standing, shown)
    entered = room.change(guarded(enter), [room, address], [frame, code], **QUIET)
    entered.success(None, None, None, js=_THEME, **PRIVATE)
    room.change(guarded(tick), standing, shown, **POLLED)
    room.change(guarded(rules.load), room, rules.outputs, **QUIET)
    when_opened(numbers, app, guarded(tick), standing, shown)
    when_opened(timer, app, guarded(opened), [room, pairs.search], [*rules.outputs, *pairs.outputs])
    listing.expand(guarded(pairs.load), [room, pairs.search], pairs.outputs, **QUIET)


class Tallies(dict[str, Tally]):
    """The tally of each room."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._rating = services.rooms.rating

    def __missing__(self, code: str) -> Tally:
        self[code] = tally = Tally(partial(self._rating, code))
        return tally


def code_html(address: str, room: str = "") -> Markup:
    """The code of the voting page for a room, its link, a large view for the projector, and a warning where phones cannot use it."""
    address = of_room(address, room)
    return _HTML.code(address, *qr_path(address), only_here(address), room)
