"""The page's languages: which one a request asks for, and its words for what the program says in English.

English is what the code says, keeps and logs; another language is for whoever looks at a page. The catalogues are gettext's
(``studio/locale``), English sentences with ``{field}`` places being the keys. Code that draws says :func:`_` or :func:`n_` where it
puts a text together. What was said elsewhere (an error, a message in a run folder, a label of the built page) is looked up as it
stands, figures and names in it included: :func:`said`. A field that is called as one of :data:`NAMES` holds what people named: code
calls nothing of its own so.
"""

from __future__ import annotations

import functools
import gettext as gnu
import json
import re
import struct
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple, Self

ENGLISH = "en"
#: The languages by their code (BCP 47), each by its own name.
LANGUAGES = {ENGLISH: "English", "zh-Hant": "繁體中文", "zh-Hans": "简体中文"}
#: What remembers the choice, a year long; a script of the page sets it.
COOKIE = "studio-language"
#: What a browser may call them.
_TRADITIONAL = ("zh-hant", "zh-tw", "zh-hk", "zh-mo")
_FOLDER = Path(__file__).parent / "locale"
#: Characters of a sentence that is looked up; a longer text is no sentence of ours.
_LONGEST = 2_000
#: Between facts in a row.
_FACTS = " · "
#: Begins a line of a list.
_BULLET = "- "
#: Letters of fixed text below which a message says little by itself.
_FEW = 14
#: Fields that hold a name people gave, which stays as it is; a number may stand behind (``name2``).
NAMES = frozenset((
    "base_name", "base_path", "dataset_id", "dataset_title", "file", "folder", "id", "model", "model_id", "name", "names", "parent", "path",
    "prompt_set", "repo", "run_id", "source", "source_id", "start_run", "stem", "title", "toxic", "twice",
))  # fmt: skip
#: Titles that the program gives where nobody does.
_TITLES = frozenset((
    "Detox: {source}", "Reward: {title}", "Votes", "Votes, {time}, {decided} pair{len}", "two samples of {names}",
))  # fmt: skip
#: Of fields that hold names, those in which the program's own words may stand, and which.
OWN = (
    dict.fromkeys(("dataset_title", "source", "title"), _TITLES)
    | dict.fromkeys(("after", "before"), frozenset(("the base",)))
    | dict.fromkeys(
        ("a", "b", "loser", "player", "winner"),
        frozenset(("Base model", "Base model {base}", "{title} · uploaded · {adapter_hash}")),
    )
)
#: What some fields look like: it tells where a name beside them ends.
_LOOKS = {"measure": r"\w+", "prompts": r"[\d,]+(?: \w+)*?"}
_SENTENCE_ENDS = re.compile(r"(?<=[.!?…)])(\s+)(?=[A-Z0-9*⚠(])|(\n+)")

_language: ContextVar[str] = ContextVar("language", default=ENGLISH)


def language() -> str:
    """The language of whoever is answered now; English in commands, logs and jobs."""
    return _language.get()


@contextmanager
def speaking(code: str) -> Iterator[None]:
    """Within, the language is ``code``, also in threads that are handed this context."""
    token = _language.set(code)
    try:
        yield
    finally:
        _language.reset(token)


def wanted(cookies: Mapping[str, str], accept: str) -> str:
    """The language a browser asks for: the remembered one, else the first we have of its ``Accept-Language``, else English."""
    if cookies.get(COOKIE) in LANGUAGES:
        return cookies[COOKIE]
    asked = []
    for place, part in enumerate(accept[:500].split(",")):
        tag, _semicolon, rest = part.strip().lower().partition(";")
        weight = re.fullmatch(r"\s*q=([01](?:\.\d{0,3})?)\s*", rest)
        asked.append((-(float(weight[1]) if weight else 1.0), place, tag))
    for weight_down, _place, tag in sorted(asked):
        if not weight_down:
            continue
        if tag.startswith(_TRADITIONAL):
            return "zh-Hant"
        if tag.partition("-")[0] == "zh":
            return "zh-Hans"
        if tag.partition("-")[0] == ENGLISH:
            return ENGLISH
    return ENGLISH


