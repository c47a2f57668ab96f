"""Records of arenas as pairs and votes: one a vote, the two conversations and the winner in it. FastChat's logs, the published
tables of LMSYS, and the votes that this studio exports are such."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from studio.domain.data import Message
from studio.domain.votes import Choice, NewPair, Origin
from studio.errors import DatasetError
from studio.services.data.annotated.records import ReadRecords, ReadVote, answered, asked, left_out, slug, user_id
from studio.services.data.conversations import messages_of
from studio.services.data.formats import RawRow
from studio.services.data.shapes.fields import Fields

NAME = "votes of an arena"
_SIDES = ("a", "b")
#: Where the answer of a side stands: a whole conversation, or the answer alone.
_ANSWERS = ("conversation_{}", "response_{}", "answer_{}", "full_conversation_{}")
_WINNERS: dict[str, Choice] = {
    "model-a": "1", "a": "1", "left": "1", "leftvote": "1", "model-b": "2", "b": "2", "right": "2", "rightvote": "2",
    "tie": "tie", "tievote": "tie", "tie-bothbad": "both_bad", "both-bad": "both_bad", "bothbad": "both_bad",
    "bothbad-vote": "both_bad",
}  # fmt: skip
#: What FastChat logs beside votes.
_LOGGED = ("chat", "upvote", "downvote", "flag", "share")
_LABEL = 120


def is_arena(row: dict[str, Any]) -> bool:
    """Whether a row is a vote between two models' answers, or a line of FastChat's log."""
    fields = Fields(row, "", literal=False)
    if isinstance(row.get("type"), str) and ("states" in row or "tstamp" in row):
        return True
    decided = {"winner", "winner_model_a", "winner_tie"} & fields.keys
    return bool(decided) and all(fields.first(_paths(side)) for side in _SIDES)


def read_battles(rows: Sequence[RawRow]) -> ReadRecords:
    """Pairs and votes; records of the same two answers are votes on one pair.

    Raises:
        DatasetError: a record is broken; the message names it and the field.
    """
    pairs: list[NewPair] = []
    places: dict[str, int] = {}
    votes: dict[tuple[int, str], ReadVote] = {}
    lost: Counter[str] = Counter()
    for number, row in enumerate(rows, 1):
        if not isinstance(row.value, dict):
            raise DatasetError(f"{row.where} is no object with named fields.")
        if row.value.get("type") in _LOGGED and not _logged(row.value):
            lost["records of the log that are no votes"] += 1
            continue
        fields = Fields(_of_log(row.value) if _logged(row.value) else row.value, row.where)
        pair = _pair(fields)
        if pair is None:
            lost["battles whose conversations part before the last question"] += 1
            continue
        choice = _choice(fields)
        if choice is None:
            lost["records without a winner"] += 1
            continue
        key = repr((pair.system_prompt, pair.history, pair.prompt, pair.answer_a, pair.answer_b))
        if key not in places:
            places[key] = len(pairs)
            pairs.append(pair)
        user = _judge(fields, number)
        times = {"created": "created", "updated": "tstamp", "seconds": "seconds"}
        given = {name: _number(fields.get(path)) for name, path in times.items()}
        votes[places[key], user] = ReadVote(places[key], user, choice, **given)
    return ReadRecords(tuple(pairs), tuple(votes.values()), "", left_out(lost), NAME, sum(lost.values()))


def _paths(side: str) -> tuple[str, ...]:
    return tuple(path.format(side) for path in _ANSWERS)


def _pair(fields: Fields) -> NewPair | None:
    """The pair of a record; None where the two conversations differ before their last answer."""
    before: list[Any] = []
    answers, names = [], []
    turn = _number(fields.get("turn"))
    for side in _SIDES:
        path = fields.first(_paths(side))
        value, where = fields.get(path), f"{fields.where}: {fields.name(path)}"
        if value is None:
            raise DatasetError(f"{fields.where}: the answer of model_{side} is missing.")
        if isinstance(value, list) and value and isinstance(value[-1], str):  # LMSYS: a list of a model's answers
            prompts = fields.get("prompt")
            value = _woven(prompts if isinstance(prompts, list) else [prompts], value)
        if isinstance(value, list) and turn:  # MT-bench judges a conversation's first turn, and then all of it
            value = _first_turns(value, int(turn))
        answers.append(answered(value, where))
        before.append(
            asked([vars(m) for m in messages_of(value, where)[:-1]], where) if isinstance(value, list) else None
        )
        model = fields.get(f"model_{side}")
        names.append(" ".join(model.split())[:_LABEL] if isinstance(model, str) and model.strip() else f"model_{side}")
    if before[0] != before[1]:
        return None
    system, history, prompt = before[0] or _asked(fields)
    one, two = (Origin("import", name) for name in names)
    return NewPair(prompt, answers[0], answers[1], one, two, "import", history, system)


def _first_turns(turns: list[Any], number: int) -> list[Any]:
    """The turns up to the assistant's ``number``-th."""
    said = [at for at, turn in enumerate(turns) if isinstance(turn, dict) and turn.get("role") == "assistant"]
    return turns[: said[number - 1] + 1] if 1 <= number <= len(said) else turns


