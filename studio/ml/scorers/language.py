"""Which of the two languages of the embedded scorer is a text written in? By script, then by its words.

Small on purpose: py3langid 0.4 (offline, no pickle) was tried. It is good from four words on, but it knows nothing of single
words ("idiot", "Loser"), calls a tenth of Taiwanese texts Cantonese or Wu, and takes seconds to load.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Literal

from studio.config import ROOT

Language = Literal["en", "zh"]
WORDS = ROOT / "data" / "toxicity" / "words-en.txt"
FUNCTION_WORDS = WORDS.with_name("function-words.json")

# What is no prose: addresses, mail, code in backticks, @names and the tags of formatted text stay out of the count.
_NO_PROSE = re.compile(
    r"https?://\S+|\bw{1,3}\.\S+\.\w+|\S+@\S+\.\w+|```.*?(?:```|$)|`[^`\n]*`|(?<!\w)@\w+"
    r"|</?(?:a|b|br|code|div|em|font|h[1-6]|i|li|mark|ol|p|s|small|span|strong|sub|sup|u|ul)\b[^<>]{0,200}>",
    re.S | re.I,
)
_CODE = re.compile(
    r"[{}<>=\\_|]|\w\(|\)\.|\+=|:$|;$|\w\.\w+\(|::|->|^\s*(?:#include|import |def |class |from \w+ import)", re.M
)
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_KANA = re.compile("[\u3040-\u309f\u30a0-\u30fa\u30fd-\u30ff\u31f0-\u31ff]")
_FOREIGN_LETTER = re.compile(
    "[\u0370-\u052f\u0530-\u1cff\u1100-\u11ff\u1f00-\u1fff\u2c00-\u2dff\ua000-\uabff\uac00-\ud7ff\ufb1d-\ufdff\ufe70-\ufeff]"
)
_WORD = re.compile(r"[a-z\u00df-\u024f\u1e00-\u1eff]+(?:'[a-z]+)?")
_ACCENTED = re.compile("[\u00df-\u024f\u1e00-\u1eff]")
_LATIN_RUN = re.compile(r"[a-z\u00c0-\u024f\u1e00-\u1eff]", re.I)


@cache
def _words() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """English words so common that they tell the language; all known English words; function words of other languages.

    The known words are common ones and those of the classifier's own training texts. No word of another language stands among the foreign
    ones that English also writes.
    """
    lists = {
        name: frozenset(text.split()) for name, text in json.loads(FUNCTION_WORDS.read_text(encoding="utf-8")).items()
    }
    english, common = lists.pop("english"), lists.pop("common")
    trained = frozenset(WORDS.read_text(encoding="utf-8").split())
    return english, english | common | trained, frozenset().union(*lists.values())


def languages(text: str) -> tuple[Language, ...]:
    """The covered languages of ``text`` (normalised or not): (), ("en",), ("zh",) or both for a mixed text.

    A text without words (emoji, numbers, addresses), code, and any other language gives ().
    """
    text = _NO_PROSE.sub(" ", text)
    han, kana = len(_HAN.findall(text)), len(_KANA.findall(text))
    foreign = len(_FOREIGN_LETTER.findall(text))
    latin = len(_LATIN_RUN.findall(text))
    present: list[Language] = []
    # A lone の is fashion in Taiwan, two kana in ten characters are Japanese. A Chinese character holds about as much as four letters.
    if han and kana * 5 <= han and foreign <= han and latin <= han * 24:
        present.append("zh")
    if kana * 5 <= max(han, latin / 4) and foreign * 2 <= latin and _is_english(text):
        present.append("en")
    return tuple(present)


def _is_english(text: str) -> bool:
    words = _WORD.findall(text.lower().replace("’", "'"))
    if not words:
        return False
    if len(_CODE.findall(text)) * 4 > len(words):
        return False
    english, known, foreign = _words()
    hits = sum(word in known or _stem(word) in known for word in words)
    common = sum(word in english for word in words)
    others = sum(word in foreign for word in words) + sum(bool(_ACCENTED.search(word)) for word in words)
    # Loan words, names and slang are unknown words too: in a sentence a third of known ones is enough, if no other
    # language shows; a text of one or two words must be known.
    return hits > 0 and hits >= len(words) / (3 if len(words) > 2 else 1.5) and max(hits, 2 * common) > 2 * others


def _stem(word: str) -> str:
    """``word`` without an English ending, roughly: what is needed to find a plural in a list of singulars."""
    for ending in ("'s", "ies", "es", "s", "ing", "ed", "ly", "er", "d"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)] + ("y" if ending == "ies" else "")
    return word
