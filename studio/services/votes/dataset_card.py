"""The dataset card of an export of votes: what was asked, by whom it was answered, how far they agree, what is left out."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from studio.domain.votes import AnswerPair, Ballots, Decision, Origin
from studio.services.statistics.agreement import measure_agreement
from studio.services.votes.dataset import LeftOut
from studio.services.votes.statistics import measure_sides

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
#: Kinds of sampling and models listed one by one; the rest is counted.
_LISTED = 12


@dataclass(frozen=True)
class CardFacts:
    """What a card tells besides the votes themselves. ``files`` maps each config to its splits and their files (path below
    the folder); ``train`` and ``test`` count preference rows."""

    files: Mapping[str, Mapping[str, str]]
    train: int
    test: int
    left_out: LeftOut
    licence: str = ""
    names: bool = False


def dataset_card(
    ballots: Ballots, decisions: Sequence[Decision], facts: CardFacts, title: str = "Votes on answers"
) -> str:
    """The card as Markdown with the Hub's YAML head; text from people and models is escaped."""
    parts = [
        _head(ballots, facts, title),
        f"# {escape(' '.join(title.split()))}",
        "Votes of people who compared two answers to the same question, blind, collected with Alignment Studio.",
        "## Figures",
        _list(_figures(ballots, decisions)),
        "## What is in it",
        _list(_contents(facts)),
        "## What is left out",
        _list(_omitted(ballots, facts)),
        "## Where the answers come from",
        _list(_models(ballots.pairs)),
        "How they were sampled:",
        _list(_sampling(ballots.pairs)),
        "## Guidelines the raters were given",
        _fenced(ballots.rules.guidelines.strip() or "(none)"),
        "## How votes were collected",
        _how(ballots),
        "## Licence",
        _licence(facts.licence),
    ]
    return "\n\n".join(parts) + "\n"


def _head(ballots: Ballots, facts: CardFacts, title: str) -> str:
    size = next((name for most, name in _SIZES if len(ballots.votes) < most), "n>1M")
    lines = ["---", f"license: {json.dumps(facts.licence or 'unknown')}", f"pretty_name: {json.dumps(title)}"]
    lines += [
        "tags:",
        "- preference",
        "- human-feedback",
        "- alignment-studio",
        "size_categories:",
        f"- {size}",
        "configs:",
    ]
    default = "preference" if "preference" in facts.files else "votes"
    for config, splits in facts.files.items():
        lines += [f"- config_name: {config}", *(["  default: true"] if config == default else []), "  data_files:"]
        lines += [f"  - split: {split}\n    path: {path}" for split, path in splits.items()]
    return "\n".join([*lines, "---"])


def _figures(ballots: Ballots, decisions: Sequence[Decision]) -> Iterable[tuple[str, str]]:
    opinions = [vote for vote in ballots.votes if vote.choice != "skip"]
    n, skips = len(opinions), len(ballots.votes) - len(opinions)
    yield "Raters", f"{len({vote.rater_id for vote in opinions})}"
    yield "Votes", f"{n}, and {skips} skip{'s' * (skips != 1)} (no opinion)"
    per_pair = sorted(decision.votes for decision in decisions)
    if per_pair:
        yield (
            "Overlap",
            f"{sum(per_pair) / len(per_pair):.2f} votes per pair on average (from {per_pair[0]} to {per_pair[-1]}, "
            f"{len(per_pair)} pairs); {ballots.min_votes} wanted",
        )
    agreement = measure_agreement(ballots.votes)
    if agreement.alpha is None:
        yield "Agreement", agreement.reading
    else:
        between = "too few pairs for an interval"
        if agreement.interval:
            between = f"95 % by resampling pairs [{agreement.interval.low:.2f}, {agreement.interval.high:.2f}]"
        yield (
            "Agreement",
            f"Krippendorff's alpha {agreement.alpha:.3f} (nominal; {between}; {agreement.pairs} pairs with two or more votes, "
            f"{agreement.votes} votes, {agreement.raters} raters). {agreement.reading}",
        )
    if agreement.raw is not None:
        yield (
            "Raw agreement",
            f"{agreement.raw:.1%} of {agreement.couples} couples of votes on the same pair say the same",
        )
    if n:
        ties, bad = (sum(vote.choice == choice for vote in opinions) for choice in ("tie", "both_bad"))
        yield "Tie rate", f"{ties / n:.1%} ties and {bad / n:.1%} “both bad” of {n} votes"
    sides = measure_sides(opinions)
    if sides.share is not None and sides.interval is not None:
        yield (
            "Left side",
            f"won {sides.share:.1%} [{sides.interval.low:.1%}, {sides.interval.high:.1%}] of {sides.votes} votes for one side"
            + ("; that is off one half, so position played a part" if sides.off else ""),
        )
    decided = sum(decision.winner is not None for decision in decisions)
    yield (
        "Decided",
        f"{decided} of {len(decisions)} pairs, by strict majority of at least {ballots.min_votes} votes",
    )


