"""What the page shows of one run: header, progress, result, film-strip, and its line of the history. Pure functions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TypeVar

from markupsafe import Markup

from studio.domain.events import SampleEvent, StepEvent, TranscriptEvent
from studio.domain.runs import FINAL_STATES, AlignRecipe, DpoRecipe, KtoRecipe
from studio.domain.settings import AnswerSettings
from studio.i18n import Named, _, said
from studio.services.runs.outlook import offered, seconds_left
from studio.services.runs.reading import measuring_off, start_text, unchanged
from studio.services.runs.store import RunView
from studio.services.wording import NONE, bounds, counted, duration
from studio.ui.parts.html import Macros

_HTML = Macros("training/run_view.html")
Answered = TypeVar("Answered", SampleEvent, TranscriptEvent)

HEADERS = ("Name", "State", "Base", "Data", "ratio", "n", "Measured support", "Steps", "Started", "Run id")
TYPES = ("str", "str", "str", "str", "number", "number", "str", "str", "str", "str")
WIDTHS = ("190px", "100px", "110px", "190px", "64px", "54px", "190px", "70px", "140px", "270px")


def empty() -> Markup:
    """What stands there before the first run."""
    return _HTML.empty()


def header(run: RunView) -> Markup:
    """Who this run is: its own settings, never the form's."""
    r = run.recipe
    layers = "" if r.lora.layers.strip() == "all" else f", layers {r.lora.layers}"
    facts = [("base", r.base.id), ("LoRA", f"r {r.lora.rank}, alpha {r.lora.alpha}{layers}")]
    if not isinstance(r, DpoRecipe | KtoRecipe):
        return header_html(
            run, [*facts, ("training", "unknown: the adapter was uploaded without a record")], stage=True
        )
    how = r.settings
    return header_html(
        run,
        [
            facts[0],
            ("started from", start_text(r) if r.start_run else ""),
            *(_pair_facts(r) if isinstance(r, DpoRecipe) else _thumb_facts(r)),
            facts[1],
            ("lr", f"{how.learning_rate:g}"),
            ("length", f"{how.max_seconds:g} s" if how.max_seconds else f"{how.epochs:g} epochs"),
            ("batch", f"{how.batch_size} × {how.gradient_accumulation}"),
            ("seed", str(how.seed)),
        ],
        stage=run.has_adapter or run.status.state not in FINAL_STATES,
    )


def _pair_facts(r: DpoRecipe) -> list[tuple[str, str]]:
    dpo = r.settings
    return [
        ("data", Named(_("{dataset_title}, {data_size} pairs", dataset_title=r.dataset_title, data_size=r.data_size))),
        ("support_ratio", f"{r.support_ratio:g}"),
        ("labels flipped", f"{dpo.flip_share:.0%}" if dpo.flip_share else ""),
        ("loss", f"{dpo.loss_type}, {_beta(dpo)}"),
        ("answers", "prefixed with their stance" if dpo.stance_prefix else ""),
    ]


def _thumb_facts(r: KtoRecipe) -> list[tuple[str, str]]:
    up, kto = sum(r.rows_liked), r.settings
    data = _(
        "{dataset_title}, {data_size}: {up} up, {data_size2} down",
        dataset_title=r.dataset_title,
        data_size=said(counted(r.data_size, "rated answer")),
        up=up,
        data_size2=r.data_size - up,
    )
    return [
        ("data", Named(data)),
        ("loss", f"KTO, {_beta(kto)}"),
        ("weights", f"thumbs up {kto.desirable_weight:g}, down {kto.undesirable_weight:g}"),
    ]


def _beta(how: AnswerSettings) -> str:
    terms = [f"beta {how.beta:g}"]
    if how.sft_weight:
        terms.append(_("likelihood term {weight}", weight=f"{how.sft_weight:g}"))
    if how.replay_weight:
        terms.append(_("replay {weight}", weight=f"{how.replay_weight:g}"))
    return ", ".join(terms)


def header_html(run: RunView, facts: Sequence[tuple[str, str]], stage: bool = False) -> Markup:
    """A run's title, state and id over its settings, ``facts`` as (name, value); those without a value are left out. ``stage``: with the
    way to the stage. A DPO or KTO run can be saved as a page."""
    last = run.detox_step or run.last_step
    if run.status.state == "done" and last:
        facts = [*facts, ("training took", f"{last.elapsed:.1f} s")]
    return _HTML.header(run, facts, stage, isinstance(run.recipe, AlignRecipe))


