"""Records of Argilla as pairs and votes, whatever their fields are called: those of version 2 and 1, and the flat tables that both
write for the Hub."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from studio.domain.votes import Choice, NewPair, Origin
from studio.errors import DatasetError
from studio.services.data.annotated.records import (
    ReadRecords,
    ReadVote,
    answered,
    asked,
    choice_of,
    left_out,
    listed,
    mapping,
    roles,
    user_id,
)
from studio.services.data.formats import RawRow
from studio.services.data.shapes.literals import read_literal

#: The question that the studio's own export asks.
QUESTION = "preference"
#: Questions about two answers that say which is better; None where the settings are not there.
_KINDS = (None, "label_selection", "ranking")
_FLAT = ".responses"
_UNREAD = "responses that name neither an answer nor a tie"
#: Columns of a flat table that are no fields: what Argilla itself adds.
_OWN = {"id", "status", "external_id", "metadata", "inserted_at", "updated_at", "_server_id", "vectors", "split"}


def is_argilla(row: dict[str, Any]) -> bool:
    """Whether a row is a record of Argilla, or a row of a table made of some."""
    if isinstance(row.get("fields"), dict):
        return True
    try:
        return bool(_questions(_read(row, "")))
    except DatasetError:  # a conversation written as text that cannot be read: whoever reads the row says so
        return False


def read_records(rows: Sequence[RawRow], settings: Mapping[str, Any]) -> ReadRecords:
    """Pairs and votes. ``settings`` are the dataset's, which tell fields and questions; empty where there are none.

    One question counts, a label or a ranking over two responses; drafts, suggestions and vectors are left out and counted.

    Raises:
        DatasetError: there are not exactly two responses, or a record is broken; the message names the record and the field.
    """
    records = [(row.where, _record(row)) for row in rows]
    return _Reader(settings, [value for _, value in records]).read(records)


def _read(row: dict[str, Any], where: str) -> dict[str, Any]:
    """A row with the lists that a CSV holds as text."""
    return {
        str(name): value if not isinstance(value, str) else read_literal(value, f"{where}: {name}") or value
        for name, value in row.items()
    }


def _questions(row: Mapping[str, Any]) -> dict[str, str]:
    """Question -> column of its responses in a row of a flat table."""
    questions = {name.removesuffix(_FLAT): name for name in row if name.endswith(_FLAT)}
    for name, value in row.items():
        first = value[0] if isinstance(value, list) and value else None
        if isinstance(first, dict) and {"user_id", "value"} <= first.keys():
            questions[name] = name
    return questions


def _record(row: RawRow) -> dict[str, Any]:
    """A record in the form of version 2: fields, responses by question.

    Raises:
        DatasetError: it is none.
    """
    if not isinstance(row.value, dict):
        raise DatasetError(f"{row.where}: fields are missing; records of Argilla have them.")
    value = row.value
    if not isinstance(value.get("fields"), dict):
        return _of_table(_read(value, row.where), row.where)
    if isinstance(value.get("responses"), list):
        return {**value, **_of_first_version(value["responses"])}
    return value


def _of_first_version(responses: list[Any]) -> dict[str, Any]:
    """Responses by question, and who discarded the record, from a list of people with what each answered to every question."""
    made: dict[str, list[Any]] = {}
    discarded = []
    for number, response in enumerate(responses, 1):
        person = mapping(response)
        status, user = person.get("status"), person.get("user_id") or user_id("argilla", f"annotator {number}")
        if status == "discarded":
            discarded.append({"value": None, "user_id": user, "status": status})
            continue
        for question, answer in mapping(person.get("values")).items():
            value = answer.get("value") if isinstance(answer, dict) else answer
            made.setdefault(str(question), []).append({"value": value, "user_id": user, "status": status})
    return {"responses": made, "discarded": discarded}


def _of_table(row: dict[str, Any], where: str) -> dict[str, Any]:
    """A record from a row of a flat table: a column for each field, and some for each question."""
    questions = _questions(row)
    if not questions:
        raise DatasetError(f"{where}: fields are missing; records of Argilla have them.")
    responses: dict[str, list[Any]] = {}
    for question, column in questions.items():
        given = listed(row[column])
        if column.endswith(_FLAT):
            users, states = (row.get(f"{column}.{part}") or [] for part in ("users", "status"))
            given = [
                {
                    "value": value,
                    "user_id": users[at] if at < len(users) else user_id("argilla", f"annotator {at + 1}"),
                    "status": states[at] if at < len(states) else None,
                }
                for at, value in enumerate(given)
            ]
        responses[question] = [_transposed(mapping(one), at) for at, one in enumerate(given, 1)]
    belongs = tuple(f"{question}{sign}" for question in questions for sign in ".-")
    fields = {
        name.removeprefix("fields."): value
        for name, value in row.items()
        if name not in questions.values()
        and name not in _OWN
        and not name.startswith((*belongs, "metadata.", "vectors."))
    }
    about = {name.removeprefix("metadata."): value for name, value in row.items()}
    suggestions = any(row.get(f"{question}{end}") for question in questions for end in (".suggestion", "-suggestion"))
    return {"fields": fields, "responses": responses, "metadata": about, "suggestions": suggestions}


def _transposed(response: dict[str, Any], number: int) -> dict[str, Any]:
    """A response, its ranking as a list of values with their ranks: tables hold it as two lists."""
    value = response.get("value")
    if isinstance(value, dict) and isinstance(value.get("value"), list) and isinstance(value.get("rank"), list):
        value = [{"value": name, "rank": rank} for name, rank in zip(value["value"], value["rank"], strict=False)]
    return {**response, "value": value, "user_id": response.get("user_id") or user_id("argilla", f"annotator {number}")}


class _Reader:
    """Reads records by the fields and the question it finds."""

    def __init__(self, settings: Mapping[str, Any], records: Sequence[dict[str, Any]]) -> None:
        names = _named(settings.get("fields")) or list(dict.fromkeys(name for r in records for name in r["fields"]))
        self.prompt, (self.a, self.b) = roles(names)
        self.fields = names
        guidelines = settings.get("guidelines")
        self.guidelines = guidelines if isinstance(guidelines, str) else ""
        questions = _named(settings.get("questions")) or list(
            dict.fromkeys(name for r in records for name in (mapping(r.get("responses"))))
        )
        described = [q for q in listed(settings.get("questions")) if isinstance(q, dict)]
        kinds = {str(q.get("name")): mapping(q.get("settings")) for q in described}
        self._texts = {
            name: {
                str(option.get("value")): str(option.get("text"))
                for option in listed(kind.get("options"))
                if isinstance(option, dict)
            }
            for name, kind in kinds.items()
        }
        usable = [name for name in questions if kinds.get(name, {}).get("type") in _KINDS]
        usable.sort(key=lambda name: (name != QUESTION, -self._understood(name, records)))
        self.question = usable[0] if usable else ""
        self.left_out: Counter[str] = Counter()
        others = [name for name in questions if name != self.question]
        if others:
            self.left_out[f"answers to other questions ({', '.join(others)[:80]})"] = sum(
                len(listed(mapping(r.get("responses")).get(name))) for r in records for name in others
            )

    def read(self, rows: Sequence[tuple[str, dict[str, Any]]]) -> ReadRecords:
        pairs: list[NewPair] = []
        votes: dict[tuple[int, str], ReadVote] = {}
        for where, record in rows:
            place = len(pairs)
            pairs.append(self._pair(record, where))
            given = listed(mapping(record.get("responses")).get(self.question))
            for response in (*given, *listed(record.get("discarded"))):
                vote = self._vote(response, place, where)
                if vote:
                    votes[(place, vote.user)] = vote
            self.left_out["suggestions of models"] += bool(record.get("suggestions"))
            self.left_out["records with vectors"] += bool(record.get("vectors"))
        return ReadRecords(
            tuple(pairs), tuple(votes.values()), self.guidelines, left_out(self.left_out), unread=self.left_out[_UNREAD]
        )

    def _pair(self, record: dict[str, Any], where: str) -> NewPair:
        fields = record["fields"]
        system, history, prompt = asked(fields.get(self.prompt), f"{where}: {self.prompt}")
        about = mapping(record.get("metadata"))
        known = set(self.fields) & {self.prompt, self.a, self.b}
        self.left_out["further fields"] += bool(set(fields) - known)
        return NewPair(
            prompt=prompt,
            answer_a=answered(fields.get(self.a), f"{where}: {self.a}"),
            answer_b=answered(fields.get(self.b), f"{where}: {self.b}"),
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
        choice = self._choice(response.get("value"), self.question)
        if choice is None:
            self.left_out[_UNREAD] += 1
            return None
        return ReadVote(place, user, choice)

    def _understood(self, question: str, records: Sequence[dict[str, Any]]) -> int:
        """How many responses to a question say something of the two answers."""
        responses = [r for record in records for r in listed(mapping(record.get("responses")).get(question))]
        return sum(self._choice(mapping(response).get("value"), question) is not None for response in responses)

    def _choice(self, value: Any, question: str) -> Choice | None:
        """``1`` stands for answer a, ``2`` for b."""
        if isinstance(value, list):
            return self._ranked(value, question)
        if not isinstance(value, str):  # a number is a rating, and says nothing of the other answer
            return None
        return choice_of((value, self._texts.get(question, {}).get(value, "")), self.a, self.b)

    def _ranked(self, value: list[Any], question: str) -> Choice | None:
        """A ranking: names from the best on, or objects with a rank each (equal ones are a tie)."""
        ranks: dict[str | None, Any] = {}
        for place, item in enumerate(value):
            name = item.get("value") if isinstance(item, dict) else item
            rank = item.get("rank") if isinstance(item, dict) else None
            ranks[self._choice(name, question) if isinstance(name, str) else None] = place if rank is None else rank
        if not {"1", "2"} <= ranks.keys() or not all(isinstance(ranks[key], int | float) for key in ("1", "2")):
            return None
        return "tie" if ranks["1"] == ranks["2"] else "1" if ranks["1"] < ranks["2"] else "2"


def _model(about: dict[str, Any], key: str, field: str) -> str:
    value = about.get(key)
    return " ".join(value.split())[:120] if isinstance(value, str) and value.strip() else field


def _named(value: Any) -> list[str]:
    return [str(item["name"]) for item in listed(value) if isinstance(item, dict) and "name" in item]
