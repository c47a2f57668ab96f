"""What annotated records hold, whichever tool wrote them: pairs, and who preferred what."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from studio.domain.data import Message
from studio.domain.votes import Choice, NewPair
from studio.errors import DatasetError, InputError
from studio.services.data.conversations import messages_of
from studio.services.data.formats import checked_text, kind_of

_PROMPTS = ("prompt", "instruction", "question", "input", "conversation", "chat", "messages", "context", "text")
_ANSWER = re.compile(r"(response|answer|completion|generation|output|chosen|rejected|model)([-_ ]?\w+)?", re.IGNORECASE)
_TIES = {"tie", "equal", "same", "draw", "both", "both-good", "no-preference"}
_BAD = {"both-bad", "bothbad", "neither", "none", "tie-bothbad", "tie-both-bad"}
_WORDS = ("response", "answer", "completion", "generation", "model", "option")


@dataclass(frozen=True)
class ReadVote:
    """One response: the pair it belongs to (its place), who gave it, and what it says of answers *a* and *b*. The times are in Unix
    seconds, ``seconds`` from serving to voting; each None where the file does not say."""

    pair: int
    user: str
    choice: Choice
    created: float | None = None
    updated: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class ReadRecords:
    """What a file of records holds that the studio has a place for. ``tool`` names who wrote it; ``warnings`` count everything
    else, ``unread`` of it the judgements that say nothing of two answers."""

    pairs: tuple[NewPair, ...]
    votes: tuple[ReadVote, ...]
    guidelines: str
    warnings: tuple[str, ...]
    tool: str = "an Argilla dataset"
    unread: int = 0

    def preferences(self) -> list[Literal["a", "b", ""]]:
        """For each pair the answer that most of its votes prefer, else its own label; empty where there is neither."""
        counts = [Counter[str]() for _ in self.pairs]
        for vote in self.votes:
            counts[vote.pair][vote.choice] += 1
        return [_majority(count, pair) for count, pair in zip(counts, self.pairs, strict=True)]


def _majority(count: Counter[str], pair: NewPair) -> Literal["a", "b", ""]:
    said = sum(number for choice, number in count.items() if choice != "skip")
    if not said:
        return pair.preferred
    return "a" if 2 * count["1"] > said else "b" if 2 * count["2"] > said else ""


def left_out(counts: Counter[str]) -> tuple[str, ...]:
    """A sentence for each kind of thing that was left out."""
    return tuple(f"left out: {number} {what}." for what, number in counts.items() if number)


def user_id(tool: str, name: str) -> str:
    """The UUID under which a person of another tool counts."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{tool}:{name}"))


def roles(names: Sequence[str]) -> tuple[str, tuple[str, str]]:
    """Which field is the prompt and which two are the answers, by their names.

    Raises:
        DatasetError: there are not two answers, or there is no prompt.
    """
    stems: dict[str, list[str]] = {}
    for name in names:
        if match := _ANSWER.fullmatch(name):
            stem = match[1].casefold()
            stems.setdefault("chosen" if stem == "rejected" else stem, []).append(name)
    groups = [group for group in stems.values() if len(group) == 2]
    answers = groups[0] if groups else [name for group in stems.values() for name in group]
    answers.sort(key=lambda name: (name.casefold().startswith("rejected"), names.index(name)))
    prompts = [name for name in names if not any(name in group for group in stems.values())]
    prompts.sort(key=lambda name: _PROMPTS.index(name.casefold()) if name.casefold() in _PROMPTS else len(_PROMPTS))
    if len(answers) != 2 or not prompts:
        raise DatasetError(
            f"The dataset has the fields {', '.join(names)[:200]}; comparisons need a prompt and two answers, called for example "
            "prompt, response-1 and response-2."
        )
    return prompts[0], (answers[0], answers[1])


def choice_of(words: Sequence[str], first: str, second: str) -> Choice | None:
    """What a label says of the answers in the fields ``first`` and ``second``, by the first of its ``words`` (value, text) that
    says anything; ``1`` stands for the first."""
    for text in words:
        plain = slug(text)
        if plain in _TIES:
            return "tie"
        if plain in _BAD:
            return "both_bad"
        if plain in _aliases(first, "1"):
            return "1"
        if plain in _aliases(second, "2"):
            return "2"
    return None


def slug(text: str) -> str:
    """A label for comparing: small letters and digits, joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")


def _aliases(field: str, number: str) -> set[str]:
    """What a label may call the answer in ``field``: ``response-1``, ``response1``, ``1``, ``a``, ``response-1-is-better``."""
    plain = slug(field)
    letter = "a" if number == "1" else "b"
    stems = {
        plain,
        plain.replace("-", ""),
        number,
        letter,
        "left" if number == "1" else "right",
        *(f"{word}-{end}" for word in _WORDS for end in (number, letter)),
    }
    return stems | {f"{stem}-is-better" for stem in stems} | {f"{stem}-better" for stem in stems}


def asked(value: Any, where: str) -> tuple[str, tuple[Message, ...], str]:
    """(system prompt, earlier turns, prompt) of a text or a list of turns.

    Raises:
        DatasetError: it is neither, or does not end with a turn of the user.
    """
    if not isinstance(value, list):
        return "", (), checked_text(value, where)
    turns = messages_of(value, where)
    system = "\n\n".join(turn.content for turn in turns if turn.role == "system")
    dialogue = [turn for turn in turns if turn.role != "system"]
    if not dialogue or dialogue[-1].role != "user":
        raise DatasetError(f"{where} does not end with a turn of the user, so there is no prompt.")
    return system, tuple(dialogue[:-1]), dialogue[-1].content


def answered(value: Any, where: str) -> str:
    """The answer in a text or at the end of a list of turns.

    Raises:
        DatasetError: it is neither, or the list does not end with a turn of the assistant.
    """
    if isinstance(value, list) and value:
        last = messages_of(value, where)[-1]
        if last.role != "assistant":
            raise DatasetError(f"{where} does not end with a turn of the assistant.")
        return last.content
    return checked_text(value, where)


def mapping(value: Any) -> dict[str, Any]:
    """``value`` where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """``value`` as a list, empty where it is null.

    Raises:
        InputError: it is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError(f"The dataset's settings or responses hold {kind_of(value)} where a list belongs.")
    return value
