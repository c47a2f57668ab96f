"""*Draw 8*: one answer may be luck; eight of each pane to the same question show which way a model leans."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from studio.domain.chat import is_base, named_base
from studio.errors import InputError
from studio.services import Services
from studio.services.compare.draws import COUNT
from studio.services.compare.table import TableProgress
from studio.services.lineage.steps import run_of
from studio.services.lineage.vector import is_vector
from studio.services.strength import at_strength
from studio.services.wording import shortened
from studio.ui.compare import talk as talks
from studio.ui.compare.panes.cast import cast_of
from studio.ui.compare.talk import Talk
from studio.ui.page.guard import guarded
from studio.ui.page.lines import MODEL
from studio.ui.page.live import Live
from studio.ui.page.shared import QUIET
from studio.ui.parts.html import Macros

_HTML = Macros("compare/panes/draw_many.html")
#: Seconds between two redraws of how far it is.
_REDRAW_S = 0.3


def build_draw_many() -> tuple[gr.Button, gr.HTML]:
    """Draw the button, to stand beside *Send*, and return it with the place of the answers, which is not drawn yet."""
    return (
        gr.Button(f"Draw {COUNT}", size="sm", min_width=60, elem_id="draw-many"),
        gr.HTML(elem_id="draws", render=False),
    )


def bind_draw_many(
    services: Services,
    button: gr.Button,
    stop: gr.Button,
    place: gr.HTML,
    live: gr.State,
    memory: gr.BrowserState,
    base: Any,
) -> None:
    """Connect it: the last question of the panes, asked as it was; *Stop* ends it."""

    def draw(page: Live, stored: Any, model: str) -> Iterator[dict[Any, Any]]:
        talk = talks.restore(stored)
        rows = [index for index, pane in enumerate(talk.panes) if pane.messages] if talk else []
        if talk is None or not rows:
            raise InputError("There is no question yet; ask the panes something first.")
        shared = cast_of(services, talk, model).shared
        chats = [talks.chat(talk, index, talks.question_turns(talk, index), shared) for index in rows]
        question = chats[0].messages[-1].content
        shown = 0.0
        rest = {stop: gr.Button(interactive=False), button: gr.Button(interactive=True)}
        with page.working("draw") as cancel:
            yield {stop: gr.Button(interactive=True), button: gr.Button(interactive=False)}
            try:
                for state in services.draws.draw(chats, talks.as_asked(talk).sampling, cancel, model):
                    if state.panes and not cancel.is_set():
                        names = pane_names(services, talk, rows)
                        yield {
                            place: _HTML.draws(
                                shortened(question, 120), list(zip(names, state.panes, strict=True)), state.judged_by
                            )
                        }
                    elif time.monotonic() - shown > _REDRAW_S:
                        shown = time.monotonic()
                        yield {place: _HTML.drawing(state.done, state.total, state.note)}
                if cancel.is_set():
                    yield {place: ""}
            except Exception:
                yield {place: "", **rest}
                raise
            yield rest

    button.click(guarded(draw), [live, memory, base], [place, stop, button], show_progress_on=button, **MODEL, **QUIET)


def tally_html(services: Services, table: TableProgress) -> str:
    """Which side the answers of a before/after table take; empty where nobody can tell."""
    panes = services.draws.tally(table)
    return _HTML.tally(list(zip(("before", "after"), panes, strict=False))) if panes else ""


def pane_names(services: Services, talk: Talk, rows: Sequence[int]) -> list[str]:
    """What the panes are called in a sum: the base, or the run's title."""
    names = []
    for index in rows:
        pane = talk.panes[index]
        if is_base(pane.choice):
            name = f"base {named_base(pane.choice)}".strip()
        else:
            name = shortened(services.runs.get(run_of(pane.choice)).title, 60)
        if is_vector(pane.choice):
            name = f"steering vector of {name}"
        step = "" if pane.step is None else f" at step {pane.step}"
        names.append(name + step + at_strength(pane.strength))
    return names
