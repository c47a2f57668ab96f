"""The work of an evaluation, a few questions at a time: answers of both sides in one batch, then their scores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence

from studio.domain.chat import PaneUpdate
from studio.domain.data import Message
from studio.domain.evaluations import EvaluationRow, EvaluationSpec
from studio.services.compare.panes import PaneChat, row_seed
from studio.services.compare.service import TABLE_ROWS, CompareService
from studio.services.scoring.service import ScoringService

#: A question to answer and the number of the sample: its place among the prompts first.
Asked = tuple[int, int]


def parts_left(spec: EvaluationSpec, there: Collection[tuple[str, str, int]]) -> Iterator[list[Asked]]:
    """What is still to be answered, in portions of one batch each. First samples of all prompts come first, so that an
    evaluation that is ended early has asked about everything."""
    left = [
        (place, sample)
        for sample in range(spec.samples)
        for place, prompt in enumerate(spec.prompts)
        if any((adapter, prompt.id, sample) not in there for adapter in spec.adapters)
    ]
    size = max(1, TABLE_ROWS // (1 + len(spec.adapters)))
    for start in range(0, len(left), size):
        yield left[start : start + size]


def seed_of(spec: EvaluationSpec, place: int, sample: int) -> int:
    """The seed of a sample of the prompt at ``place``: the same for every side, another one for every prompt and sample. The
    first sample has that of Compare's table of test prompts."""
    return row_seed(spec.sampling.seed + sample, place)


def make_rows(
    spec: EvaluationSpec,
    part: Sequence[Asked],
    compare: CompareService,
    scoring: ScoringService,
    stop: threading.Event,
    alive: Callable[[str], None],
) -> list[EvaluationRow]:
    """Answer and score ``part``; no rows where ``stop`` was set before the answers were done.

    Args:
        alive: called now and then with what it waits for (mostly nothing).

    Raises:
        StudioError: a model or the scorer cannot be used, or gives no numbers.
    """
    panes = (spec.before, *spec.adapters)
    system = (Message("system", spec.system_prompt),) if spec.system_prompt else ()
    chats = [
        PaneChat(pane, (*system, Message("user", spec.prompts[place].text.strip())), seed_of(spec, place, sample))
        for place, sample in part
        for pane in panes
    ]
    updates: list[PaneUpdate] = []
    for updates in compare.stream(chats, spec.sampling, stop, spec.base.id):
        alive(updates[0].note if not any(update.tokens for update in updates) else "")
    if stop.is_set():
        return []
    alive("Scoring the answers.")
    prompts = [spec.prompts[place].text for place, _ in part for _ in panes]
    answers = [_storable(update.text) for update in updates]
    scores = scoring.score(spec.scorer.name, answers, prompts).scores
    rows = []
    for number, (place, sample) in enumerate(part):
        first = number * len(panes)
        for offset, adapter in enumerate(spec.adapters, first + 1):
            rows.append(
                EvaluationRow(
                    adapter=adapter,
                    prompt_id=spec.prompts[place].id,
                    sample=sample,
                    query=spec.prompts[place].text,
                    response_before=answers[first],
                    response_after=answers[offset],
                    before=scores[first],
                    after=scores[offset],
                )
            )
    return rows


def _storable(answer: str) -> str:
    """The answer without what PostgreSQL cannot store: NUL, and half characters."""
    return answer.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
