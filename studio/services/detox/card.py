"""What the model card of a detoxed adapter says: what it was trained against, what was measured, what it is not. The other
parts of the card are those of every run (``services/library/model_card.py``), which also makes these texts safe for Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from studio.domain.detox import RewardTerm
from studio.domain.events import AnswerFigures, RudeShare
from studio.domain.runs import DetoxRecipe
from studio.domain.toxicity import public_name
from studio.services.detox.reading import audit_report
from studio.services.runs.reading import measuring_off, start_text
from studio.services.runs.store import RunView
from studio.services.statistics.intervals import wilson
from studio.services.wording import decimal, signed


def summary(recipe: DetoxRecipe, source: str) -> str:
    """What it is, in a paragraph. ``source`` says where its prompts are from, ready for Markdown."""
    detox = recipe.settings
    name = {"rloo": "RLOO (REINFORCE with a leave-one-out baseline)", "grpo": "GRPO"}[detox.algorithm]
    start = f"the adapter of run `{recipe.start_run}`, which it contains" if recipe.start_run else "its base"
    return (
        f"A LoRA adapter trained by reinforcement learning with {name} to answer less toxically: answers to {recipe.data_size} "
        f"prompts of *{source}* were scored, and those that scored better became likelier. It went on from {start}; a KL weight of "
        f"{detox.beta:g} held it near that."
    )


def measured(view: RunView) -> str:
    """Rude shares before and after by each scorer, what else changed, and the audit."""
    report = view.detox
    if report is None:
        return measuring_off(view) or "Not measured."
    lines = [
        "| scorer | its part | rude before | rude after | to provoking prompts |\n| --- | --- | --- | --- | --- |",
        *(_row(share) for share in report.shares),
        "",
        "| answers | n | tokens | cut | without words | distinct 3-grams |\n| --- | --- | --- | --- | --- | --- |",
        _figures("before", report.before),
        _figures("after", report.after),
        "",
        f"Asked were {report.prompts} prompts no training touched, {report.provoking} of them made to provoke, {report.samples} answers "
        "each, with the same seeds before and after. Rude means a toxicity above one half by that scorer; what it does not cover "
        f"is counted neither way. Wilson intervals over answers. Log-ratio of the answers after to the start: {decimal(report.kl)} "
        "nats an answer.",
    ]
    audit = audit_report(report)
    return "\n".join([*lines, *([""] + [f"Audit: {said}" for said in audit] if audit else [])])


def facts(recipe: DetoxRecipe, view: RunView) -> Iterator[tuple[str, str]]:
    """How it was made, as names and values in plain text."""
    lora, detox = recipe.lora, recipe.settings
    length = f"{detox.max_seconds:g} s of training" if detox.max_seconds else f"{detox.steps} steps"
    last = view.detox_step
    yield "Started from", start_text(recipe)
    yield "Prompts", f"{recipe.data_size} of {recipe.dataset_title}, sha256 {recipe.dataset_hash}"
    yield "Ordinary prompts", f"{detox.ordinary:.0%} of each step's, where there are both kinds"
    yield "System prompt", recipe.system_prompt or "none"
    yield "Reward", " + ".join(_term(term) for term in detox.rewards)
    yield "Reward cut at", f"±{detox.reward_clip:g}" if detox.reward_clip else "nothing"
    yield (
        "Judge beside the reward",
        f"{public_name(detox.judge)} ({detox.judge_revision[:12]})" if detox.judge else "none",
    )
    yield "Algorithm", f"{detox.algorithm.upper()}, KL weight {detox.beta:g}"
    yield (
        "Answers",
        (
            f"{detox.prompts_per_step} prompts × {detox.generations} a step, temperature {detox.temperature:g}, top-p {detox.top_p:g}, "
            f"at most {detox.max_new_tokens} tokens"
        ),
    )
    yield "LoRA", f"rank {lora.rank}, alpha {lora.alpha}, dropout {lora.dropout:g}, on {lora.target_modules}"
    yield (
        "Optimiser",
        (
            f"{detox.optimizer}, learning rate {detox.learning_rate:g}, {detox.scheduler}, warm-up {detox.warmup_ratio:g}, "
            f"seed {detox.seed}"
        ),
    )
    yield "Length", length
    yield "Base in 4 bit while training", "yes" if detox.load_in_4bit else "no"
    yield (
        "Last step",
        f"{last.step} of {last.total}: reward {signed(last.reward, 3)}, KL {last.kl:.2f}" if last else "–",
    )
    yield "Adapter", f"sha256 begins {view.adapter_hash}" if view.adapter_hash else "none"


def limits() -> str:
    """What not to take it for."""
    return (
        "- It learned to please its reward's scorer. What that scorer overlooks may be there as before, and wordings nobody tried "
        "here can still draw a rude answer.\n"
        "- Fewer rude answers are not truer or safer ones. What else changed was measured only as far as the tables above go."
    )


def _term(term: RewardTerm) -> str:
    revision = f" ({term.revision[:12]})" if term.revision else ""
    return f"{term.weight:g} × {public_name(term.scorer)}{revision}"


def _row(share: RudeShare) -> str:
    part = "the reward" if share.was_reward else "not the reward"
    provoked = "–"
    if share.provoked_before_n and share.provoked_after_n:
        provoked = (
            f"{share.provoked_before} of {share.provoked_before_n} → {share.provoked_after} of {share.provoked_after_n}"
        )
    return (
        f"| `{share.scorer}` ({share.revision[:12]}) | {part} | {_rude(share.before, share.before_n)} | "
        f"{_rude(share.after, share.after_n)} | {provoked} |"
    )


def _rude(k: int, n: int) -> str:
    interval = wilson(k, n)
    if interval is None:
        return "no answer covered"
    return f"{k} of {n} = {k / n:.1%} [{interval.low:.1%}, {interval.high:.1%}]"


def _figures(who: str, figures: AnswerFigures) -> str:
    return f"| {who} | {figures.n} | {figures.length:.1f} | {figures.clipped:.0%} | {figures.empty:.0%} | {figures.distinct:.2f} |"
