"""What the forms of all trainings share: base, preset, a widget for each declared setting, how values become settings, and the
button that starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import gradio as gr
from gradio.events import Dependency

from studio.domain.settings import Declared, Setting
from studio.errors import RecipeError, StudioError
from studio.i18n import Named, said
from studio.services import Services
from studio.services.models.service import Progress
from studio.services.recipes.form import TrainingForm
from studio.services.recipes.presets import Preset, Presets
from studio.services.runs.outlook import Outlook
from studio.services.wording import counted
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.shared import PRIVATE, QUIET, Shared
from studio.ui.parts.base_fetch import BaseNeeds, build_needs
from studio.ui.training.run_panel import RunPanel
from studio.ui.training.watch import Watch

ANY_BASE = "Or type a Hub id, folder or GGUF file above."
#: Settings side by side in a row.
_A_ROW = 3
#: Brings what has this id into sight where less than the whole is seen, once what has just opened or closed is drawn.
_SHOW = """async () => {
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const place = document.getElementById("%s");
    const {top, bottom} = place.getBoundingClientRect();
    if (top < 0 || bottom > innerHeight) place.scrollIntoView();
}"""


class SettingWidgets:
    """Draws a widget for each setting of ``settings``, all of them in :meth:`draw` and :meth:`draw_rest`; ``prefix`` begins
    their ids on the page."""

    def __init__(self, prefix: str, *settings: Declared) -> None:
        self._prefix = prefix
        self._declared = {name: (known, getattr(s, name)) for s in settings for name, known in s.declared().items()}
        self.drawn: dict[str, Any] = {}

    def draw(self, *names: str, visible: bool = True) -> None:
        """Draw these side by side."""
        with gr.Row():
            for name in names:
                known, value = self._declared[name]
                self.drawn[name] = _widget(known, value, f"{self._prefix}-{name.replace('_', '-')}", visible)

    def draw_rest(self, title: str, names: Sequence[str]) -> None:
        """Draw those of these that were not drawn yet, under a title."""
        left = [name for name in names if name not in self.drawn]
        gr.Markdown(f"**{title}**")
        for at in range(0, len(left), _A_ROW):
            self.draw(*left[at : at + _A_ROW])


def _widget(known: Setting, value: Any, elem_id: str, visible: bool) -> Any:
    shared: dict[str, Any] = {"value": value, "label": known.label, "info": known.help or None, "elem_id": elem_id}
    shared["visible"] = visible
    shared["min_width"] = 104  # narrow enough for three in a row
    if known.kind is bool:
        return gr.Checkbox(**shared)
    if known.choices:
        return gr.Dropdown(list(known.choices), **shared)
    if known.kind is str:
        return gr.Textbox(**shared, max_lines=1)
    # bounds are the service's to check: Gradio would name neither label nor value
    return gr.Number(**shared, precision=0 if known.kind is int else None, step=known.step or 1)


@dataclass(frozen=True)
class FormFields:
    """A form's widgets: the fields of a subclass, then ``settings``, one for each setting of ``kinds`` (LoRA's and the
    method's). In this order their values come back, and become a ``form``."""

    form: ClassVar[type[TrainingForm[Any]]]
    kinds: ClassVar[tuple[type[Declared], type[Declared]]]

    settings: dict[str, Any]

    def all(self) -> list[Any]:
        """Every widget, in order."""
        return [getattr(self, name) for name in self.own_names()] + self.knobs()

    def knobs(self) -> list[Any]:
        """The widgets a preset sets: the hyper-parameters."""
        return [self.settings[name] for name in self.knob_names()]

    @classmethod
    def own_names(cls) -> list[str]:
        """Names of the widgets that are no settings."""
        return [f.name for f in fields(cls) if f.name != "settings"]

    @classmethod
    def knob_names(cls) -> list[str]:
        """Names of :meth:`knobs`."""
        return [name for kind in cls.kinds for name in kind.declared()]

    @classmethod
    def knob_values(cls, *settings: Declared) -> list[Any]:
        """Values of :meth:`knobs` for given settings (a preset's, or a past run's), of the kinds in order."""
        return [getattr(s, name) for s in settings for name in s.declared()]

    @classmethod
    def named(cls, values: Sequence[Any], optional: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
        """The values of the form's own widgets by name, and what every training's form has, as fields of ``form``. A text of
        ``optional`` that nobody touched is empty, as are title and system prompt.

        Raises:
            RecipeError: another field is empty; the message names it. Ranges are the service's to check.
        """
        named = dict(zip([*cls.own_names(), *cls.knob_names()], values, strict=True))
        for name, value in named.items():
            if value is None and name in ("title", "system_prompt", *optional):
                named[name] = ""
            elif value is None:
                raise RecipeError(f"{name} is empty; give it a value or choose the preset again.")
        if not str(named["base"]).strip():
            raise RecipeError("base is empty; choose a base model.")
        lora, settings = (kind(**{name: named[name] for name in kind.declared()}) for kind in cls.kinds)
        return named, {
            "base": str(named["base"]).strip(),
            "system_prompt": named.get("system_prompt", ""),
            "preset": named["preset"],
            "lora": lora,
            "settings": settings,
            "title": str(named["title"]).strip(),
        }

    @classmethod
    def preset_values(cls, name: str) -> list[Any]:
        """For a preset: its box with what it is for, and the values of :meth:`knobs`."""
        preset = cls.form.presets[name]
        return [gr.Dropdown(value=name, info=preset.note), *cls.knob_values(preset.lora, preset.settings)]


def build_base(
    choices: Sequence[Any], value: str, elem_id: str, others: str = ANY_BASE
) -> tuple[gr.Dropdown, BaseNeeds]:
    """Draw the box of the base, ``value`` chosen, and what stands below it: what it needs (and which ``others`` there may be), and
    fetching it."""
    base = gr.Dropdown(
        choices,
        value=value,
        label="Base model",
        allow_custom_value=True,
        filterable=True,
        elem_id=elem_id,
    )
    return base, build_needs(elem_id, others)


def offer_starts(choices: Sequence[tuple[str, str]], chosen: str | None) -> gr.Dropdown:
    """The box of what a run can start from, ``chosen`` kept where it is there; not to be seen where there is nothing to choose."""
    there = [run_id for _, run_id in choices]
    return gr.Dropdown(choices=choices, value=chosen if chosen in there else "", visible=len(choices) > 1)


def build_preset(presets: Presets[Any], preset: Preset[Any], elem_id: str) -> gr.Dropdown:
    """Draw the box of the presets, ``preset`` chosen."""
    return gr.Dropdown(
        [(known.title, known.name) for known in presets.values()],
        value=preset.name,
        label="Preset",
        info=preset.note,
        elem_id=elem_id,
    )


def build_outlook(elem_id: str) -> gr.Markdown:
    """Draw the line above the button that starts: how long the run will be."""
    return gr.Markdown(elem_id=elem_id)


def bind_outlook(
    line: gr.Markdown, shared: Shared, app: gr.Blocks, form: Sequence[Any], ask: Callable[..., Outlook]
) -> None:
    """Keep ``line`` true to the widgets of ``form``, whose values ``ask`` takes, and to the newest run."""

    def look(*values: Any) -> str:
        try:
            outlook = ask(*values)
            sentences = said(" ".join(outlook.sentences()))
            return f'<span title="{said(outlook.basis)}">{sentences}</span>' if outlook.basis else sentences
        except StudioError as error:
            return f"⚠️ {said(str(error))}"

    gr.on([app.load, shared.finished_run.change], guarded(look), list(form), line, **QUIET)
    changes = [widget.change for widget in form if isinstance(widget, gr.Number | gr.Slider | gr.Dropdown | gr.Radio)]
    gr.on(changes, guarded(look), list(form), line, trigger_mode="always_last", **QUIET)


def bind_start(
    button: gr.Button,
    panel: RunPanel,
    shared: Shared,
    form: Sequence[Any],
    start: Callable[[Sequence[Any], Progress], str],
) -> Dependency:
    """Have ``button`` start a run and open it on ``panel``, which is scrolled to where it is out of sight. ``start`` makes a run of the
    values of ``form`` and tells how far a download is; it gives the run's id."""

    def press(
        mark: Visitor,
        state: Watch,
        axis: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio's way
        *values: Any,
    ) -> dict[Any, Any]:
        require_operator(mark, "training")
        run_id = start(values, lambda share, text: progress(share, desc=text))
        return panel.open_run(state, run_id, axis)

    pressed: Dependency = button.click(
        guarded(press),
        [shared.visitor, panel.watch, panel.axis, *form],
        panel.outputs,
        concurrency_limit=None,
        show_progress_on=panel.head,
        **PRIVATE,
    )
    pressed.success(None, None, None, js=_SHOW % panel.head.elem_id, **PRIVATE)
    return pressed


@dataclass(frozen=True)
class StartWidgets:
    """What starts a run: how long it will be, the button, and the one that puts the form back."""

    length: gr.Markdown
    train: gr.Button
    reset: gr.Button


def build_start(label: str, prefix: str = "") -> StartWidgets:
    """Draw them; ``prefix`` begins their ids."""
    length = build_outlook(f"{prefix}outlook")
    with gr.Row(equal_height=True, elem_classes="starts"):
        train = gr.Button(label, variant="primary", size="lg", scale=3, elem_id=f"{prefix}train")
        return StartWidgets(length, train, build_reset(f"{prefix}reset"))


def build_reset(elem_id: str) -> gr.Button:
    """Draw the button that puts a form back to what it began with."""
    return gr.Button("Reset", size="sm", scale=0, min_width=100, elem_id=elem_id)


def bind_reset(
    button: gr.Button,
    services: Services,
    form: FormFields,
    base: gr.Dropdown,
    suited: Sequence[Any],
    suit: Callable[[str], Sequence[Any]],
) -> Dependency:
    """Have ``button`` give every widget of ``form`` the value it was drawn with; where another base is the default by now, that one, and
    what ``suit`` says for the widgets ``suited``."""
    first = {widget: widget.value for widget in form.all()}

    def reset() -> dict[Any, Any]:
        default = services.models.default_base()
        later = {base: default, **dict(zip(suited, suit(default), strict=True))} if default != first[base] else {}
        return {**first, **later}

    return button.click(guarded(reset), None, form.all(), **QUIET)


def dataset_choices(services: Services, prompts: bool = False, rated: bool = False) -> list[tuple[str, str]]:
    """(label, id) of the datasets as they are now; with ``prompts`` also of those without answers, with ``rated`` of rated answers as
    that (else of the pairs they make)."""
    offered: list[tuple[str, str]] = []
    for d in services.datasets.list():
        sizes = [(d.n_rated, "rated answer")] if rated else []
        sizes += [(d.n_pairs, "pair"), *([(d.n_prompts, "prompt")] if prompts else [])]
        if size := next((counted(count, word) for count, word in sizes if count), ""):
            offered.append((Named(d.title, size), d.id))
    return offered


def size_range(pairs: int) -> dict[str, Any]:
    """Bounds of a slider over so many pairs; a slider cannot begin and end at the same number."""
    return {"minimum": 1 if pairs > 1 else 0, "maximum": max(1, pairs)}