def _(message: str, /, **fields: Any) -> str:
    """``message`` in the language of now, its ``{fields}`` filled in; English where the catalogue lacks it."""
    return filled(_catalogue(language()).words.gettext(message), fields)


def n_(one: str, many: str, number: int, /, **fields: Any) -> str:
    """The one of two messages that goes with ``number``, the field ``n`` of it (``1,234``)."""
    text = _catalogue(language()).words.ngettext(one, many, number)
    return filled(text, {"n": f"{number:,}", **fields})


def filled(text: str, fields: Mapping[str, Any]) -> str:
    """``text`` with its fields; braces in a text without fields are its own."""
    return text.format(**fields) if fields else text


class Named(str):
    """A text that begins with a name, with facts behind it, as a menu lists a run: :func:`said` leaves a name that people gave."""

    name: str
    facts: tuple[str, ...]

    def __new__(cls, name: str, *facts: str) -> Self:
        made = super().__new__(cls, _FACTS.join((name, *facts)))
        made.name, made.facts = name, facts
        return made


def said(text: str) -> str:
    """What the program said in English, in the language of now; unchanged where it is none of its sentences.

    The whole text is looked up, then with its figures and names taken for fields, then sentence by sentence. A field that is a sentence
    or a phrase of the program (the reason behind a colon, ``3 votes``) is looked up the same way; a name is not (:data:`NAMES`).
    """
    if language() == ENGLISH or not text or len(text) > _LONGEST:
        return text
    if isinstance(text, Named):
        name = _catalogue(language()).whole(text.name, _TITLES) or text.name
        return _FACTS.join((name, *map(said, text.facts)))
    return _said(language(), text)


@functools.lru_cache(maxsize=4096)
def _said(code: str, text: str) -> str:
    if text.startswith(_BULLET):
        return "\n".join(_BULLET + _said(code, line.removeprefix(_BULLET)) for line in text.split("\n"))
    catalogue = _catalogue(code)
    whole = catalogue.whole(text)
    if whole is not None:
        return whole
    if (bare := text.strip()) != text:
        return text.replace(bare, _said(code, bare), 1)
    if text.endswith(".") and (whole := catalogue.whole(text[:-1])) is not None:
        return f"{whole}。"
    parts = _sentences(text)
    if len(parts) > 1:
        return _joined(part if part.isspace() else _said(code, part) for part in parts)
    facts = text.split(_FACTS)
    return _FACTS.join(_said(code, fact) for fact in facts) if len(facts) > 1 else text


def _sentences(text: str) -> list[str]:
    """The sentences and the blanks between them."""
    return [part for part in _SENTENCE_ENDS.split(text) if part]


def _joined(sentences: Iterable[str]) -> str:
    return "".join(sentences).replace("。 ", "。")


def _kind(field: str) -> str:
    return field.rstrip("0123456789")


def _is_name(field: str) -> bool:
    return _kind(field) in NAMES or _kind(field) in OWN


def _fitting(field: str, letters: int) -> str:
    """What fits into a field of a message with so many letters of its own. Where they are few it is no list of other things, and, but
    for a name, no sentence or phrase either."""
    if field in _LOOKS:
        return _LOOKS[field]
    if letters > _FEW or (_is_name(field) and 2 * letters > _FEW):
        return ".*?"
    return r"(?:(?! · |\. ).)*?" if _is_name(field) else r"(?:(?! · |, [^\d\[]|\. |; |: ).)*?"


class Pattern(NamedTuple):
    """A message with fields, as it looks once they are filled in. ``anchor`` is its longest piece of fixed text."""

    anchor: str
    fits: re.Pattern[str]
    message: str


