"""The form of a new before/after evaluation: what may be chosen, and what was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from studio.domain.chat import BASE, Sampling
from studio.domain.toxicity import TestPrompt
from studio.errors import InputError, NotFoundError
from studio.i18n import Named
from studio.services import Services
from studio.services.data.prompts import prompt_sets, prompts_from_text
from studio.services.evaluations.form import MAX_SAMPLES, EvaluationForm
from studio.ui.page.guard import guarded
from studio.ui.page.shared import QUIET
from studio.ui.parts.prompt_box import build_prompt_box, read_line, uploaded

#: The choice of prompts that means "those typed here".
LINES = "lines"
#: And the one that means "those of the file given here".
FILE = "file"
#: What the choice of a dataset's test prompts begins with; its id follows.
OF_DATASET = "dataset:"


class EvaluationFormBox:
    """Draws the form when made. :meth:`offer` fills it (``offered`` in, ``offered`` out); ``values`` are what
    :func:`form_from` takes."""

    def __init__(self, services: Services) -> None:
        self._services = services
        with gr.Accordion("A new evaluation", open=True, elem_id="eval-form"):
            with gr.Row(equal_height=False):
                with gr.Column(scale=3, min_width=300):
                    default = services.models.default_base()
                    self.base = gr.Dropdown([default], value=default, label="Base model", elem_id="eval-base")
                    self.before = gr.Dropdown(
                        [("The base", BASE)],
                        value=BASE,
                        label="Before",
                        info="The base, or an adapter that others went on from.",
                        elem_id="eval-before",
                    )
                    self.adapters = gr.Dropdown(
                        [],
                        multiselect=True,
                        label="After: one adapter or several",
                        elem_id="eval-adapters",
                    )
                    self.prompts = gr.Dropdown(
                        [("Prompts typed here", LINES)], value=LINES, label="Prompts", elem_id="eval-prompts"
                    )
                    self.lines = gr.Textbox(
                        label="Prompts, one a line", lines=3, max_lines=10, visible=False, elem_id="eval-lines"
                    )
                    self.file, self.read = build_prompt_box("eval-file", visible=False)
                with gr.Column(scale=2, min_width=300):
                    self.scorer = gr.Dropdown(
                        [],
                        label="Scorer",
                        info="Also a classifier's Hub id that was downloaded under Score text.",
                        allow_custom_value=True,
                        elem_id="eval-scorer",
                    )
                    with gr.Row():
                        self.samples = gr.Number(
                            1,
                            label="Samples a prompt",
                            precision=0,
                            minimum=1,
                            maximum=MAX_SAMPLES,
                            min_width=110,
                            elem_id="eval-samples",
                        )
                        self.seed = gr.Number(
                            0, label="Seed", precision=0, minimum=0, min_width=110, elem_id="eval-seed"
                        )
                    with gr.Row():
                        self.temperature = gr.Slider(
                            0, 2, value=0.8, step=0.05, label="Temperature", min_width=200, elem_id="eval-temperature"
                        )
                        self.tokens = gr.Slider(
                            8, 1024, value=64, step=8, label="Max tokens", min_width=200, elem_id="eval-tokens"
                        )
                    with gr.Accordion("More", open=False, elem_id="eval-more"):
                        self.system = gr.Textbox(
                            label="System prompt",
                            placeholder="none",
                            info="Said to every side. Choosing an adapter sets the one it was trained with.",
                            max_lines=4,
                            elem_id="eval-system",
                        )
                        self.top_p = gr.Slider(0.05, 1, value=0.95, step=0.05, label="Top p", elem_id="eval-top-p")
                        self.title = gr.Textbox(label="Title", placeholder="made of the choices", elem_id="eval-title")
            self.start = gr.Button("Start", variant="primary", size="sm", elem_id="eval-start")
        sides = [self.before, self.adapters]
        self.offered: list[Any] = [self.base, *sides, self.prompts, self.lines, self.scorer]
        self.brought = [self.lines, self.file, self.read]
        self.values: list[Any] = [*self.offered, self.samples, self.seed, self.temperature, self.tokens]
        self.values += [self.system, self.top_p, self.title, self.file]
        self._bind(sides)

    def offer(
        self,
        base: str | None,
        before: str | None,
        adapters: list[str] | None,
        prompts: str | None,
        lines: str | None,
        scorer: str | None,
    ) -> dict[Any, Any]:
        """Choices as they are now; what was chosen stays where it is still there."""
        panes = [pane for pane in self._services.compare.panes() if pane.run_id]
        bases = list(dict.fromkeys([*(pane.base for pane in panes), self._services.models.default_base()]))
        base = base if base in bases and (adapters or not panes) else bases[0]
        sets = [(f"{one.title} ({len(one.prompts)})", one.id) for one in prompt_sets()]
        # data with answers has its before/after table in Compare
        sets += [
            (Named(f"{one.title} ({one.n_test})"), OF_DATASET + one.id)
            for one in self._services.datasets.list()
            if one.n_prompts
        ]
        listed = [*sets, ("Prompts typed here", LINES), ("Prompts of a file of yours", FILE)]
        fresh = scorer is None
        chosen = prompts if not fresh and prompts in {value for _, value in listed} else listed[0][1]
        scorers = self._services.scoring.choices()
        return {
            self.base: gr.Dropdown(choices=bases, value=base),
            self.prompts: gr.Dropdown(choices=listed, value=chosen),
            self.lines: gr.Textbox(visible=chosen == LINES),
            self.scorer: gr.Dropdown(choices=scorers, value=scorer or scorers[0][1]),
            **self.sides(base, before, adapters),
        }

    def sides(self, base: str | None, before: str | None, adapters: list[str] | None) -> dict[Any, Any]:
        """Runs of this base, for before and after; the newest is after where none was chosen."""
        panes = [pane for pane in self._services.compare.panes() if pane.run_id and pane.base == base]
        runs = [(pane.label, pane.id) for pane in panes]
        ids = [value for _, value in runs]
        after = [name for name in adapters or () if name in ids] or ids[:1]
        return {
            self.before: gr.Dropdown(choices=[("The base", BASE), *runs], value=before if before in ids else BASE),
            self.adapters: gr.Dropdown(choices=runs, value=after),
        }

    def system_prompt_of(self, adapters: list[str] | None) -> str:
        """The system prompt that the first adapter chosen was trained with."""
        trained = {pane.id: pane.system_prompt for pane in self._services.compare.panes()}
        return next((trained[name] for name in adapters or () if trained.get(name)), "")

    def _bind(self, sides: list[Any]) -> None:
        self.base.input(guarded(self.sides), [self.base, *sides], sides, **QUIET)
        self.adapters.change(guarded(self.system_prompt_of), self.adapters, self.system, **QUIET)
        self.prompts.change(brought, self.prompts, self.brought, queue=False, **QUIET)
        self.file.change(guarded(read_line), self.file, self.read, **QUIET)


def brought(wanted: str | None) -> tuple[Any, Any, Any]:
    """The box for prompts typed, the one for a file, and the line below it, for this choice of prompts."""
    return gr.Textbox(visible=wanted == LINES), gr.File(visible=wanted == FILE), gr.HTML(visible=wanted == FILE)


def form_from(
    services: Services, base: str, before: str, adapters: Sequence[str] | None, prompts: str, lines: str | None,
    scorer: str | None, samples: float | None, seed: float | None, temperature: float, tokens: float,
    system: str | None, top_p: float, title: str | None, file: str | None = None,
) -> EvaluationForm:  # fmt: skip
    """The form as the page's widgets have it."""
    title_of, asked = _asked(services, prompts, lines or "", file)
    return EvaluationForm(
        adapters=tuple(adapters or ()),
        prompts=asked,
        prompt_set=title_of,
        scorer=(scorer or "").strip(),
        before=before,
        base=base,
        samples=int(samples or 0),
        sampling=Sampling(float(temperature), float(top_p), int(tokens), int(seed or 0)),
        system_prompt=system or "",
        title=title or "",
    )


def _asked(services: Services, chosen: str, lines: str, file: str | None) -> tuple[str, tuple[TestPrompt, ...]]:
    """What the prompts are called, and the prompts.

    Raises:
        InputError: a line cannot be a prompt, the file cannot be read; NotFoundError: there is no such set or dataset.
    """
    if chosen == FILE:
        if not file:
            raise InputError("There is no file of prompts yet; drop one below Prompts, or choose other prompts.")
        return uploaded(file)
    if chosen == LINES:
        return "own prompts", prompts_from_text(lines)
    if chosen.startswith(OF_DATASET):
        data = services.datasets.get(chosen.removeprefix(OF_DATASET))
        numbered = enumerate(data.test_prompts, 1)
        return data.title, tuple(TestPrompt(str(number), text, data.language) for number, text in numbered)
    chosen_set = next((one for one in prompt_sets() if one.id == chosen), None)
    if chosen_set is None:
        raise NotFoundError(f"There is no prompt set {str(chosen)[:60]!r}; choose one of the list.")
    return chosen_set.title, chosen_set.prompts
