"""The sentences of the page and the catalogues of their translations (``studio/locale``).

``python -m tests.helpers.messages`` brings the catalogues up to date with the code: new sentences come in without a translation, those
nobody says any more go, and what is translated is compiled for the program. It says how many are left.

A sentence needs no mark where it stands in a place that is always shown: the reason of a ``raise``; a label, an info or the like of a
component; a button's text; a text of a template; a setting's label and help; ``counted(n, "vote")``. Elsewhere ``_("…")`` and ``n_("…", "…", n)``
mark what is put together in the page's language, and :func:`is_sentence` finds what reads like one. In an f-string each expression is a field.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from studio.i18n import messages_in
from studio.services.glossary import meanings
from studio.services.lessons import read_lessons
from studio.services.template_words import messages as template_messages

ROOT = Path(__file__).resolve().parents[2]
STUDIO = ROOT / "studio"
LOCALE = STUDIO / "locale"
CODES = ("zh_Hant", "zh_Hans")
#: What does not speak to a page: commands, migrations, the scripts that make the shipped models.
SILENT = ("cli", "store/migrations", "store/tables.py", "ml/shipped", "__main__.py", "ui/start_checks.py", "ui/launch.py", "ui/page/theme.py",
          "services/data/stance_prefix.py", "services/template_words.py", "i18n.py", "services/evaluations/dynamodb.py", "ml/lora", "ml/models/frames.py")  # fmt: skip
#: Properties of components, and functions whose first text is shown.
SHOWN = ("label", "info", "placeholder", "headers", "submit_btn", "stop_btn", "choices", "title", "note", "help", "name")  # fmt: skip
SPEAKING = ("Button", "DownloadButton", "UploadButton", "Markdown", "Tab", "TabItem", "Accordion", "Info", "Warning", "Radio", "Dropdown", "CheckboxGroup")  # fmt: skip
HIDDEN = ("elem_id", "elem_classes", "js", "storage_key", "secret", "api_name", "datatype", "column_widths", "type", "mode", "show_progress", "trigger_mode",
          "textposition", "hovermode", "html_template", "js_on_load", "css_template", "key", "media_type", "headers_", "filename")  # fmt: skip
#: Calls whose texts nobody sees.
UNSEEN = ("debug", "info", "warning", "error", "exception", "compile", "getLogger", "add_argument", "execute", "text", "ValueError", "TypeError",
          "AssertionError", "getattr", "setattr", "print", "SystemExit", "Macros", "get", "encode", "field", "startswith", "endswith", "split", "replace", "strip", "partition", "removeprefix", "strftime", "Route", "TypeVar", "setdefault", "sub", "when_changed", "with_name", "Literal", "Extra", "StudioApp")  # fmt: skip
_WORD = re.compile(r"[A-Za-z]{2}")
_SENTENCE = re.compile(r"^[⚠️*`(\"“]*\s*[A-Z0-9{].*\s.*[.!?…:)”*]$", re.DOTALL)
#: Words in a row (also beside fields), or one with a capital; and what no text for people holds.
_WORDS = re.compile(
    r"[\s(;,:·⚠️*⇄…]*(?:[\w'’“”‘`.,;:()·×%+−–-]|\{\w+\})+ \S.*$|[A-Z][a-z]+(?:-[a-z]+)?[.:]?$", re.DOTALL
)
_TECHNICAL = re.compile(
    r"[\\<>^=|]|\(\?|=>|%[sdrYm{.]|__|\{\{|::|;base|'(?:self|none)'|\.(?:json|jsonl|py|md|gguf|safetensors)$|^[A-Z_]+$|^import |requires_grad"
)
#: Where most words are no page's: what models are asked and texts are told by.
WORDLESS = ("ml/", "services/data/shapes", "services/files/decoding", "config.py", "store", "domain/data.py", "services/votes/dataset_card", "services/library/model_card",
            "services/detox/card", "services/reward/card", "services/library/adapter_config")  # fmt: skip
_DATE = datetime(2026, 1, 1, tzinfo=UTC)

#: (English, plural or None, where)
Message = tuple[str, str | None, str]


#: Single words that views show: names of facts, of curves, of states.
ALONE = (
    "accuracy", "adapter", "base", "batch", "chosen", "covers", "data", "deleted", "embedded", "flipped", "idle", "length", "likelihood", "loss",
    "margin", "method", "prompts", "rejected", "retired", "revision", "reward", "scorer", "seed", "stance", "start", "strength", "support", "oppose",
    "train", "training", "unknown", "uploaded", "yes", "ready", "points", "verdict", "lower", "higher", "Progress", "⇄ oppose", "⇄ flipped",
)  # fmt: skip
#: Texts that read like ours and are for no page: what files and models are told, names, headers of answers.
NO_MESSAGES = frozenset(json.loads(Path(__file__).with_name("no_messages.json").read_text(encoding="utf-8")))


@functools.cache
def found() -> tuple[Message, ...]:
    """All messages of the program, in the order of its files."""
    alone = ((word, None, "words that views show by themselves") for word in ALONE)
    explained = ((text, None, "docs/terms.md") for both in meanings().items() for text in both)
    taught = (
        (text, None, "data/lessons")
        for lesson in read_lessons(ROOT / "data" / "lessons")
        for text in (lesson.title, lesson.task, lesson.after)
    )
    return (*alone, *explained, *taught, *(message for message in _all() if message[0] not in NO_MESSAGES))


def _all() -> Iterator[Message]:
    for path in sorted(STUDIO.rglob("*")):
        place = path.relative_to(STUDIO).as_posix()
        if place.startswith(SILENT) or not path.is_file():
            continue
        if path.suffix == ".py":
            yield from (
                (one, many, f"studio/{place}") for one, many in in_python(path.read_text(encoding="utf-8"), place)
            )
        elif path.suffix == ".html":
            source = path.read_text(encoding="utf-8")
            yield from ((message, None, f"studio/{place}") for message in template_messages(source))
            yield from (
                (message, None, f"studio/{place}") for message in re.findall(r'\b_\("((?:[^"\\]|\\.)*)"', source)
            )
            yield from ((*_counted(word), f"studio/{place}") for word in re.findall(r'\bcounted\("([^"]+)"\)', source))
        elif path.suffix == ".js":
            # Babel's reader of scripts does not look into templates: `${tr("…")}`
            yield from ((message, None, f"studio/{place}") for message in messages_in(path.read_text(encoding="utf-8")))


def in_python(source: str, place: str) -> list[tuple[str, str | None]]:
    """Messages of a module, ``place`` being its path below ``studio``."""
    seen: list[tuple[str, str | None]] = []
    _Reader(seen, place).visit(ast.parse(source))
    return seen + [(message, None) for message in messages_in(source)]


def _counted(word: object) -> tuple[str, str]:
    """What :func:`studio.services.wording.counted` says, singular and plural."""
    return f"{{n}} {word}", f"{{n}} {word}s"


class _Reader(ast.NodeVisitor):
    def __init__(self, seen: list[tuple[str, str | None]], place: str) -> None:
        self.seen, self.place = seen, place

    def note(self, node: ast.AST | None, test: Callable[[str], bool]) -> None:
        """Note the texts of an expression that pass ``test``: both of an ``if``, each of a list."""
        if node is None:
            return
        if isinstance(node, ast.Constant | ast.JoinedStr):
            text = message_of(node)
            if text is not None and test(text):
                self.seen.append((text, None))
            if isinstance(node, ast.JoinedStr):
                for value in node.values:
                    if isinstance(value, ast.FormattedValue):
                        self.note(value.value, _phrase)
                        self.visit(value.value)
            return
        if isinstance(node, ast.IfExp):
            self.visit(node.test)
            self.note(node.body, test)
            self.note(node.orelse, test)
        elif isinstance(node, ast.BinOp):
            self.note(node.left, test)
            self.note(node.right, test)
        elif isinstance(node, ast.BoolOp):
            for value in node.values:
                self.note(value, test)
        elif isinstance(node, ast.List | ast.Tuple):
            for value in node.elts:
                self.note(value, test)
        else:
            self.visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        call = node.exc
        if isinstance(call, ast.Call) and _name(call.func) not in UNSEEN:
            for argument in call.args:
                self.note(argument, has_words)
        elif call is not None:
            self.visit(call)

    def visit_Call(self, node: ast.Call) -> None:
        name = _name(node.func)
        if (
            name in UNSEEN
            and not (name == "replace" and isinstance(node.func, ast.Name))
            and not (name in ("info", "warning", "error") and _name(getattr(node.func, "value", None)) == "gr")
        ):
            if name in ("get", "text", "getattr", "setdefault"):
                self.generic_visit(node)
            return
        if name == "_" or name == "words":
            self.note(node.args[0], has_words)
            rest: list[ast.AST] = [*node.args[1:], *node.keywords]
        elif name == "n_":
            one, many = node.args[0], node.args[1]
            assert isinstance(one, ast.Constant)
            assert isinstance(many, ast.Constant)
            self.seen.append((str(one.value), str(many.value)))
            rest = [*node.args[2:], *node.keywords]
        elif name == "counted" and len(node.args) == 2:
            self.plural(node.args[1])
            rest = [node.args[0]]
        elif name == "setting":
            for argument in node.args[1:]:
                self.note(argument, has_words)
            rest = [*node.keywords]
        elif name in SPEAKING and node.args:
            self.note(node.args[0], has_words)
            rest = [*node.args[1:], *node.keywords]
        else:
            rest = [*node.args, *node.keywords]
        self.visit_all(rest)

    def plural(self, node: ast.AST) -> None:
        if isinstance(node, ast.IfExp):
            self.plural(node.body)
            self.plural(node.orelse)
        elif isinstance(node, ast.Constant):
            self.seen.append(_counted(node.value))

    def visit_all(self, nodes: list[Any]) -> None:
        for node in nodes:
            if isinstance(node, ast.keyword) and node.arg in HIDDEN:
                continue
            if isinstance(node, ast.keyword) and node.arg in SHOWN:
                self.note(node.value, has_words)
            else:
                self.visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        self.note(node, is_sentence if self.place.startswith(WORDLESS) else is_message)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self.note(node, is_sentence if self.place.startswith(WORDLESS) else is_message)

    def visit_Assign(self, node: ast.Assign) -> None:
        name = _name(node.targets[0])
        if name.endswith(("HEADERS", "State", "GUIDELINES")):  # columns, and the states that runs and evaluations have
            for value in ast.walk(node.value):
                self.note(value, has_words)
        elif name not in ("__all__", "revision", "down_revision"):
            self.visit(node.value)

    def visit_Compare(self, node: ast.Compare) -> None:
        pass

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # no docstrings
            self.visit(node.value)

    def visit_Assert(self, node: ast.Assert) -> None:
        pass

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for part in (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults, *node.body):
            if part is not None:
                self.visit(part)

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if _name(node.target) == "TABS" and isinstance(node.value, ast.Dict):  # the tabs by their labels
            for label in node.value.keys:
                self.note(label, has_words)
        elif node.value is not None:
            self.visit(node.value)

    def visit_Dict(self, node: ast.Dict) -> None:
        for value in node.values:
            self.visit(value)


def has_words(text: str) -> bool:
    """Whether there is a word beside the fields."""
    return bool(_WORD.search(re.sub(r"\{\w+\}", "", text)))


def is_message(text: str) -> bool:
    """Whether a text is a sentence, some words in a row, or one word with a capital: what a page may show."""
    return is_sentence(text) or (
        bool(_WORDS.match(text)) and has_words(text) and not _TECHNICAL.search(text) and len(text) < 600
    )


def is_sentence(text: str) -> bool:
    """Whether a text anywhere reads like a sentence for somebody: no key, no path, no pattern, no SQL, no HTML."""
    return (
        bool(_SENTENCE.match(text.strip()))
        and has_words(text)
        and len(re.findall(r"[a-z]{2,}", text)) >= 2
        and not re.search(r"[\\<>^]|\(\?|=>|\bSELECT\b|^---|%[sd(]", text)
        and len(text) < 1200
    )


def _phrase(text: str) -> bool:
    return has_words(text) and not re.search(r"[\\<>^{}]|\(\?|%[YmdH]", text)


def message_of(node: ast.AST) -> str | None:
    """The message that a text is: of an f-string each expression by its name, without its format."""
    if isinstance(node, ast.Constant):
        return node.value.strip() if isinstance(node.value, str) else None
    if not isinstance(node, ast.JoinedStr):
        return None
    text, names = "", dict[str, str]()
    for value in node.values:
        if isinstance(value, ast.Constant):
            text += str(value.value).replace("{", "{{").replace("}", "}}")
        elif isinstance(value, ast.FormattedValue):
            expression = ast.unparse(value.value) + str(value.conversion)
            text += f"{{{_field(names, expression, value.value)}}}"
    return text.strip()


def _field(names: dict[str, str], expression: str, node: ast.AST) -> str:
    base = _readable(node)
    name, number = base, 1
    while names.get(name, expression) != expression:
        number += 1
        name = f"{base}{number}"
    names[name] = expression
    return name


def _readable(node: ast.AST) -> str:
    """A word for an expression: the last name of it that is no function."""
    if isinstance(node, ast.Name):
        return node.id.strip("_") or "value"
    if isinstance(node, ast.Attribute):
        return node.attr.strip("_")
    if isinstance(node, ast.Subscript):
        return _readable(node.value)
    if isinstance(node, ast.Call):
        for argument in (*node.args, getattr(node.func, "value", None)):
            if argument is not None and (word := _readable(argument)) != "value":
                return word
        return _readable(node.func)
    if isinstance(node, ast.IfExp):
        return _readable(node.test)
    names = [inner for inner in ast.walk(node) if isinstance(inner, ast.Name | ast.Attribute)]
    return _readable(names[0]) if names and names[0] is not node else "value"


def _name(node: ast.AST | None) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def catalogue(code: str) -> Catalog:
    """The messages of today with the translations there are of a language."""
    path = LOCALE / code / "LC_MESSAGES" / "studio.po"
    known = read_po(path.open("rb"), locale=code) if path.exists() else Catalog(locale=code)
    # one date, so that a file changes with its messages alone
    dates = {"creation_date": _DATE, "revision_date": _DATE}
    today = Catalog(locale=code, project="alignment-studio", version="1", fuzzy=False, charset="utf-8", **dates)
    for one, many, place in found():
        old = known.get(one)
        text = old.string if old is not None else ""
        if many is not None:
            text = text if isinstance(text, tuple) else (text,)
        elif isinstance(text, tuple):
            text = text[0]
        present = today.get(one)
        if present is not None and present.pluralizable and many is None:
            continue
        today.add((one, many) if many else one, text, locations=[(place, None)])  # type: ignore[list-item]
    return today


def missing(code: str) -> list[str]:
    """The messages of today that a language lacks."""
    return [str(message.id) for message in catalogue(code) if message.id and not translated(message.string)]


def translated(text: Any) -> bool:
    return all(text) if isinstance(text, tuple) else bool(text)


def po_text(today: Catalog) -> bytes:
    """A catalogue as its file."""
    content = BytesIO()
    write_po(content, today, width=0, sort_by_file=False, omit_header=False, include_lineno=False)
    return content.getvalue()


def compiled(today: Catalog) -> bytes:
    """What the program reads."""
    content = BytesIO()
    write_mo(content, today)
    return content.getvalue()


def main() -> int:
    """Bring the catalogues up to date; 1 where a translation is missing."""
    left = 0
    for code in CODES:
        today = catalogue(code)
        folder = LOCALE / code / "LC_MESSAGES"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "studio.po").write_bytes(po_text(today))
        (folder / "studio.mo").write_bytes(compiled(today))
        lacking = missing(code)
        left += len(lacking)
        print(f"{code}: {len(today)} messages, {len(lacking)} without a translation")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