class Catalogue:
    """One language's messages."""

    def __init__(self, code: str) -> None:
        self.code = code
        languages = [] if code == ENGLISH else [code.replace("-", "_")]
        self.words = gnu.translation("studio", _FOLDER, languages, fallback=True)

    @functools.cached_property
    def messages(self) -> dict[str, str]:
        """English to this language; of a plural both forms of English."""
        if not isinstance(self.words, gnu.GNUTranslations):
            return {}
        known: dict[Any, str] = self.words._catalog  # type: ignore[attr-defined]
        messages = {key: text for key, text in known.items() if isinstance(key, str) and key and text}
        for one, many in _plurals(_FOLDER / self.code.replace("-", "_") / "LC_MESSAGES" / "studio.mo"):
            messages |= {one: self.words.ngettext(one, many, 1), many: self.words.ngettext(one, many, 2)}
        return messages

    @functools.cached_property
    def patterns(self) -> list[Pattern]:
        """The messages with fields, those with most fixed text first."""
        patterns = []
        for message in self.messages:
            if "%{" in message:  # what a chart fills in itself
                continue
            pieces = list(Formatter().parse(message)) if "{" in message else []
            fixed = [piece[0] for piece in pieces]
            if not any(piece[1] for piece in pieces) or not any(map(str.isalpha, "".join(fixed))):
                continue
            letters = sum(map(str.isalpha, "".join(fixed)))
            seen: set[str] = set()
            expression = ""
            for literal, name, _spec, _conversion in pieces:
                expression += re.escape(literal)
                if name:
                    expression += f"(?P={name})" if name in seen else f"(?P<{name}>{_fitting(name, letters)})"
                    seen.add(name)
            patterns.append(
                (len("".join(fixed)), Pattern(max(fixed, key=len), re.compile(expression, re.DOTALL), message))
            )
        return [pattern for _length, pattern in sorted(patterns, key=lambda pair: -pair[0])]

    def whole(self, text: str, among: Container[str] | None = None) -> str | None:
        """This language's words for all of ``text``, or None; ``among`` are the messages it may be."""
        if (exact := self.messages.get(text)) is not None and (among is None or text in among):
            return exact
        for anchor, fits, message in self.patterns:
            if anchor not in text or (among and message not in among) or not (match := fits.fullmatch(text)):
                continue
            fields = match.groupdict()
            # a name ends before the next sentence
            if not any(_is_name(name) and self.ends_in_sentence(value) for name, value in fields.items()):
                return self.messages[message].format(**{name: self.field(name, fields[name]) for name in fields})
        return None

    def field(self, name: str, value: str) -> str:
        """What stands in a field, in this language."""
        if not _is_name(name):
            return _said(self.code, value)
        own = OWN.get(_kind(name))
        if own and (words := self.whole(value, own)) is not None:
            return words
        # before a name that begins a message there may be sentences
        *before, name = _sentences(value) or [""]
        return _joined([self.whole(part) or part for part in before]) + name

    def ends_in_sentence(self, name: str) -> bool:
        """Whether what was taken for a name goes on to a sentence of ours."""
        parts = _sentences(name)
        return len(parts) > 1 and self.whole(f"{parts[-1]}.") is not None


def _plurals(file: Path) -> Iterator[tuple[str, str]]:
    """English singular and plural of each message that has both. Python's reader of the file drops the second."""
    content = file.read_bytes()
    count, at = struct.unpack_from("=8xII", content)
    for number in range(count):
        length, start = struct.unpack_from("=II", content, at + 8 * number)
        one, zero, many = content[start : start + length].partition(b"\0")
        if zero:
            yield one.decode(), many.decode()


@functools.cache
def _catalogue(code: str) -> Catalogue:
    return Catalogue(code)


def messages_in_html() -> list[tuple[str, str]]:
    """The messages without fields that hold simple tags, English and in the language of now."""
    return [(one, text) for one, text in _catalogue(language()).messages.items() if "</" in one and "{" not in one]


#: In a script: what ``tr("…")`` is told.
_TOLD = re.compile(r'\btr\(\s*("(?:[^"\\]|\\.)*")')


def words_of(script: str) -> dict[str, str]:
    """What a script says (``tr("…")``, see ``ui/parts/words.js``), English to the language of now; without what that lacks."""
    messages = _catalogue(language()).messages
    return {message: messages[message] for message in messages_in(script) if message in messages}


def messages_in(script: str) -> list[str]:
    """The messages that a script says, in English."""
    return [json.loads(message) for message in _TOLD.findall(script)]