def _asked(fields: Fields) -> tuple[str, tuple[Message, ...], str]:
    path = fields.first(("prompt", "question", "instruction"))
    return asked(fields.get(path), f"{fields.where}: {fields.name(path or 'prompt')}")


def _woven(prompts: Sequence[Any], answers: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {"role": role, "content": text}
        for turn in zip(prompts, answers, strict=False)
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]


def _choice(fields: Fields) -> Choice | None:
    """What the record says; None where it names no winner."""
    if str(fields.get("skipped")).lower() == "true":
        return "skip"
    winner = fields.get("winner")
    if winner is None:
        flags: dict[str, Choice] = {"winner_model_a": "1", "winner_model_b": "2", "winner_tie": "tie"}
        return next((choice for flag, choice in flags.items() if _number(fields.get(flag)) == 1), None)
    choice = _WINNERS.get(slug(str(winner)))
    if choice is None:
        if winner in (fields.get("model_a"), fields.get("model_b")):
            return "1" if winner == fields.get("model_a") else "2"
        if not str(winner).strip():
            return None
        raise DatasetError(f"{fields.where}: winner is {str(winner)[:40]!r}; it must be model_a, model_b or tie.")
    return choice


def _judge(fields: Fields, number: int) -> str:
    """Who voted: this studio's pseudonyms stay, others become UUIDs. Without a name every record is a person's of its own."""
    judge = fields.get(fields.first(("judge", "annotator", "user", "ip", "evaluator")))
    if isinstance(judge, str) and judge.startswith("judge-"):
        return judge
    if isinstance(judge, list):  # FastChat's judgements by a model: its name and its prompt's
        judge = " ".join(map(str, judge))
    return user_id("arena", str(judge) if judge is not None else f"record {number}")


def _number(value: Any) -> float | None:
    """A number, written as one or as text; None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 1.0 if value is True else None
    return number if math.isfinite(number) else None


def _logged(row: dict[str, Any]) -> bool:
    return isinstance(row.get("states"), list) and slug(str(row.get("type"))) in _WINNERS


def _of_log(row: dict[str, Any]) -> dict[str, Any]:
    """A vote of FastChat's log in the form of its published tables."""
    made: dict[str, Any] = {"winner": row["type"], "judge": row.get("ip"), "tstamp": row.get("tstamp")}
    for side, state in zip(_SIDES, row["states"], strict=False):
        state = state if isinstance(state, dict) else {}
        turns = [turn for turn in state.get("messages") or [] if isinstance(turn, list) and len(turn) == 2 and turn[1]]
        roles = state.get("roles") or ["USER", "ASSISTANT"]
        made[f"conversation_{side}"] = [
            {"role": "user" if turn[0] in (roles[0], "user", "Human") else "assistant", "content": turn[1]}
            for turn in turns
        ]
        made[f"model_{side}"] = state.get("model_name")
    return made
