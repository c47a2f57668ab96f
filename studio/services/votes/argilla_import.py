"""Pairs and votes from an Argilla 2 dataset on disk (see ``argilla_export.py``), whatever its fields are called."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.domain.data import Message
from studio.domain.votes import Choice, NewPair, Origin
from studio.errors import DatasetError, InputError
from studio.services.data.conversations import messages_of
from studio.services.data.formats import checked_text, kind_of, read_document
from studio.services.votes.argilla_export import QUESTION, SETTINGS

_PROMPTS = ("prompt", "instruction", "question", "input", "conversation", "chat", "messages", "context", "text")
_ANSWER = re.compile(r"(response|answer|completion|generation|output|chosen|rejected|model)([-_ ]?\w+)?", re.IGNORECASE)
_TIES = {"tie", "equal", "same", "draw", "both", "both-good", "no-preference"}
_BAD = {"both-bad", "bothbad", "neither", "none", "tie-bothbad"}
_WORDS = ("response", "answer", "completion", "generation", "model", "option")


@dataclass(frozen=True)
class ReadVote:
    """One response: the pair it belongs to (its place), who gave it, and what it says of answers *a* and *b*."""

    pair: int
    user: str
    choice: Choice


@dataclass(frozen=True)
class ReadRecords:
    """What a dataset of Argilla holds that the studio has a place for. ``warnings`` count everything else."""

    pairs: tuple[NewPair, ...]
    votes: tuple[ReadVote, ...]
    guidelines: str
    warnings: tuple[str, ...]


def read_argilla(records: Path, settings: Path | None, max_bytes: int) -> ReadRecords:
    """Pairs and votes from ``records.json``, and ``settings.json`` where there is one (it tells field and question).

    One question counts, a label or a ranking over two responses; drafts, suggestions and vectors are left out and counted.

    Raises:
        NotFoundError: there is no such file.
        DatasetError: it is not such a dataset, has not exactly two responses or no usable question, or a record is broken;
            the message names the record and the field.
    """
    document = read_document(records, max_bytes)
    if isinstance(document, dict):
        raise DatasetError(f"{records.name} holds one object; records of Argilla are a list.")
    described = read_document(settings, max_bytes, unfold=False) if settings else {}
    if not isinstance(described, dict):
        raise DatasetError(f"{SETTINGS} is a list; the settings of Argilla are one object.")
    rows = []
    for row in document:
        if not isinstance(row.value, dict) or not isinstance(row.value.get("fields"), dict):
            raise DatasetError(f"{records.name}, {row.where}: fields are missing; records of Argilla have them.")
        rows.append((row.where, row.value))
    if not rows:
        raise DatasetError(f"{records.name} holds no records.")
    return _Reader(described, [value for _, value in rows]).read(rows)


class _Reader:
    """Reads records by the fields and the question it finds."""

    def __init__(self, settings: dict[str, Any], records: Sequence[dict[str, Any]]) -> None:
        names = _named(settings.get("fields")) or list(dict.fromkeys(name for r in records for name in r["fields"]))
        self.prompt, (self.a, self.b) = _roles(names)
        self.fields = names
        guidelines = settings.get("guidelines")
        self.guidelines = guidelines if isinstance(guidelines, str) else ""
        questions = _named(settings.get("questions")) or list(
            dict.fromkeys(name for r in records for name in (_mapping(r.get("responses"))))
        )
        described = [q for q in _listed(settings.get("questions")) if isinstance(q, dict)]
        kinds = {str(q.get("name")): _mapping(q.get("settings")) for q in described}
        self.question = _question(questions, kinds)
        self.texts = {
            str(option.get("value")): str(option.get("text"))
            for option in _listed(kinds.get(self.question, {}).get("options"))
            if isinstance(option, dict)
        }
        self.left_out: Counter[str] = Counter()
        others = [name for name in questions if name != self.question]
        if others:
            self.left_out[f"answers to other questions ({', '.join(others)[:80]})"] = sum(
                len(_listed(_mapping(r.get("responses")).get(name))) for r in records for name in others
            )

    def read(self, rows: Sequence[tuple[str, dict[str, Any]]]) -> ReadRecords:
        pairs: list[NewPair] = []
        votes: dict[tuple[int, str], ReadVote] = {}
        for where, record in rows:
            place = len(pairs)
            pairs.append(self._pair(record, where))
            for response in _listed(_mapping(record.get("responses")).get(self.question)):
                vote = self._vote(response, place, where)
                if vote:
                    votes[(place, vote.user)] = vote
            self.left_out["suggestions of models"] += bool(record.get("suggestions"))
            self.left_out["records with vectors"] += bool(record.get("vectors"))
        warnings = tuple(f"left out: {n} {what}." for what, n in self.left_out.items() if n)
        return ReadRecords(tuple(pairs), tuple(votes.values()), self.guidelines, warnings)

    def _pair(self, record: dict[str, Any], where: str) -> NewPair:
        fields = record["fields"]
        system, history, prompt = _chat(fields.get(self.prompt), f"{where}: {self.prompt}")
        about = _mapping(record.get("metadata"))
        known = set(self.fields) & {self.prompt, self.a, self.b}
        self.left_out["further fields"] += bool(set(fields) - known)
        return NewPair(
            prompt=prompt,
            answer_a=_answer(fields.get(self.a), f"{where}: {self.a}"),
            answer_b=_answer(fields.get(self.b), f"{where}: {self.b}"),
            origin_a=Origin("import", _model(about, "model-1", self.a)),
            origin_b=Origin("import", _model(about, "model-2", self.b)),
            source="import",
            history=history,
            system_prompt=system,
            preferred={"chosen": "a", "rejected": "b"}.get(self.a.casefold(), ""),  # type: ignore[arg-type]
        )

    def _vote(self, response: Any, place: int, where: str) -> ReadVote | None:
        if not isinstance(response, dict) or not isinstance(response.get("user_id"), str):
            raise DatasetError(f"{where}: a response to {self.question} has no user_id.")
        try:
            user = str(uuid.UUID(response["user_id"]))
        except ValueError:
            raise DatasetError(f"{where}: user_id is {response['user_id'][:60]!r}; it must be a UUID.") from None
        status = response.get("status") or "submitted"
        if status == "discarded":
            return ReadVote(place, user, "skip")
        if status != "submitted":
            self.left_out["drafts"] += 1
            return None
        choice = self._choice(response.get("value"))
        if choice is None:
            self.left_out["responses that name neither an answer nor a tie"] += 1
            return None
        return ReadVote(place, user, choice)

    def _choice(self, value: Any) -> Choice | None:
        """``1`` stands for answer a, ``2`` for b."""
        if isinstance(value, list):
            return self._ranked(value)
        if not isinstance(value, str):
            return None
        for text in (value, self.texts.get(value, "")):
            plain = re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")
            if plain in _TIES:
                return "tie"
            if plain in _BAD:
                return "both_bad"
            for choice, name in (("1", self.a), ("2", self.b)):
                if plain in _aliases(name, choice):
                    return "1" if choice == "1" else "2"
        return None

    def _ranked(self, value: list[Any]) -> Choice | None:
        """A ranking: names from the best on, or objects with a rank each (equal ones are a tie)."""
        ranks: dict[str | None, Any] = {}
        for place, item in enumerate(value):
            name = item.get("value") if isinstance(item, dict) else item
            rank = item.get("rank") if isinstance(item, dict) else None
            ranks[self._choice(name) if isinstance(name, str) else None] = place if rank is None else rank
        if not {"1", "2"} <= ranks.keys() or not all(isinstance(ranks[key], int) for key in ("1", "2")):
            return None
        return "tie" if ranks["1"] == ranks["2"] else "1" if ranks["1"] < ranks["2"] else "2"


def _roles(names: Sequence[str]) -> tuple[str, tuple[str, str]]:
    """Which field is the prompt and which two are the answers, by their names."""
    answers = [name for name in names if _ANSWER.fullmatch(name)]
    prompts = [name for name in names if name not in answers]
    prompts.sort(key=lambda name: _PROMPTS.index(name.casefold()) if name.casefold() in _PROMPTS else len(_PROMPTS))
    if len(answers) != 2 or not prompts:
        raise DatasetError(
            f"The dataset has the fields {', '.join(names)[:200]}; comparisons need a prompt and two answers, called for example "
            "prompt, response-1 and response-2."
        )
    return prompts[0], (answers[0], answers[1])


def _question(names: Sequence[str], kinds: Mapping[str, dict[str, Any]]) -> str:
    usable = [name for name in names if kinds.get(name, {}).get("type") in (None, "label_selection", "ranking")]
    usable.sort(key=lambda name: name != QUESTION)
    return usable[0] if usable else ""


def _aliases(field: str, number: str) -> set[str]:
    """What a label may call the answer in ``field``: ``response-1``, ``response1``, ``1``, ``a``, ``response-1-is-better``."""
    plain = re.sub(r"[^a-z0-9]+", "-", field.casefold()).strip("-")
    letter = "a" if number == "1" else "b"
    stems = {
        plain,
        plain.replace("-", ""),
        number,
        letter,
        *(f"{word}-{end}" for word in _WORDS for end in (number, letter)),
    }
    return stems | {f"{stem}-is-better" for stem in stems} | {f"{stem}-better" for stem in stems}


def _chat(value: Any, where: str) -> tuple[str, tuple[Message, ...], str]:
    """(system prompt, earlier turns, prompt) of a text or chat field."""
    if not isinstance(value, list):
        return "", (), checked_text(value, where)
    turns = messages_of(value, where)
    system = "\n\n".join(turn.content for turn in turns if turn.role == "system")
    dialogue = [turn for turn in turns if turn.role != "system"]
    if not dialogue or dialogue[-1].role != "user":
        raise DatasetError(f"{where} does not end with a turn of the user, so there is no prompt.")
    return system, tuple(dialogue[:-1]), dialogue[-1].content


def _answer(value: Any, where: str) -> str:
    if isinstance(value, list) and value:
        last = value[-1]
        if not isinstance(last, dict) or last.get("role") != "assistant":
            raise DatasetError(f"{where} does not end with a turn of the assistant.")
        value = last.get("content")
    return checked_text(value, where)


def _model(about: dict[str, Any], key: str, field: str) -> str:
    value = about.get(key)
    return " ".join(value.split())[:120] if isinstance(value, str) and value.strip() else field


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError(f"The dataset's settings or responses hold {kind_of(value)} where a list belongs.")
    return value


def _named(value: Any) -> list[str]:
    return [str(item["name"]) for item in _listed(value) if isinstance(item, dict) and "name" in item]
