"""What the forms of all trainings share: base, preset, the widgets of LoRA and of the optimiser, how values become settings,
and the button that starts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from studio.domain.detox import DetoxSettings
from studio.domain.runs import DpoSettings, LoraSettings, RewardSettings
from studio.errors import RecipeError
from studio.services import Services
from studio.services.models import Progress
from studio.services.recipes.presets import DetoxPreset, Preset, RewardPreset
from studio.ui.page.access import Visitor, require_operator
from studio.ui.page.guard import guarded
from studio.ui.page.shared import PRIVATE, Shared
from studio.ui.training.run_panel import RunPanel
from studio.ui.training.watch import Watch

ANY_BASE = "The embedded one needs no download. Any Hub id or local folder may be typed."
# narrow enough for three in a line
number, pick = functools.partial(gr.Number, min_width=104), functools.partial(gr.Dropdown, min_width=104)


@dataclass(frozen=True)
class FormFields:
    """A form's widgets as a dataclass, in the order in which their values come back. From the field ``rank`` on they are
    knobs, which a preset sets."""

    def all(self) -> list[Any]:
        """Every widget, in field order."""
        return [getattr(self, f.name) for f in fields(self)]

    def knobs(self) -> list[Any]:
        """The widgets a preset sets: the hyper-parameters."""
        return [getattr(self, name) for name in self.knob_names()]

    @classmethod
    def knob_names(cls) -> list[str]:
        """Names of :meth:`knobs`."""
        names = [f.name for f in fields(cls)]
        return names[names.index("rank") :]

    @classmethod
    def knob_values(cls, *settings: Any) -> list[Any]:
        """Values of :meth:`knobs` for given settings (a preset's, or a past run's)."""
        return [next(getattr(s, name) for s in settings if hasattr(s, name)) for name in cls.knob_names()]

    @classmethod
    def named(cls, values: Sequence[Any], optional: Sequence[str]) -> dict[str, Any]:
        """The widgets' values by field; a text field of ``optional`` that nobody touched is empty.

        Raises:
            RecipeError: another field is empty; the message names it.
        """
        named = dict(zip((f.name for f in fields(cls)), values, strict=True))
        for name, value in named.items():
            if value is None and name in optional:
                named[name] = ""
            elif value is None:
                raise RecipeError(f"{name} is empty; give it a value or choose the preset again.")
        return named


def settings_from(kind: Any, named: dict[str, Any]) -> Any:
    """A settings class filled from the fields of its names."""
    return kind(**{f.name: named[f.name] for f in fields(kind)})


def build_base(choices: Sequence[Any], elem_id: str, info: str = ANY_BASE) -> tuple[gr.Dropdown, gr.HTML]:
    """Draw the box of the base and the line below it that tells what it needs."""
    base = gr.Dropdown(
        choices,
        value="embedded",
        label="Base model",
        allow_custom_value=True,
        filterable=True,
        info=info,
        elem_id=elem_id,
    )
    return base, gr.HTML(elem_id=f"{elem_id}-needs")


def build_preset(
    presets: Mapping[str, Preset] | Mapping[str, RewardPreset] | Mapping[str, DetoxPreset], name: str, elem_id: str
) -> gr.Dropdown:
    """Draw the box of the presets, the one of that name chosen."""
    return gr.Dropdown(
        [(preset.title, preset.name) for preset in presets.values()],
        value=name,
        label="Preset",
        info=presets[name].note,
        elem_id=elem_id,
    )


def build_lora(lora: LoraSettings, rank_label: str = "Rank r") -> dict[str, Any]:
    """Draw the adapter's widgets; by field name."""
    with gr.Row():
        rank = number(lora.rank, label=rank_label, precision=0)
        alpha = number(lora.alpha, label="Alpha", precision=0)
        dropout = number(lora.dropout, label="Dropout", step=0.05)
    target_modules = gr.Textbox(
        lora.target_modules, label="Target modules", max_lines=1, info="all-linear, or names such as q_proj,v_proj"
    )
    return {"rank": rank, "alpha": alpha, "dropout": dropout, "target_modules": target_modules}


def build_pace(settings: DpoSettings | RewardSettings, prefix: str = "") -> dict[str, Any]:
    """Draw the widgets of how fast, how long and in what portions to train on pairs; by field name.

    ``prefix`` begins the ids that some of them have on the page; without one they have none.
    """
    ids = {name: f"{prefix}-{name}" if prefix else None for name in ("lr", "epochs")}
    with gr.Row():
        learning_rate = number(settings.learning_rate, label="Learning rate", step=1e-5, elem_id=ids["lr"])
        epochs = number(settings.epochs, label="Epochs", step=0.5, elem_id=ids["epochs"])
        max_seconds = number(settings.max_seconds, label="Or train for seconds", info="0: by epochs")
    with gr.Row():
        batch_size = number(settings.batch_size, label="Batch size", precision=0)
        gradient_accumulation = number(settings.gradient_accumulation, label="Accumulation", precision=0)
        warmup_ratio = number(settings.warmup_ratio, label="Warm-up", step=0.05)
    return {
        "learning_rate": learning_rate,
        "epochs": epochs,
        "max_seconds": max_seconds,
        "batch_size": batch_size,
        "gradient_accumulation": gradient_accumulation,
        "warmup_ratio": warmup_ratio,
    }


def build_optimiser(settings: DpoSettings | RewardSettings | DetoxSettings) -> dict[str, Any]:
    """Draw the widgets of the schedule and the optimiser; by field name."""
    with gr.Row():
        schedules = ["linear", "cosine", "constant", "constant_with_warmup"]
        scheduler = pick(schedules, value=settings.scheduler, label="Schedule")
        optimizer = pick(["adamw", "paged_adamw_8bit"], value=settings.optimizer, label="Optimizer")
        weight_decay = number(settings.weight_decay, label="Weight decay", step=0.01)
    return {"scheduler": scheduler, "optimizer": optimizer, "weight_decay": weight_decay}


def bind_start(
    button: gr.Button,
    panel: RunPanel,
    shared: Shared,
    form: Sequence[Any],
    start: Callable[[Sequence[Any], Progress], str],
) -> None:
    """Have ``button`` start a run and open it on ``panel``. ``start`` makes a run of the values of ``form`` and tells how far a
    download is; it gives the run's id."""

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

    button.click(
        guarded(press),
        [shared.visitor, panel.watch, panel.axis, *form],
        panel.outputs,
        concurrency_limit=None,
        show_progress_on=panel.head,
        **PRIVATE,
    )


def dataset_choices(services: Services, prompts: bool = False) -> list[tuple[str, str]]:
    """(label, id) of the datasets as they are now; with ``prompts`` also of those without answers."""
    return [
        (f"{d.title} · " + (f"{d.n_pairs} pairs" if d.n_pairs else f"{d.n_prompts} prompts"), d.id)
        for d in services.datasets.list()
        if d.n_pairs or prompts
    ]


def size_range(pairs: int) -> dict[str, Any]:
    """Bounds of a slider over so many pairs; a slider cannot begin and end at the same number."""
    return {"minimum": 1 if pairs > 1 else 0, "maximum": max(1, pairs)}
