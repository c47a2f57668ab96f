"""*Lessons*: predict, set the form up, train, and see the measured share drop beside the prediction."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gradio as gr

from studio.domain.lessons import Lesson
from studio.domain.runs import DpoRecipe
from studio.services import Services
from studio.services.lessons import read_lessons
from studio.services.runs.store import RunView
from studio.ui.align.form import FormWidgets
from studio.ui.align.panel import AlignPanel
from studio.ui.page.guard import guarded
from studio.ui.page.languages import AS_WRITTEN
from studio.ui.page.shared import QUIET
from studio.ui.parts.html import Macros
from studio.ui.training.watch import Watch, moving

_HTML = Macros("align/lessons.html")


def build_lessons_box(services: Services, form: FormWidgets) -> Callable[[AlignPanel], None]:
    """Draw the closed box where there are lessons, and bind its events; what is returned binds those of the panel, once it is there."""
    lessons = {lesson.id: lesson for lesson in read_lessons(services.settings.data_dir / "lessons")}
    if not lessons:
        return lambda panel: None
    first = next(iter(lessons.values()))
    with gr.Accordion("Lessons", open=False, elem_id="lessons-box"):
        names = [(f"{number}. {lesson.title}", lesson.id) for number, lesson in enumerate(lessons.values(), 1)]
        choice = gr.Dropdown(names, value=first.id, label="Lesson", elem_id="lesson")
        text = gr.Markdown(first.task, elem_id="lesson-text", elem_classes=AS_WRITTEN)
        guess = gr.Slider(0, 1, value=0.5, step=0.05, label="Prediction", elem_id="lesson-guess")
        set_up = gr.Button("Keep prediction and set up", size="sm", elem_id="lesson-set-up")
        outcome = gr.HTML(elem_id="lesson-outcome", padding=False)
        after = gr.Markdown(elem_id="lesson-after", elem_classes=AS_WRITTEN)
    kept: Any = gr.State(None)

    def show(lesson_id: str) -> dict[Any, Any]:
        return {text: lessons[lesson_id].task, outcome: "", after: "", kept: None}

    def prepare(lesson_id: str, guessed: float) -> dict[Any, Any]:
        lesson = lessons[lesson_id]
        services.datasets.get(lesson.dataset_id)
        return {
            kept: (lesson_id, guessed, time.time()),
            outcome: _HTML.waiting(guessed),
            after: "",
            form.dataset: lesson.dataset_id,
            form.support_ratio: lesson.ratio,
            form.data_size: lesson.data_size,
        }

    def measured(state: Watch, prediction: tuple[str, float, float] | None) -> dict[Any, Any]:
        """The open run has come to something: where it is the one that the lesson was waiting for, the lesson ends."""
        run = state.run(services.runs)
        if prediction is None or run is None or moving(run):
            return {outcome: gr.skip()}
        lesson_id, guessed, since = prediction
        if run.recipe.created < since or not _of(run, lessons[lesson_id]):
            return {outcome: gr.skip()}
        shown = _HTML.outcome(guessed, run.adapter_share, run.base_share)
        return {outcome: shown, after: lessons[lesson_id].after, kept: None}

    card = [text, outcome, after, kept]
    choice.input(guarded(show), choice, card, **QUIET)
    filled = [kept, outcome, after, form.dataset, form.support_ratio, form.data_size]
    set_up.click(guarded(prepare), [choice, guess], filled, **QUIET)

    def bind(panel: AlignPanel) -> None:
        panel.outcome.change(guarded(measured), [panel.watch, kept], [outcome, after, kept], **QUIET)

    return bind


def _of(run: RunView, lesson: Lesson) -> bool:
    recipe = run.recipe
    return isinstance(recipe, DpoRecipe) and (recipe.dataset_id, recipe.support_ratio, recipe.data_size) == (
        lesson.dataset_id,
        lesson.ratio,
        lesson.data_size,
    )
