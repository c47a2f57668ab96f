"""A run's own measure once more, of whatever answers in a pane: the same prompts, draws a prompt, judge and sampling, through the chat
engine."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from studio.domain.chat import Blend
from studio.domain.data import Message, PreferenceDataset
from studio.domain.events import SupportShare
from studio.domain.runs import align_recipe
from studio.services.compare.panes import PaneChat, row_seed
from studio.services.compare.service import TABLE_ROWS, CompareService
from studio.services.runs.store import RunView


def measured_as(
    compare: CompareService,
    run: RunView,
    data: PreferenceDataset,
    pane_id: str,
    strength: float = 1.0,
    blend: Blend | None = None,
    stop: threading.Event | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> SupportShare | None:
    """The support share of the pane's answers, measured as the DPO or KTO run ``run`` was, whose data is ``data``; None once ``stop`` is set.
    ``tell`` hears of answers done and wanted.

    Raises:
        RecipeError: the run is of another method. StudioError: as :meth:`CompareService.stream`.
    """
    from studio.ml.dpo.observer import ANSWER_TOKENS
    from studio.ml.measure.stance import StanceJudge, judged_share

    recipe = align_recipe(run.recipe)
    count = recipe.settings.measured_answers or 32
    prompts = data.test_prompts or tuple(p.prompt for p in data.heldout)
    prompts = prompts or tuple(row.prompt for row in data.rated) or tuple(pair.prompt for pair in data.pairs)
    prompts = prompts[:count]
    system = (Message("system", recipe.system_prompt),) if recipe.system_prompt else ()
    asked = [prompt for prompt in prompts for _ in range(max(1, round(count / len(prompts))))]
    seed, sampling = recipe.settings.seed, replace(recipe.sampling, max_new_tokens=ANSWER_TOKENS)
    chats = [
        PaneChat(pane_id, (*system, Message("user", prompt)), row_seed(seed, place), strength, blend)
        for place, prompt in enumerate(asked)
    ]
    cancel = stop or threading.Event()
    answers: list[str] = []
    for start in range(0, len(chats), TABLE_ROWS):
        tell(len(answers), len(chats))
        last = deque(compare.stream(chats[start : start + TABLE_ROWS], sampling, cancel), maxlen=1).pop()
        if cancel.is_set():
            return None
        answers += [update.text for update in last]
    return judged_share(answers, StanceJudge.fit((*data.pairs, *data.heldout)))
