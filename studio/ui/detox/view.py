"""What the page shows of a detox run: whose settings, what changed in its answers. Pure functions; what a model said in such a
run stands under a cover."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from studio.domain.detox import DetoxSettings
from studio.domain.events import DetoxReport, RudeShare, TranscriptEvent
from studio.domain.runs import FINAL_STATES, DetoxRecipe
from studio.i18n import Named, _, said
from studio.services.runs.reading import measuring_off
from studio.services.runs.store import RunView
from studio.services.wording import NONE, ratio
from studio.ui.parts.html import Macros
from studio.ui.training.run_view import frame, header_html, history_line

_HTML = Macros("detox/view.html")

HEADERS = (
    "Name",
    "State",
    "Base",
    "Started from",
    "Reward",
    "KL weight",
    "Rude before → after",
    "Steps",
    "Started",
    "Run id",
)
TYPES = ("str", "str", "str", "str", "str", "number", "str", "str", "str", "str")
WIDTHS = ("190px", "100px", "110px", "160px", "190px", "100px", "186px", "70px", "140px", "290px")


def empty() -> Markup:
    """What stands there before the first run."""
    return _HTML.empty()


def header(run: RunView) -> Markup:
    """Who this run is: its own settings, never the form's."""
    r = DetoxRecipe.of(run.recipe)
    detox = r.settings
    facts = [
        ("base", r.base.id),
        ("started from", f"{r.start_run} · sha256 {r.start_hash[:12]}" if r.start_run else "the base"),
        ("prompts", Named(_("{data_size} of {dataset_title}", data_size=r.data_size, dataset_title=r.dataset_title))),
        ("reward", reward_text(detox)),
        ("judge", detox.judge or "none"),
        ("algorithm", detox.algorithm.upper()),
        ("KL weight", f"{detox.beta:g}"),
        ("a step", f"{detox.prompts_per_step} prompts × {detox.generations} answers"),
        ("length", f"{detox.max_seconds:g} s" if detox.max_seconds else f"{detox.steps} steps"),
        ("temperature", f"{detox.temperature:g}"),
        ("longest answer", f"{detox.max_new_tokens} tokens"),
        ("LoRA", f"r {r.lora.rank}, alpha {r.lora.alpha}"),
        ("lr", f"{detox.learning_rate:g}"),
        ("seed", str(detox.seed)),
    ]
    return header_html(run, facts)


def reward_text(detox: DetoxSettings) -> str:
    """What is rewarded: one scorer, or a weighted sum of several."""
    if len(detox.rewards) == 1 and detox.rewards[0].weight == 1:
        return detox.rewards[0].scorer
    return " + ".join(f"{term.weight:g} × {term.scorer}" for term in detox.rewards)


def transcripts(samples: Sequence[TranscriptEvent], step: int) -> Markup:
    """The fixed prompts' answers before the run beside those of the newest recorded step up to ``step``."""
    return _HTML.transcripts(*frame(samples, step)) if samples else _HTML.no_transcripts()


def result(run: RunView) -> str:
    """The share of rude answers before and after by each scorer, and what else the run changed."""
    if run.status.state not in FINAL_STATES:
        return ""
    report = run.detox
    if report is None:
        return _HTML.not_measured(measuring_off(run)) if run.status.state in ("done", "stopped") else ""
    judge = report.judged
    shown = judge or next(iter(report.shares), None)
    title = "No scorer here knows a toxicity, so no share of rude answers was measured"
    if shown is not None:
        by = "by a scorer that was not the reward" if judge else "by the reward itself, which proves little"
        title = f"Rude answers: {share_text(shown)}, {by}"
    scorers = [term.scorer for term in DetoxRecipe.of(run.recipe).settings.rewards]
    rewards = list(zip(scorers, report.rewards_before, report.rewards_after, strict=False))
    return _HTML.result(title, report, rewards, run.base_share, run.adapter_share)


def audit(notes: Sequence[str]) -> str:
    """What a look back at curves and measure finds, in amber; nothing where it finds nothing."""
    given = [note for note in notes if note]
    return _HTML.audit(given) if given else ""


def rude_text(report: DetoxReport | None) -> str:
    """The verdict for a line of the history: by the scorer that was not the reward where there was one."""
    return share_text(report.judged or report.shares[0]) if report and report.shares else NONE


def share_text(share: RudeShare) -> str:
    """Before and after in few words."""
    return f"{ratio(share.before, share.before_n)} → {ratio(share.after, share.after_n)}"


def history_row(run: RunView) -> list[object]:
    """One line of the history table."""
    recipe = DetoxRecipe.of(run.recipe)
    reward, beta = reward_text(recipe.settings), recipe.settings.beta
    return history_line(run, recipe.start_run or said("the base"), reward, beta, rude_text(run.detox))