def _contents(facts: CardFacts) -> Iterable[tuple[str, str]]:
    judge = "with the raters' names (`judge_name`)" if facts.names else "raters under pseudonyms, never by name"
    yield (
        "`votes`",
        "one row a vote in the columns of the LMArena sets; `model_a` stood on the left. `winner` is `model_a`, `model_b`, "
        f"`tie`, `tie (bothbad)` or null for a skip; {judge}; `tstamp` in Unix seconds, `seconds` the time the vote took. "
        "`votes/votes.csv` holds the same for spreadsheets, formulas defused by an apostrophe",
    )
    yield (
        "`pairs`",
        "one row a pair with all counts, undecided ones and ties kept, and where each answer came from; with `votes` "
        "it rebuilds the store (`python -m studio import-votes`)",
    )
    if "preference" in facts.files:
        yield (
            "`preference`",
            f"decided pairs as TRL conversational preferences with an explicit prompt: {facts.train} train, {facts.test} test. "
            "No normalised prompt stands in both",
        )


def _omitted(ballots: Ballots, facts: CardFacts) -> Iterable[tuple[str, str]]:
    left = facts.left_out
    yield "From `preference`", f"{left.total} of {len(ballots.pairs)} pairs: {left}"
    retired = sum(pair.retired for pair in ballots.pairs)
    yield "From `votes` and `pairs`", f"nothing ({retired} pairs are no longer shown to raters; they are kept here)"


def _models(pairs: Sequence[AnswerPair]) -> Iterable[tuple[str, str]]:
    labels = (" ".join(origin.label.split()) for pair in pairs for origin in (pair.origin_1, pair.origin_2))
    return _most_common(Counter(escape(label) or "unknown" for label in labels), "other models", "")


def _sampling(pairs: Sequence[AnswerPair]) -> Iterable[tuple[str, str]]:
    ways = Counter(_way(origin) for pair in pairs for origin in (pair.origin_1, pair.origin_2))
    return _most_common(ways, "otherwise", ", see `origin_1`, `origin_2`")


def _most_common(counts: Counter[str], others: str, where: str) -> Iterable[tuple[str, str]]:
    listed = counts.most_common(_LISTED)
    yield from ((name, f"{count} answers") for name, count in listed)
    if len(counts) > _LISTED:
        yield others, f"{counts.total() - sum(count for _, count in listed)} answers{where}"


def _way(origin: Origin) -> str:
    words = (
        ("temperature", origin.temperature),
        ("top-p", origin.top_p),
        ("at most tokens", origin.max_new_tokens),
    )
    known = [f"{name} {value:g}" for name, value in words if value is not None]
    return ", ".join(known) or "unknown (imported)"


def _how(ballots: Ballots) -> str:
    shared = sum(pair.calibration for pair in ballots.pairs)
    times = [vote.created for vote in ballots.votes]
    when = f" Votes were cast from {_date(min(times))} to {_date(max(times))}." if times else ""
    return (
        "Two answers stood side by side without names, sides drawn anew for every rater and recorded. A rater could choose an "
        "answer, call it a tie or both bad, or skip; changing one's mind replaced the vote (`changes` counts how often). Pairs "
        f"with fewest votes came first; {shared} calibration pairs were shown to everybody.{when}"
    )


def _licence(licence: str) -> str:
    if licence:
        return f"`{licence}`, as stated by whoever made this export. The answers may also fall under the terms of their models."
    return (
        "Not stated. Whoever publishes this should state one (`license` above), and ask the raters; the answers may also fall "
        "under the terms of the models that gave them."
    )


def _list(facts: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- **{name}:** {text}" for name, text in facts) or "- none"


def _fenced(text: str) -> str:
    """As it stands, between fences longer than any in it, so that it can end neither the block nor the card's head."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}markdown\n{text}\n{fence}"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
