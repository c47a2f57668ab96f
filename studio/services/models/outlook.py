"""How long the run of a form will be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.services.recipes.form import TrainingForm
from studio.services.runs.outlook import Outlook, outlook
from studio.services.runs.queue import RunQueue
from studio.services.runs.store import RunStore

if TYPE_CHECKING:
    from studio.services.models.service import ModelService


def form_outlook(form: TrainingForm[Any], rows: int, runs: RunStore, models: ModelService, queue: RunQueue) -> Outlook:
    """As :func:`studio.services.runs.outlook.outlook`, for a form and its ``rows`` training pairs. A base that is not known (what is
    wrong stands below its box) has no earlier runs."""
    try:
        base = models.info(form.base).id
    except StudioError:
        base = form.base
    return outlook(form.settings, form.lora, rows, base, form.preset, runs.list(), queue.lent)
