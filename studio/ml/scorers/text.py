"""How the embedded toxicity classifier reads a text: plain letters, short passages, hashed n-grams. numpy only.

Training and scoring share this module, so that both see the same features. A passage is a sentence: one rude sentence makes
a text rude, however long the rest, and a sentence is what the classifier was trained on.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from studio.ml.scorers.chinese import TO_TRADITIONAL
from studio.ml.scorers.language import Language

#: Characters of a text that are read; the rest is reported as cut.
MAX_CHARS = 50_000
#: Longest passage: longer sentences are cut into pieces of this many characters.
PASSAGE_CHARS = 300
#: Two to this power hashed features.
BITS = 20

# Control, format, zero-width, bidi and variation characters, and accents that NFKC could not join to a letter (zalgo).
_UNSEEN = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u0300-\u036f\u034f\u061c\u1ab0-\u1aff\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u20d0-\u20ff\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef]"
)
_LOOKALIKES = str.maketrans("авеікмнорстухѕјԁɡοαερυιν", "abeikmhopctyxsjdgoaepuiv")
_LEET = str.maketrans("0134578@$!", "oieastbasi")
_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_MIXED_SCRIPT = re.compile(r"[a-z\u0250-\u052f]*[a-z][a-z\u0250-\u052f]*")
_LEET_WORD = re.compile(
    r"(?<![a-z0-9@$])(?=[a-z0-9@$!]*[a-z])[0134578@$]*[a-z][a-z0134578@$]*(?:!+[a-z][a-z0134578@$]*)*"
)
_NO_LEET = re.compile(r"[a-z]*[0-9]*|[0-9]+[a-z]{1,2}")
_SPACED = re.compile(r"(?<![a-z0-9'’])[a-z](?:[ .\-_][a-z]){2,}(?![a-z0-9'’])")
_REPEATED = re.compile(r"([a-z!?~.,*])\1{2,}")
_REPEATED_HAN = re.compile(rf"([{_HAN}])\1{{2,}}")
_HAN_GAP = re.compile(rf"(?<=[{_HAN}])[^\S\n]*[*._\-·~^/|\\]*[^\S\n]*(?=[{_HAN}])")
_SPACE = re.compile(r"[^\S\n]+")
_PASSAGE = re.compile(
    r"(?:\"[^\"\n]{1,200}\"|“[^”\n]{1,200}”|「[^」\n]{1,200}」|『[^』\n]{1,200}』|《[^》\n]{1,60}》|\.(?=[^\s\"])|[^.!?。\n])+"
    r"(?:[.!?。]+[\"”」』)]*)?"
)
# What a browser does not show: comments, scripts, styles, and tags (those inside a word join its parts, all others end a line).
_HIDDEN = re.compile(r"<!--.*?(?:-->|$)|<(script|style|template)\b[^<>]*>.*?(?:</\1\s*>|$)", re.S | re.I)
_WITHIN_WORDS = re.compile(
    r"</?(?:a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|ins|kbd|label|mark|q|s|samp|small|span|strike|strong|sub|sup|time|"
    r"tt|u|var|wbr)(?:\s[^<>]{0,500})?/?>",
    re.I,
)
_BETWEEN_WORDS = re.compile(
    r"</?(?:address|article|aside|audio|blockquote|body|br|button|caption|center|col|colgroup|dd|details|dialog|div|dl|dt|fieldset|figcaption|"
    r"figure|footer|form|h[1-6]|head|header|hr|html|iframe|img|input|legend|li|link|main|meta|nav|object|ol|optgroup|option|p|picture|pre|"
    r"section|select|source|summary|table|tbody|td|textarea|tfoot|th|thead|title|tr|ul|video)(?:\s[^<>]{0,500})?/?>|<!doctype[^<>]*>",
    re.I,
)
_WORD = re.compile(rf"[a-z0-9*']+|[{_HAN}]|[^\sa-z0-9*'{_HAN}]")
# What the weights do not read. Punctuation in English: data sets differ in it more than toxic and harmless texts do.
_NOT_ENGLISH = re.compile(r"[^a-z0-9*'\"]+")
_END = re.compile(r"[\s。.!?,、~…]+$")


def shown(text: str) -> str:
    """What a text shows where it is HTML: without tags, comments and scripts, its character references read. Other text stays as it is."""
    if "<" in text:
        text = _BETWEEN_WORDS.sub("\n", _WITHIN_WORDS.sub("", _HIDDEN.sub("", text)))
    return html.unescape(text) if "&" in text else text


def normalise(text: str) -> str:
    """``text`` as it :func:`shows <shown>`, in plain lower-case letters: full width, zero width, look-alikes, 1337, s p a c e d and
    loooong undone.

    Simplified Chinese characters become Traditional ones. Only the first :data:`MAX_CHARS` characters are read.
    """
    text = shown(text[:MAX_CHARS])
    if not text.isascii():
        text = _UNSEEN.sub("", unicodedata.normalize("NFKC", text))
    text = text.lower().replace("’", "'").replace("\r", "\n")
    if not text.isascii():
        text = _MIXED_SCRIPT.sub(lambda m: m[0].translate(_LOOKALIKES), text).translate(TO_TRADITIONAL)
        text = _HAN_GAP.sub("", text)
        text = _REPEATED_HAN.sub(r"\1\1", text)
    else:
        text = _UNSEEN.sub("", text)
    text = _SPACED.sub(lambda m: re.sub(r"[ .\-_]", "", m[0]), text)
    text = _LEET_WORD.sub(lambda m: m[0] if _NO_LEET.fullmatch(m[0]) else m[0].translate(_LEET), text)
    text = _REPEATED.sub(r"\1", text)
    return _SPACE.sub(" ", text).strip()


def passages(text: str) -> list[str]:
    """The sentences of a normalised text, quotations kept whole; at most :data:`PASSAGE_CHARS` characters each."""
    pieces = [piece.strip() for piece in _PASSAGE.findall(text)]
    return [
        piece[start : start + PASSAGE_CHARS]
        for piece in pieces
        if any(char.isalnum() for char in piece)
        for start in range(0, len(piece), PASSAGE_CHARS)
    ]


class Features:
    """Hashed n-grams of passages: characters (within and across words) and, where words are spelled, one to three of them.

    All n-grams of all passages are hashed at once: with prefix sums of ``c[i] * P**i`` (mod 2**64) the polynomial hash of
    any span is one subtraction and one product.

    Args:
        unread: what of a passage is replaced by a space before.
    """

    def __init__(
        self, chars: tuple[int, int], words: tuple[int, int] | None, unread: re.Pattern[str] | None = None
    ) -> None:
        self.chars, self.words, self._unread = chars, words, unread

    def read(self, text: str) -> str:
        """What is read of a normalised passage, between two spaces: spans count from here."""
        return f" {(self._unread.sub(' ', text) if self._unread else text).strip()} "

    def __call__(self, texts: Sequence[str]) -> tuple[Any, Any]:
        """``(index, row)`` of every n-gram of ``texts`` (normalised passages), rows in order; uint32 and int64 arrays."""
        index, row, _, _ = self.spans([self.read(text) for text in texts])
        return index, row

    def spans(self, padded: Sequence[str]) -> tuple[Any, Any, Any, Any]:
        """``(index, row, start, stop)`` of every n-gram of passages as :meth:`read` gives them, rows in order; ``start`` and ``stop``
        count characters of all passages joined."""
        import numpy as np

        joined = "".join(padded)
        codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
        lengths = np.array([len(text) for text in padded], dtype=np.int64)
        ends = np.cumsum(lengths)
        base, inverse = np.uint64(_P), np.uint64(_P_INVERSE)
        size = len(codes) + 1
        powers = np.cumprod(np.concatenate([[np.uint64(1)], np.full(size - 1, base)]), dtype=np.uint64)
        inverses = np.cumprod(np.concatenate([[np.uint64(1)], np.full(size - 1, inverse)]), dtype=np.uint64)
        sums = np.concatenate([[np.uint64(0)], np.cumsum((codes + np.uint64(1)) * powers[:-1], dtype=np.uint64)])
        owner = np.repeat(np.arange(len(padded)), lengths)
        hashes, rows, first, last = [], [], [], []

        def take(starts: Any, stops: Any, salt: int) -> None:
            spans = (sums[stops] - sums[starts]) * inverses[starts] + np.uint64(salt)
            spans = (spans ^ (spans >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
            hashes.append(((spans ^ (spans >> np.uint64(29))) >> np.uint64(64 - BITS)).astype(np.uint32))
            rows.append(owner[starts])
            first.append(starts)
            last.append(stops)

        positions = np.arange(len(codes))
        for n in range(self.chars[0], self.chars[1] + 1):
            starts = positions[positions + n <= ends[owner]]
            take(starts, starts + n, n)
        if self.words and (marks := [m.span() for m in _WORD.finditer(joined)]):
            begins, stops = (np.array(side, dtype=np.int64) for side in zip(*marks, strict=True))
            for n in range(self.words[0], self.words[1] + 1):
                left, right = begins[: len(begins) - n + 1], stops[n - 1 :]
                same = owner[left] == owner[right - 1] if len(left) else np.array([], dtype=bool)
                take(left[same], right[same], 100 + n)
        rows_all = np.concatenate(rows)
        order = np.argsort(rows_all, kind="stable")
        index, start, stop = (np.concatenate(parts)[order] for parts in (hashes, first, last))
        return index, rows_all[order], start, stop


def words_of(text: str) -> list[tuple[int, int]]:
    """Where the words of a text stand: words of letters, single Chinese characters, single signs."""
    return [match.span() for match in _WORD.finditer(text)]


_P = 0x9E3779B97F4A7C15
_P_INVERSE = pow(_P, -1, 1 << 64)
FEATURES: dict[Language, Features] = {"en": Features((3, 5), (1, 3), _NOT_ENGLISH), "zh": Features((1, 4), None, _END)}
