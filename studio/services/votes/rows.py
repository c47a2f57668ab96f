"""What leaves the studio of rating, as plain rows: votes, pairs, preferences. Pure; files are ``export``'s business."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from studio.domain.data import Message, PreferenceDataset, PreferencePair
from studio.domain.votes import AnswerPair, Ballots, Choice, Decision, Origin, Rater, Vote
from studio.services.hub import is_hub_id

#: A rater's pseudonym.
JUDGE = re.compile(r"judge-[0-9a-f]{16}")

#: Column -> type, in order: ``text``, ``int``, ``float``, ``bool``, ``chat`` (a list of role and content) or ``origin``.
#: Names as in the arena's published votes where it has them; ``model_a`` stood on the left, as there.
VOTE_COLUMNS: Mapping[str, str] = {
    "question_id": "text",
    "model_a": "text",
    "model_b": "text",
    "winner": "text",
    "judge": "text",
    "turn": "int",
    "anony": "bool",
    "conversation_a": "chat",
    "conversation_b": "chat",
    "tstamp": "float",
    "choice": "text",
    "left": "int",
    "skipped": "bool",
    "seconds": "float",
    "created": "float",
    "changes": "int",
    "calibration": "bool",
    "player_a": "text",
    "player_b": "text",
    "reasons": "text",
}
PAIR_COLUMNS: Mapping[str, str] = {
    "id": "text",
    "prompt": "text",
    "history": "chat",
    "system_prompt": "text",
    "answer_1": "text",
    "answer_2": "text",
    "winner": "text",
    "decision": "text",
    "votes": "int",
    "for_1": "int",
    "for_2": "int",
    "ties": "int",
    "both_bad": "int",
    "skips": "int",
    "calibration": "bool",
    "retired": "bool",
    "source": "text",
    "preferred": "text",
    "created": "float",
    "origin_1": "origin",
    "origin_2": "origin",
}
PREFERENCE_COLUMNS: Mapping[str, str] = {
    "prompt": "chat",
    "chosen": "chat",
    "rejected": "chat",
    "pair_id": "text",
    "votes_chosen": "int",
    "votes_rejected": "int",
    "votes": "int",
    "model_chosen": "text",
    "model_rejected": "text",
}
#: The columns of the votes as CSV: those of the Parquet file, conversations as plain text.
CSV_COLUMNS = (
    *(name for name in VOTE_COLUMNS if not name.startswith("conversation")),
    "prompt",
    "answer_a",
    "answer_b",
)


def judge_of(rater: Rater) -> str:
    """The pseudonym of a rater: the same in every export, and a rater that came from an export keeps the one they have."""
    if JUDGE.fullmatch(rater.id):
        return rater.id
    return f"judge-{hashlib.sha256(f'studio judge {rater.id}'.encode()).hexdigest()[:16]}"


def vote_rows(ballots: Ballots, names: bool = False) -> list[dict[str, Any]]:
    """One row a vote, skips included (``winner`` null, ``skipped`` true), in order of voting. ``names`` adds ``judge_name``.

    ``left`` says which answer of the pair (1 or 2) is A; ``choice`` is the vote in terms of answers 1 and 2.
    """
    pairs = {pair.id: pair for pair in ballots.pairs}
    raters = {rater.id: rater for rater in ballots.raters}
    ordered = sorted(ballots.votes, key=lambda vote: (vote.created, vote.pair_id, vote.rater_id))
    return [_vote_row(vote, pairs[vote.pair_id], raters[vote.rater_id], names) for vote in ordered]


def csv_rows(ballots: Ballots, names: bool = False) -> list[dict[str, Any]]:
    """The votes with :data:`CSV_COLUMNS` (and ``judge_name``)."""
    prompts = {pair.id: pair.prompt for pair in ballots.pairs}
    rows = vote_rows(ballots, names)
    for row in rows:
        row["prompt"] = prompts[row["question_id"]]
        for side in "ab":
            row[f"answer_{side}"] = row.pop(f"conversation_{side}")[-1]["content"]
    return rows


def pair_rows(decisions: Sequence[Decision], min_votes: int, whole_origins: bool = False) -> list[dict[str, Any]]:
    """One row a pair, ties and undecided ones kept. Paths of this machine are cut to their last part unless
    ``whole_origins``."""
    return [_pair_row(decision, min_votes, whole_origins) for decision in decisions]


def preference_rows(pairs: Sequence[PreferencePair], decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """TRL's conversational preference rows, prompt explicit, of decided pairs (``support`` is the winner)."""
    by_id = {decision.pair.id: decision for decision in decisions}
    return [_preference_row(pair, by_id[pair.id]) for pair in pairs]


