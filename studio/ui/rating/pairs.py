"""The list of pairs in the Rate tab: what each has gathered, which ones everybody rates first, which are served no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from studio.domain.votes import Decision
from studio.errors import InputError, NotFoundError
from studio.i18n import said
from studio.services import Services
from studio.services.wording import shortened
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.shared import QUIET, Shared
from studio.ui.parts.html import Macros

_HTML = Macros("rating/pairs.html")

#: Lines of the table; the search reaches the rest.
SHOWN = 300
HEADERS = ["Question", "Votes", "Skips", "Decided", "Rated", "From", "Pair"]
_SOURCES = {"compare": "Compare", "batch": "batch", "import": "import"}


class PairsList:
    """Draws the list when made, of the room whose code ``room`` holds; ``load`` fills it, with ``outputs``."""

    def __init__(self, services: Services, shared: Shared, room: gr.State) -> None:
        self._rooms = services.rooms
        with gr.Row(elem_id="rate-find"):
            self.search = gr.Textbox(
                label="Search",
                placeholder="words of the question or an answer",
                max_lines=1,
                scale=3,
                elem_id="rate-search",
            )
            self.calibrate = gr.Number(
                value=0,
                precision=0,
                minimum=0,
                label="Calibration pairs",
                info="Everybody rates these first.",
                min_width=160,
                elem_id="rate-calibrate",
            )
            self.set_calibration = gr.Button("Set", size="sm", min_width=120, elem_id="rate-calibrate-set")
        self.table = gr.Dataframe(
            headers=HEADERS,
            datatype=["str", "number", "number", "str", "str", "str", "str"],
            interactive=False,
            column_widths=["470px", "70px", "70px", "110px", "130px", "110px", "220px"],
            max_height=320,
            show_row_numbers=False,
            label="Pairs",
            elem_id="rate-pairs",
        )
        self.shown = gr.Markdown(elem_classes="quiet")
        self.detail = gr.HTML(_HTML.nothing(), elem_id="rate-pair")
        with gr.Row():
            self.first = gr.Button("Make a calibration pair / undo", size="sm", elem_id="rate-pair-first")
            self.retire = gr.Button("Retire / restore", size="sm", elem_id="rate-pair-retire")
            self.retire_all = gr.Button("Retire all listed", size="sm", variant="stop", elem_id="rate-retire-all")
            self.revive_all = gr.Button("Restore all listed", size="sm", elem_id="rate-revive-all")
        self.chosen = gr.State(None)
        self.outputs: list[Any] = [self.table, self.shown, self.calibrate]
        self._bind(shared, room)

    def load(self, room: str, search: str | None) -> dict[Any, Any]:
        """The list of a room as it stands."""
        everything = self._rooms.rating(room).decisions()
        matches = matching(everything, search or "")
        left_out = f" The first {SHOWN} are shown; the search reaches the others." if len(matches) > SHOWN else ""
        return {
            self.table: [_row(decision) for decision in matches[:SHOWN]],
            self.shown: f"{len(matches)} of {len(everything)} pairs.{left_out}",
            self.calibrate: sum(d.pair.calibration and not d.pair.retired for d in everything),
        }

    def _bind(self, shared: Shared, room: gr.State) -> None:
        visitor, search, chosen = shared.visitor, self.search, self.chosen
        everything = [*self.outputs, self.detail, chosen]

        def show(mark: Visitor, code: str, pair_id: str | None) -> dict[Any, Any]:
            decision = next((d for d in self._rooms.rating(code).decisions() if d.pair.id == pair_id), None)
            if decision is None:
                return {self.detail: _HTML.nothing(), chosen: None}
            return {self.detail: pair_html(decision, names=mark.operator), chosen: pair_id}

        def pick(event: gr.SelectData, mark: Visitor, code: str) -> dict[Any, Any]:
            return show(mark, code, event.row_value[-1])

        def enter(mark: Visitor, code: str, text: str | None) -> dict[Any, Any]:
            return {**self.load(code, text), **show(mark, code, None)}

        def choose(mark: Visitor, code: str, count: float | None, text: str | None) -> dict[Any, Any]:
            require_operator(mark, "choosing calibration pairs")
            if count is None or count < 0 or count != int(count):
                raise InputError("The number of calibration pairs must be a whole number of at least 0.")
            rating = self._rooms.rating(code)
            on, off = calibration_changes(rating.decisions(), int(count))
            rating.set_calibration(off, False)
            rating.set_calibration(on, True)
            gr.Info(
                f"Everybody rates these {int(count)} pairs first." if count else "No calibration pairs.", duration=3
            )
            return self.load(code, text)

        def flip(mark: Visitor, code: str, pair_id: str | None, text: str | None, what: str) -> dict[Any, Any]:
            require_operator(mark, "changing pairs")
            rating = self._rooms.rating(code)
            pair = next((d.pair for d in rating.decisions() if d.pair.id == pair_id), None)
            if pair is None:
                raise NotFoundError("No pair is open; click a line of the table first.")
            if what == "retire":
                rating.retire([pair.id], not pair.retired)
            else:
                rating.set_calibration([pair.id], not pair.calibration)
            return {**self.load(code, text), **show(mark, code, pair.id)}

        def mark_all(mark: Visitor, code: str, pair_id: str | None, text: str | None, on: bool) -> dict[Any, Any]:
            require_operator(mark, "retiring pairs")
            rating = self._rooms.rating(code)
            ids = [d.pair.id for d in matching(rating.decisions(), text or "") if d.pair.retired != on]
            rating.retire(ids, on)
            gr.Info(f"{len(ids)} pairs {'retired; their votes are kept' if on else 'restored'}.", duration=4)
            return {**self.load(code, text), **show(mark, code, pair_id)}

        self.table.select(guarded(pick), [visitor, room], [self.detail, chosen], **QUIET)
        search.submit(guarded(self.load), [room, search], self.outputs, **QUIET)
        room.change(guarded(enter), [visitor, room, search], everything, **QUIET)
        self.set_calibration.click(guarded(choose), [visitor, room, self.calibrate, search], self.outputs, **QUIET)
        for button, what in ((self.first, "first"), (self.retire, "retire")):
            button.click(
                guarded(lambda mark, code, pair_id, text, what=what: flip(mark, code, pair_id, text, what)),
                [visitor, room, chosen, search],
                everything,
                **QUIET,
            )
        for button, on in ((self.retire_all, True), (self.revive_all, False)):
            button.click(
                guarded(lambda mark, code, pair_id, text, on=on: mark_all(mark, code, pair_id, text, on)),
                [visitor, room, chosen, search],
                everything,
                **QUIET,
            )


def matching(decisions: Sequence[Decision], search: str) -> list[Decision]:
    """Those whose texts hold every word of ``search``, newest first, retired ones last."""
    words = search.casefold().split()
    matches = [
        d
        for d in decisions
        if all(word in f"{d.pair.prompt} {d.pair.answer_1} {d.pair.answer_2}".casefold() for word in words)
    ]
    return sorted(matches, key=lambda d: (d.pair.retired, -d.pair.created, d.pair.id))


def calibration_changes(decisions: Sequence[Decision], count: int) -> tuple[list[str], list[str]]:
    """Which pairs to make calibration pairs and which no more, so that ``count`` are: those that are stay as far as there is
    room, then come those with the most votes (what others said of them already helps), then by id, which is as good as drawn.

    Raises:
        InputError: there are fewer pairs.
    """
    live = [d for d in decisions if not d.pair.retired]
    if count > len(live):
        raise InputError(f"Calibration pairs are {count}; there are only {len(live)} pairs to choose from.")
    ordered = sorted(live, key=lambda d: (not d.pair.calibration, -d.votes, d.pair.id))
    chosen = {d.pair.id for d in ordered[:count]}
    on = [d.pair.id for d in live if d.pair.id in chosen and not d.pair.calibration]
    off = [d.pair.id for d in decisions if d.pair.calibration and d.pair.id not in chosen]
    return on, off


def pair_html(decision: Decision, names: bool) -> Markup:
    """One pair to read; who answered and how the votes fell only with ``names``: that is for the operator."""
    return _HTML.pair(decision, names)


def _row(decision: Decision) -> list[Any]:
    pair = decision.pair
    rated = "retired" if pair.retired else "by all, first" if pair.calibration else "yes"
    return [
        shortened(" ".join(pair.prompt.split()), 120),
        decision.votes,
        decision.skips,
        said("yes" if decision.winner else "not yet"),
        said(rated),
        said(_SOURCES.get(pair.source, pair.source)),
        pair.id,
    ]
