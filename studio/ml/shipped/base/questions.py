"""How people ask: thousands of question forms put together from hand-written pieces, so that no form can be learned by heart.

The pieces lie in ``data/corpus/{en,zh}_questions.json``. A *core* is a question with slots, with alternatives in brackets
(``[Should|Could] {title} become a film?``) and the names of word lists (``<verb>``). Around it may stand an opener before,
a tail after it, and a sentence that has nothing to do with it. Training also sees questions with words missing or
replaced, other casing and other punctuation; the evaluation does not.

Held out, for the evaluation only: an eighth of the cores of every kind, of the openers and of the tails, drawn with a fixed
seed. The plain ``frames`` in ``{en,zh}_debate.json`` are all for training. What a held-out core has in common with a core or
frame for training (a wording that both can give) is not asked either.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

FRAME_KEYS = ("topic", "bare", "title", "title_topic", "open", "follow_up", "why")
SPLIT_SEED = 2026
#: Share of training questions whose core is one of the plain frames.
PLAIN_SHARE = 0.25
OPENER_SHARE = 0.3
TAIL_SHARE = 0.25
ASIDE_SHARE = 0.06
NOISE_SHARE = 0.45
#: Share of the words (Chinese: characters) outside the slots that a noisy question loses.
DROPPED_SHARE = 0.12
#: Share of noisy questions whose words around the slots are partly other words, and the share of words that are then
#: replaced, and added. What is asked about has to be found by what it is, not by the form that it stands in: without this
#: an unknown form ("{x} versus {t}") makes the model copy the wrong words.
SWAP_SHARE, SWAPPED_SHARE, ADDED_SHARE = 0.5, 0.3, 0.08
#: Share of questions that begin with a stray word instead of an opener.
STRAY_SHARE = 0.05

_CHOICE = re.compile(r"\[([^\[\]]*)\]|<(\w+)>")
_SLOT = re.compile(r"(\{\w+\})")


class Questions:
    """The pieces of one language, split into those for training and those held out."""

    def __init__(self, language: str, folder: Path, frames: dict[str, list[str]]) -> None:
        pieces: dict[str, Any] = json.loads((folder / f"{language}_questions.json").read_text(encoding="utf-8"))
        self.pieces = pieces
        self.frames = frames
        self.words = {name: words.split("|") for name, words in pieces["words"].items()}
        self.asides: list[str] = pieces["asides"]
        self.cores: dict[str, list[str]] = {}
        self.heldout_cores: dict[str, list[str]] = {}
        for key in FRAME_KEYS:
            self.cores[key], self.heldout_cores[key] = _split(pieces["cores"][key])
        self.openers, self.heldout_openers = _split(pieces["openers"])
        self.tails, self.heldout_tails = _split(pieces["tails"])
        trained = [core for key in FRAME_KEYS for core in [*self.cores[key], *frames.get(key, [])]]
        #: Words (Chinese: one or two characters) of the forms for training, as often as they stand there.
        self.stray = _stray([*trained, *self.openers, *self.tails], language == "zh")
        self._trained = re.compile("|".join(f"(?:{self._pattern(core)})" for core in trained), re.I)

    def is_trained(self, core: str) -> bool:
        """Whether training can ask ``core``, its alternatives already chosen, in just these words."""
        return self._trained.fullmatch(core) is not None

    def _pattern(self, core: str) -> str:
        """A regular expression for everything that ``core`` expands to."""
        pattern, end = "", 0
        for match in _CHOICE.finditer(core):
            alternatives = self.words[match[2]] if match[2] else match[1].split("|")
            pattern += re.escape(core[end : match.start()])
            pattern += f"(?:{'|'.join(map(self._pattern, alternatives))})"
            end = match.end()
        return pattern + re.escape(core[end:])


class Asker:
    """Draws questions; ``heldout`` draws from the held-out pieces instead, without noise."""

    def __init__(self, questions: Questions, rng: random.Random, zh: bool, heldout: bool) -> None:
        self._questions, self._rng, self._zh, self._heldout = questions, rng, zh, heldout
        self._cores = questions.heldout_cores if heldout else questions.cores
        self._openers = questions.heldout_openers if heldout else questions.openers
        self._tails = questions.heldout_tails if heldout else questions.tails

    def ask(self, key: str, slots: dict[str, str]) -> str:
        """A question of the kind ``key`` with its slots filled."""
        plain = self._questions.frames.get(key, [])
        if plain and not self._heldout and self._rng.random() < PLAIN_SHARE:
            core = self._rng.choice(plain)
        else:
            core = self.expand(self._rng.choice(self._cores[key]))
        while self._heldout and self._questions.is_trained(core):
            core = self.expand(self._rng.choice(self._cores[key]))
        short = key in ("follow_up", "why")
        return self.dress(core, slots, 0.3 if short else 1.0)

    def dress(self, core: str, slots: dict[str, str], share: float = 1.0) -> str:
        """``core`` with an opener, a tail and an aside as often as ``share`` of the usual, its slots filled."""
        rng = self._rng
        if rng.random() < OPENER_SHARE * share:
            opener = rng.choice(self._openers)
            # A core after a comma or a colon goes on in lower case, unless it begins with "I" or with a slot.
            if opener[-2:] in (", ", ": ") or opener.endswith("but "):
                core = core[:1].lower() + core[1:] if core[1:2].islower() else core
            elif not core.startswith("{"):
                core = core[:1].upper() + core[1:]
            core = opener + core
        elif not self._heldout and rng.random() < STRAY_SHARE:
            stray = rng.choice(self._questions.stray)
            core = (
                f"{stray}{rng.choice('，：。')}{core}"
                if self._zh
                else f"{stray.capitalize()}{rng.choice(',.:')} {core}"
            )
        if rng.random() < TAIL_SHARE * share:
            core = core + rng.choice(self._tails) if core[-1:] in ".?!。？！" else core
        if not self._heldout:
            core = self._aside(core) if rng.random() < ASIDE_SHARE * share else core
            core = self._noise(core) if rng.random() < NOISE_SHARE else core
        return _SLOT.sub(lambda slot: slots.get(slot[1][1:-1], slot[1]), core)

    def expand(self, core: str) -> str:
        """``core`` with every bracket and every word list replaced by one of its alternatives."""
        while _CHOICE.search(core):
            core = _CHOICE.sub(self._pick, core, count=1)
        return core

    def _pick(self, match: re.Match[str]) -> str:
        alternatives = self._questions.words[match[2]] if match[2] else match[1].split("|")
        return self._rng.choice(alternatives)

    def _aside(self, core: str) -> str:
        aside, gap = self._rng.choice(self._questions.asides), "" if self._zh else " "
        return f"{aside}{gap}{core}" if self._rng.random() < 0.5 else f"{core}{gap}{aside}"

    def _noise(self, core: str) -> str:
        parts = _SLOT.split(core)
        literal = range(0, len(parts), 2)
        if self._rng.random() < SWAP_SHARE:
            for index in literal:
                parts[index] = "".join(map(self._swap, self._units(parts[index])))
            return "".join(parts)
        roll = self._rng.random()
        if roll < 0.3:
            return core.rstrip(".?!。？！")
        if roll < 0.45:
            for index in literal:
                swap = str.maketrans("，。？！：", ",.?!:") if self._zh else str.maketrans("", "", ",.?!:;")
                parts[index] = parts[index].translate(swap)
        elif roll < 0.6 and not self._zh:
            for index in literal:
                parts[index] = parts[index].lower()
        else:
            for index in literal:
                units = self._units(parts[index])
                parts[index] = "".join(u for u in units if u in "《》" or self._rng.random() >= DROPPED_SHARE)
        return "".join(parts)

    def _units(self, text: str) -> list[str]:
        """Words with the space before them; for Chinese, characters."""
        return list(text) if self._zh else re.findall(r"\s*\S+|\s+", text)

    def _swap(self, unit: str) -> str:
        roll = self._rng.random()
        if roll >= SWAPPED_SHARE + ADDED_SHARE or not any(map(str.isalnum, unit)):
            return unit
        stray = self._rng.choice(self._questions.stray)
        if not self._zh:
            # The space before the word and the mark behind it stay where they are.
            before, mark = unit[: len(unit) - len(unit.lstrip())], re.sub(r".*\w", "", unit, flags=re.S)
            stray = f"{before}{stray}{mark}"
        return stray if roll < SWAPPED_SHARE else f"{stray}{unit}" if self._zh or unit[:1] == " " else f"{stray} {unit}"


def _stray(forms: list[str], zh: bool) -> list[str]:
    """The words of ``forms`` outside slots, brackets and word lists."""
    literal = " ".join(re.sub(r"\[[^\]]*\]|<\w+>|\{\w+\}", " ", form) for form in forms)
    return re.findall(r"[\u4e00-\u9fff]{1,2}" if zh else r"[A-Za-z][a-z'-]*", literal)


def _split(pieces: list[str]) -> tuple[list[str], list[str]]:
    """Seven eighths for training and one eighth held out, the same for the same list; at least one each."""
    order = list(range(len(pieces)))
    random.Random(SPLIT_SEED).shuffle(order)
    held = set(order[: max(1, len(pieces) // 8)])
    return [p for i, p in enumerate(pieces) if i not in held], [p for i, p in enumerate(pieces) if i in held]