def votes_hash(votes: Iterable[Vote], raters: Iterable[Rater]) -> str:
    """sha256 (hex) of who chose what for which pair: what a run on the votes records."""
    judges = {rater.id: judge_of(rater) for rater in raters}
    lines = sorted(f"{vote.pair_id} {judges[vote.rater_id]} {vote.choice}" for vote in votes)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def used_by(dataset: PreferenceDataset) -> frozenset[tuple[str, str]]:
    """(pair id, winning answer) of everything in a dataset made of votes."""
    return frozenset((pair.id, pair.support) for pair in (*dataset.pairs, *dataset.heldout))


def chat(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as plain data."""
    return [{"role": message.role, "content": message.content} for message in messages]


def conversation(pair: AnswerPair) -> tuple[Message, ...]:
    """The turns before the answer, the system prompt first where there is one."""
    system = (Message("system", pair.system_prompt),) if pair.system_prompt.strip() else ()
    return (*system, *pair.history, Message("user", pair.prompt))


def decision_of(decision: Decision, min_votes: int) -> str:
    """``decided``, ``no majority`` or ``too few votes``."""
    if decision.winner is not None:
        return "decided"
    return "too few votes" if decision.votes < min_votes else "no majority"


def winner_of(choice: Choice, left: int) -> str | None:
    """A vote in the arena's words, A on the left; None for a skip."""
    if choice in ("1", "2"):
        return "model_a" if choice == str(left) else "model_b"
    return {"tie": "tie", "both_bad": "tie (bothbad)"}.get(choice)


def _vote_row(vote: Vote, pair: AnswerPair, rater: Rater, names: bool) -> dict[str, Any]:
    answers, origins = (pair.answer_1, pair.answer_2), (pair.origin_1, pair.origin_2)
    a, b = (0, 1) if vote.left == 1 else (1, 0)
    turns = conversation(pair)
    values = vars(vote) | {
        "question_id": pair.id,
        "model_a": origins[a].label,
        "model_b": origins[b].label,
        "winner": winner_of(vote.choice, vote.left),
        "judge": judge_of(rater),
        "turn": sum(message.role == "user" for message in turns),
        "anony": True,
        "conversation_a": chat((*turns, Message("assistant", answers[a]))),
        "conversation_b": chat((*turns, Message("assistant", answers[b]))),
        "tstamp": vote.updated,
        "skipped": vote.choice == "skip",
        "seconds": vote.seconds if math.isfinite(vote.seconds) else None,
        "calibration": pair.calibration,
        "player_a": _portable(origins[a]).player,
        "player_b": _portable(origins[b]).player,
        "reasons": ", ".join(vote.reasons),
    }
    return {name: values[name] for name in VOTE_COLUMNS} | ({"judge_name": rater.name} if names else {})


def _pair_row(decision: Decision, min_votes: int, whole_origins: bool) -> dict[str, Any]:
    pair = decision.pair
    values = {
        **vars(pair),
        **vars(decision),
        "history": chat(pair.history),
        "winner": f"answer_{decision.winner}" if decision.winner else None,
        "decision": decision_of(decision, min_votes),
        "votes": decision.votes,
        "origin_1": _origin_row(pair.origin_1, whole_origins),
        "origin_2": _origin_row(pair.origin_2, whole_origins),
    }
    return {name: values[name] for name in PAIR_COLUMNS}


def _preference_row(pair: PreferencePair, decision: Decision) -> dict[str, Any]:
    one, two = (decision.for_1, decision.pair.origin_1.label), (decision.for_2, decision.pair.origin_2.label)
    won, lost = (one, two) if decision.winner == "1" else (two, one)
    return {
        "prompt": chat((*pair.history, Message("user", pair.prompt))),
        "chosen": chat((Message("assistant", pair.support),)),
        "rejected": chat((Message("assistant", pair.oppose),)),
        "pair_id": pair.id,
        "votes_chosen": won[0],
        "votes_rejected": lost[0],
        "votes": decision.votes,
        "model_chosen": won[1],
        "model_rejected": lost[1],
    }


def _origin_row(origin: Origin, whole: bool) -> dict[str, Any]:
    fields = dataclasses.asdict(origin if whole else _portable(origin))
    # The ratio of an uploaded adapter is not known (NaN), and JSON has no such number.
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in fields.items()}


def _portable(origin: Origin) -> Origin:
    """A base model in a folder of this machine keeps its name; its fingerprint tells it elsewhere."""
    if not origin.model or origin.model == "embedded" or is_hub_id(origin.model):
        return origin
    return dataclasses.replace(origin, model=Path(origin.model).name)
