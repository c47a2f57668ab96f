"""Where one answer differs from another: by word, in Chinese and Japanese by character. Pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

from markupsafe import Markup

from studio.ui.parts.html import Macros, parts

_HTML = Macros("compare/panes/diff.html")

#: One CJK character or kana, a word in any other script (apostrophes inside), or one sign; with the space behind it.
_TOKEN = re.compile(
    r"(?:[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
    r"|[^\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+(?:['’\-]\w+)*"
    r"|[^\w\s])\s*|\s+"
)


@dataclass(frozen=True)
class Piece:
    """A stretch of text: ``same`` in both, ``added`` only in the second, ``gone`` only in the first."""

    kind: str
    text: str


def tokens(text: str) -> list[str]:
    """``text`` cut into what is compared; joined they give it back."""
    return _TOKEN.findall(text)


def compare(first: str, second: str) -> list[Piece]:
    """How ``second`` differs from ``first``; spaces and line breaks do not count as differences."""
    a, b = tokens(first), tokens(second)
    matcher = SequenceMatcher(None, [t.strip() for t in a], [t.strip() for t in b], autojunk=False)
    pieces = []
    for what, a0, a1, b0, b1 in matcher.get_opcodes():
        if what == "equal":
            pieces.append(Piece("same", "".join(b[b0:b1])))
            continue
        if a1 > a0:
            pieces.append(Piece("gone", "".join(a[a0:a1])))
        if b1 > b0:
            pieces.append(Piece("added", "".join(b[b0:b1])))
    return pieces


def diff_html(first: str, second: str, pane: str) -> Markup:
    """``second`` with its differences from ``first`` marked; ``pane`` says whose answer ``first`` is."""
    if not first or not second:
        return parts.quiet(f"The difference shows once this pane and {pane} have answered.")
    if first == second:
        return parts.quiet(f"The very same answer as {pane}.")
    pieces = compare(first, second)
    same = sum(len(tokens(p.text)) for p in pieces if p.kind == "same")
    return _HTML.diff(pieces, pane, same, max(len(tokens(first)), len(tokens(second))))