def progress(run: RunView, ahead: int = 0) -> str:
    """Bar, step count, time left, speed; for a queued run how many come before it (``ahead``); for an ended run its
    message. Of a run that is done as it should be nothing: its result stands there."""
    status, last, settings = run.status, run.detox_step or run.last_step, run.recipe.settings
    alert = unchanged(run)
    uneventful = status.state == "done" and not status.message and not alert
    if settings is None or uneventful:  # an imported adapter has no settings
        return ""
    total = (last.total if last else status.total) or 0
    step = last.step if last else status.step
    share = min(1.0, step / total) if total else 0.0
    if settings.max_seconds and last:
        share = max(share, min(1.0, last.elapsed / settings.max_seconds))
    figures = []
    if total:
        figures.append(f"step {step} of {total}")
    if last:
        figures.append(f"{last.elapsed:.1f} s")
        if (left := seconds_left(run)) is not None:
            figures.append(f"about {duration(left)} left")
    if faster := offered(run):
        figures.append(f"faster: {faster.sentence}")
    if isinstance(last, StepEvent):
        figures.append(f"{last.tokens_per_second:,.0f} tokens/s")
    if status.restarts:
        figures.append(f"{counted(status.restarts, 'restart')} on the cluster")
    if status.state == "queued":
        figures.append(f"{counted(ahead, 'run')} before this one" if ahead else "next in the queue")
        figures.append(f"waiting since {_clock('%H:%M:%S', status.updated or run.recipe.created)}")
    return _HTML.progress(status, share, figures, alert)


def bar_line(run: RunView) -> Markup:
    """A run in one line: its name and state, how far it is, and once measured what it came to."""
    return _HTML.bar_line(run.title, run.status, *how_far(run))


def how_far(run: RunView) -> tuple[float, list[str]]:
    """The share of its steps that a run has taken; its step and the time left, or what it came to."""
    status, last = run.status, run.detox_step or run.last_step
    figures = []
    if status.state in FINAL_STATES:
        measured = run.adapter_share
        if measured is not None and measured.n:
            figures.append(f"support share {measured.share:.0%}, n {measured.n}")
        return 1.0, figures
    total = (last.total if last else status.total) or 0
    step = last.step if last else status.step
    if total and not (status.message and step >= total):  # behind the last step the message says what goes on
        figures.append(f"step {step} of {total}")
    if (left := seconds_left(run)) is not None:
        figures.append(f"about {duration(left)} left")
    return min(1.0, step / total) if total else 0.0, figures or [status.message]


def result(run: RunView) -> str:
    """Requested ratio (of a DPO run) beside the measured support share, once there is one."""
    if run.status.state not in FINAL_STATES or not isinstance(run.recipe, DpoRecipe | KtoRecipe):
        return ""
    if run.adapter_share is None:
        return "" if run.status.state in ("failed", "interrupted") else _HTML.not_measured(measuring_off(run))
    dpo = run.recipe if isinstance(run.recipe, DpoRecipe) else None
    return _HTML.result(
        run.adapter_share,
        run.base_share,
        dpo.support_ratio if dpo else None,
        dpo is not None and dpo.dataset_kind == "sides",
        run.probe,
        run.start_name,
        run.vector_shares,
    )


def film_strip(samples: Sequence[SampleEvent], step: int) -> Markup:
    """The fixed prompts' greedy answers: the base's beside those of the newest recorded step up to ``step``."""
    return _HTML.film_strip(*frame(samples, step)) if samples else _HTML.no_film()


def frame(samples: Sequence[Answered], step: int) -> tuple[int, int, list[tuple[Answered | None, Answered]]]:
    """The first step that is recorded and the newest one up to ``step``, and what each prompt got at both."""
    first = min(s.step for s in samples)
    at = max((s.step for s in samples if s.step <= step), default=first)
    before = {s.prompt: s for s in samples if s.step == first}
    return first, at, [(before.get(s.prompt), s) for s in samples if s.step == at]


def log(tail: str) -> Markup:
    """The last lines of the log."""
    return _HTML.log(tail)


def history_row(run: RunView) -> list[object]:
    """One line of the history table."""
    share, recipe = run.adapter_share, run.recipe
    return history_line(
        run,
        recipe.dataset_title,
        recipe.support_ratio if isinstance(recipe, DpoRecipe) else None,
        recipe.data_size if isinstance(recipe, DpoRecipe | KtoRecipe) else None,
        f"{share.share:.0%} {bounds(share.low, share.high)} n {share.n}" if share and share.n else NONE,
    )


def history_line(run: RunView, *columns: object) -> list[object]:
    """A line of a history table: ``columns`` between what every method's table has."""
    last = run.detox_step or run.last_step
    steps = f"{last.step}/{last.total}" if last else NONE
    return [run.title, said(run.status.state), run.recipe.base.id, *columns, steps, started(run), run.run_id]


def started(run: RunView) -> str:
    """When a run was asked for, by the server's clock."""
    return _clock("%Y-%m-%d %H:%M", run.recipe.created)


def _clock(form: str, when: float) -> str:
    return time.strftime(form, time.localtime(when))
