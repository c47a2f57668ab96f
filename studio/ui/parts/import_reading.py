"""How a file of data is read, beside an import button: what it was recognised as, its first row, fields mapped by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from markupsafe import Markup

from studio.domain.data import Message
from studio.errors import StudioError
from studio.i18n import Named
from studio.services.data.row_reader import ReadOptions, UnknownShapeError
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.shared import PRIVATE, Shared
from studio.ui.parts.html import Macros

_HTML = Macros("parts/import_reading.html")
#: Rows of a dataset on the Hub that a preview reads.
PREVIEW_ROWS = 100
#: What a menu says where nothing was mapped, and where the prompt is what both answers begin with.
AS_RECOGNISED, SHARED_BEGINNING = "", "\0"
_ROLES = (("prompt", "Prompt"), ("chosen", "Preferred"), ("rejected", "Not preferred"), ("system", "System prompt"))


@dataclass(frozen=True)
class Preview:
    """What is shown of a file: a sentence that says what it was read as, the first row (name and text of each part), warnings,
    broken rows, and the fields to choose from."""

    sentence: str
    row: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    broken: tuple[str, ...]
    fields: tuple[str, ...]


#: Reads a file (its path) or a dataset of the Hub (its id and split) as the options say.
Look = Callable[[str, str, str, ReadOptions], Preview]


@dataclass(frozen=True)
class Reading:
    """The widgets; ``values`` are those whose values :func:`read_options` takes."""

    preview: gr.HTML
    by_hand: gr.Accordion
    menus: tuple[gr.Dropdown, ...]
    ticks: tuple[gr.Checkbox, ...]

    @property
    def values(self) -> list[Any]:
        """The widgets of the options, in order."""
        return [*self.menus, *self.ticks]


def build_reading(prefix: str, skip: bool) -> Reading:
    """Draw the widgets; ``prefix`` begins their ids on the page, ``skip`` offers to leave out broken rows."""
    preview = gr.HTML(elem_id=f"{prefix}-preview")
    with gr.Accordion("Map fields by hand", open=False, elem_id=f"{prefix}-map") as by_hand, gr.Row():
        menus = tuple(
            gr.Dropdown(
                [("as recognised", AS_RECOGNISED)],
                value=AS_RECOGNISED,
                label=label,
                min_width=130,
                elem_id=f"{prefix}-map-{role}",
            )
            for role, label in _ROLES
        )
    ticks = [gr.Checkbox(False, label="Take out chat templates and special tokens", elem_id=f"{prefix}-strip")]
    if skip:
        ticks.append(gr.Checkbox(False, label="Leave out rows that cannot be read", elem_id=f"{prefix}-skip"))
    return Reading(preview, by_hand, menus, tuple(ticks))


def read_options(values: Sequence[Any]) -> ReadOptions:
    """The options that the widgets' values say."""
    chosen = zip(_ROLES, values[: len(_ROLES)], strict=True)
    mapping = {role: "" if field == SHARED_BEGINNING else field for (role, _), field in chosen if field}
    strip, *skip = values[len(_ROLES) :]
    return ReadOptions(mapping, bool(skip and skip[0]), bool(strip))


def first_row(
    history: Sequence[Message], prompt: str, answers: Sequence[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """The parts of a row with their names; those of ``answers`` they bring along."""
    earlier = [(turn.role.capitalize(), turn.content) for turn in history]
    return (*earlier, ("Prompt", prompt), *answers)


def bind_reading(
    reading: Reading, shared: Shared, file: gr.File, hub: gr.Textbox, split: gr.Textbox, look: Look
) -> None:
    """Show what a file is read as once it is chosen, a dataset of the Hub once its id was entered, and anew when something is
    mapped by hand or ticked."""

    def show(mark: Visitor, path: str | None, hub_id: str | None, part: str | None, *values: Any) -> dict[Any, Any]:
        name = (hub_id or "").strip()
        if not path and not name:
            return {reading.preview: ""}
        require_operator(mark, "importing")
        try:
            seen = look(path or "", name, (part or "").strip() or "train", read_options(values))
        except UnknownShapeError as error:
            return {
                reading.preview: _HTML.refused(str(error)),
                reading.by_hand: gr.Accordion(open=True),
                **menus(error.fields),
            }
        except StudioError as error:
            return {reading.preview: _HTML.refused(str(error))}
        return {reading.preview: preview_html(seen), **menus(seen.fields)}

    def menus(fields: Sequence[str]) -> dict[Any, Any]:
        named = [("as recognised", AS_RECOGNISED), *((Named(field), field) for field in fields)]
        prompt, *others = reading.menus
        begins = ("what both answers begin with", SHARED_BEGINNING)
        return {prompt: gr.Dropdown(choices=[*named, begins]), **{menu: gr.Dropdown(choices=named) for menu in others}}

    def anew(mark: Visitor, path: str | None, hub_id: str | None, part: str | None, *values: Any) -> dict[Any, Any]:
        """Another file has other fields, so what was mapped before is forgotten."""
        unmapped = [AS_RECOGNISED] * len(reading.menus)
        shown = show(mark, path, hub_id, part, *unmapped, *values[len(unmapped) :])
        for menu in reading.menus:
            choices = shown[menu].choices if menu in shown else [("as recognised", AS_RECOGNISED)]
            shown[menu] = gr.Dropdown(choices=choices, value=AS_RECOGNISED)
        return shown

    inputs = [shared.visitor, file, hub, split, *reading.values]
    outputs = [reading.preview, reading.by_hand, *reading.menus]
    looks: dict[str, Any] = {"show_progress_on": reading.preview, **PRIVATE}
    gr.on([file.change, hub.submit], guarded(anew), inputs, outputs, **looks)
    gr.on([widget.input for widget in reading.values], guarded(show), inputs, outputs, **looks)


def preview_html(seen: Preview) -> Markup:
    """What a file was read as, and its first row."""
    return _HTML.preview(seen)
