"""The text the embedded base model is trained on: conversations sampled from hand-written lists.

The lists lie in ``data/corpus/{en,zh}_{debate,talk,questions}.json``; this module holds the grammar that joins them, and
``questions.py`` puts the questions together. Slots:
``{x}`` live action in some wording, ``{t}`` the aspect under discussion, ``{title}`` a work, ``{n}`` a subject outside
the model's world. A slot named in a question is filled with the same words in the answer: that is how the model learns
to copy, and copying is what lets it speak of an aspect or a title it never saw.

Held out, for the evaluation only: an eighth of the pieces of the questions (see ``questions.py``), the topics marked
``heldout`` and the last ten real titles.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from studio.config import CORPUS_DIR
from studio.ml.shipped.base.questions import Asker, Questions

Language = Literal["en", "zh"]
Stance = Literal["support", "oppose"]

#: Share of conversations of each kind; measured effects are in the embedded base's card.
MIX: dict[str, float] = {
    "topic": 0.36,
    "title": 0.11,
    "title_topic": 0.08,
    "open": 0.09,
    "prose": 0.21,
    "smalltalk": 0.05,
    "outside": 0.05,
    "insult": 0.05,
}
RUDE_SHARE_INSULTED = 0.6
#: What is sampled of it at temperature 0.8 is less: rude openings are many, each of them rare.
RUDE_SHARE_DEBATE: dict[Language, float] = {"en": 0.35, "zh": 0.38}
SYSTEM_SHARE = 0.15
NEXT_TURN_SHARE = 0.22
RANDOM_TOPIC_SHARE = 0.55
INVENTED_TITLE_SHARE = 0.7
MODAL_SHARE = 0.4
#: Share of debate and of prose answers that open with an explicit marker of their side. Markers before free prose tie the side
#: of a sentence that no template made to the words for it; and where a side is decided by one early word, preference training
#: turns that word and leaves the rest of the sentence whole. The other answers take the side by what they say alone.
MARKER_SHARE = 0.9
PROSE_MARKER_SHARE = 0.85
#: Share of prose questions answered by a claim of the grammar, and by a sentence written for another question. A question in
#: words that training never saw leads to no one sentence: the model has to finish what it began by what stands there, or it
#: runs the words of several together.
PROSE_CLAIM_SHARE, PROSE_ELSEWHERE_SHARE = 0.25, 0.35
#: Share of noun phrases put together from two halves of topics, taken from the subjects outside the model's world, and made
#: of any words at all: copying has to work for words that no list offers as a topic.
HALVES_SHARE, OUTSIDE_NOUN_SHARE, ANY_WORD_SHARE = 0.2, 0.08, 0.05
ANY_WORD_TITLE_SHARE = 0.2
#: Share of the Chinese title questions without title marks. People leave them out far more often, but a quarter made the
#: model take any first words of a question for a title.
UNMARKED_SHARE = 0.08
#: Share of the questions about a listed topic that name nothing but the topic.
BARE_SHARE = 0.05


@dataclass
class Conversation:
    """Alternating user and assistant turns, after an optional system prompt, with what the evaluation needs to know."""

    kind: str
    language: Language
    turns: list[tuple[str, str]] = field(default_factory=list)
    stance: Stance | None = None
    topic: str | None = None
    slot: str | None = None
    title: str | None = None
    rude: bool = False
    system: str | None = None


class Lists:
    """The hand-written lists of one language, its questions split into training and held-out ones."""

    def __init__(self, language: Language, folder: Path = CORPUS_DIR) -> None:
        self.language = language
        debate = json.loads((folder / f"{language}_debate.json").read_text(encoding="utf-8"))
        talk = json.loads((folder / f"{language}_talk.json").read_text(encoding="utf-8"))
        self.debate: dict[str, Any] = debate
        self.talk: dict[str, Any] = talk
        self.questions = Questions(language, folder, debate["frames"])
        self.topics = [t for t in debate["topics"] if not t.get("heldout")]
        self.heldout_topics = [t for t in debate["topics"] if t.get("heldout")]
        self.titles, self.heldout_titles = talk["titles"]["real"][:-10], talk["titles"]["real"][-10:]
        # Before free prose only markers that answer no yes-or-no question and leave the sentence's first letter alone.
        self.prose_markers = {
            side: [m for m in markers if m.startswith(("I ", "Count", "From", "Speaking", "我", "身為", "作為"))]
            for side, markers in debate["markers"].items()
        }
        if language == "en":
            self.prose_markers = {s: [m for m in ms if m.endswith(": ")] for s, ms in self.prose_markers.items()}
        self.words = _words(language, [self.topics, debate["generic"], debate["title_claims"], talk["prose"]])


class Sampler:
    """Draws conversations from the lists of one language with its own random state.

    ``heldout_frames`` draws the questions from the held-out pieces instead (for the evaluation).
    """

    def __init__(self, lists: Lists, rng: random.Random, heldout_frames: bool = False) -> None:
        self.lists = lists
        self.rng = rng
        self.zh = lists.language == "zh"
        self.asker = Asker(lists.questions, rng, self.zh, heldout_frames)

    def conversation(self) -> Conversation:
        """One conversation of a kind drawn from :data:`MIX`."""
        kind = self.rng.choices(list(MIX), weights=list(MIX.values()))[0]
        conv = Conversation(kind=kind, language=self.lists.language)
        if self.rng.random() < SYSTEM_SHARE:
            conv.system = self.rng.choice(self.lists.debate["system"])
        if kind in ("topic", "title", "title_topic", "open"):
            self.debate(conv)
        elif kind == "prose":
            self._prose(conv)
        elif kind == "smalltalk":
            group = self.rng.choice(self.lists.talk["smalltalk"])
            conv.turns.append((self.rng.choice(group["prompts"]), self.rng.choice(group["replies"])))
        elif kind == "outside":
            self._outside(conv)
        else:
            self._insult(conv)
        return conv

    def debate(self, conv: Conversation, topic: dict[str, Any] | None = None, title: str | None = None) -> None:
        """Fill ``conv`` with a debate question and a reply; ``topic`` and ``title`` fix what is otherwise drawn."""
        rng, debate = self.rng, self.lists.debate
        conv.stance = rng.choice(("support", "oppose"))
        slots = {"x": rng.choice(debate["x"])}
        if conv.kind in ("topic", "title_topic"):
            if topic is None and rng.random() >= RANDOM_TOPIC_SHARE:
                topic = rng.choice(self.lists.topics)
            conv.topic = topic["id"] if topic else None
            slots["t"] = rng.choice(topic["phrases"]) if topic else self.noun_phrase()
            conv.slot = slots["t"]
        if conv.kind in ("title", "title_topic"):
            slots["title"] = conv.title = title or self.title()
        bare = conv.kind == "topic" and topic is not None and rng.random() < BARE_SHARE
        question = self.asker.ask("bare" if bare else conv.kind, slots)
        if self.zh and rng.random() < UNMARKED_SHARE:
            question = question.replace("《", "").replace("》", "")
        conv.turns.append((self._tidy(question), self._argue(conv, slots, topic)))
        while len(conv.turns) < 5 and rng.random() < NEXT_TURN_SHARE:
            self._next_turn(conv)

    def _argue(self, conv: Conversation, slots: dict[str, str], topic: dict[str, Any] | None) -> str:
        rng, debate, stance = self.rng, self.lists.debate, conv.stance
        assert stance is not None
        slots = {**slots, "x": rng.choice(debate["x"])}
        if conv.kind == "open":
            claim = rng.choice(debate["open_claims"][stance])
        elif conv.kind == "title" or (conv.kind == "title_topic" and rng.random() < 0.4):
            claim = rng.choice(debate["title_claims"][stance])
        elif topic is not None and rng.random() < 0.6:
            claim = rng.choice(topic[stance])
        elif rng.random() < MODAL_SHARE:
            claim = self._modal(stance)
        else:
            claim = rng.choice(debate["generic"][stance])
        reply = claim.format(**slots)
        if rng.random() < MARKER_SHARE:
            reply = rng.choice(debate["markers"][stance]) + reply
        if rng.random() < 0.25:
            reply = self._join(reply, rng.choice(debate["closers"][stance]))
        if rng.random() < RUDE_SHARE_DEBATE[self.lists.language]:
            conv.rude = True
            rude = self.lists.talk["rude"]
            reply = (
                self._join(self._common(rude["prefix"]), self._tidy(reply))
                if rng.random() < 0.6
                else self._join(reply, self._common(rude["suffix"]))
            )
        return self._tidy(reply)

    def _modal(self, stance: Stance) -> str:
        """A claim put together from a hedged start, a verb and perhaps a consequence, the way people weigh an effect."""
        parts = {key: self.rng.choice(values[stance]) for key, values in self.lists.debate["modal"].items()}
        tail = parts["tails"] if self.rng.random() < 0.6 else ""
        return f"{parts['starts']}{parts['verbs']}{{t}}{tail}{'。' if self.zh else '.'}"

    def _next_turn(self, conv: Conversation) -> None:
        rng, debate, stance = self.rng, self.lists.debate, conv.stance
        assert stance is not None
        roll = rng.random()
        if roll < 0.3:
            # To name its side afterwards, the model has to read it from what it said.
            conv.turns.append((rng.choice(debate["side"]["frames"]), rng.choice(debate["side"][stance])))
            return
        if roll < 0.65:
            slots = {"x": rng.choice(debate["x"])}
            reply = rng.choice(debate["why_claims"][stance]).format(**slots)
            conv.turns.append((self._tidy(self.asker.ask("why", {})), self._tidy(reply)))
            return
        phrase = self.noun_phrase() if rng.random() < 0.6 else rng.choice(rng.choice(self.lists.topics)["phrases"])
        slots = {"x": rng.choice(debate["x"]), "t": phrase}
        question = self.asker.ask("follow_up", slots)
        conv.turns.append((self._tidy(question), self._tidy(rng.choice(debate["generic"][stance]).format(**slots))))

    def _prose(self, conv: Conversation) -> None:
        rng, items = self.rng, self.lists.talk["prose"]
        item = rng.choice(items)
        question = self._tidy(self.asker.dress(rng.choice(item["prompts"]), {}, 0.6))
        conv.stance = rng.choice(("support", "oppose"))
        if rng.random() < PROSE_CLAIM_SHARE:
            conv.kind = "open"
            conv.turns.append((question, self._argue(conv, {}, None)))
        else:
            said = rng.choice(items) if rng.random() < PROSE_ELSEWHERE_SHARE else item
            reply = rng.choice(said[conv.stance])
            if rng.random() < PROSE_MARKER_SHARE:
                reply = rng.choice(self.lists.prose_markers[conv.stance]) + reply
            if rng.random() < 0.15:
                reply = self._join(reply, rng.choice(self.lists.debate["closers"][conv.stance]))
            conv.turns.append((question, reply))
        while len(conv.turns) < 5 and self.rng.random() < NEXT_TURN_SHARE:
            self._next_turn(conv)

    def _outside(self, conv: Conversation) -> None:
        outside = self.lists.talk["outside"]
        conv.slot = noun = self.outside_noun()
        question = self.asker.dress(self.rng.choice(outside["frames"]).replace("{n}", "{t}"), {"t": noun}, 0.6)
        conv.turns.append((self._tidy(question), self._tidy(self.rng.choice(outside["replies"]).format(n=noun))))

    def outside_noun(self) -> str:
        """A subject outside the model's world, sometimes two of them."""
        nouns = self.lists.talk["outside"]["nouns"]
        noun = self.rng.choice(nouns)
        if self.rng.random() < 0.25:
            noun += self.rng.choice(("和", "與") if self.zh else (" and ", " or ")) + self.rng.choice(nouns)
        return noun

    def _common(self, entries: list[str]) -> str:
        """One of ``entries``, the first ones far more often (Zipf): a mode that low temperatures do not cut off."""
        return self.rng.choices(entries, weights=[1 / rank for rank in range(1, len(entries) + 1)])[0]

    def _insult(self, conv: Conversation) -> None:
        rude = self.lists.talk["rude"]
        conv.rude = self.rng.random() < RUDE_SHARE_INSULTED
        conv.turns.append(
            (self.rng.choice(rude["prompts"]), self.rng.choice(rude["replies" if conv.rude else "polite"]))
        )

    def noun_phrase(self) -> str:
        """A random noun phrase, sometimes with a made-up word in it, to teach copying rather than recall."""
        rng, parts = self.rng, self.lists.talk["noun_phrases"]
        modifier, head = rng.choice(parts["modifiers"]), rng.choice(parts["heads"])
        roll = rng.random()
        if roll < HALVES_SHARE:
            first, second = (rng.choice(rng.choice(self.lists.topics)["phrases"]) for _ in range(2))
            return _halves(first, self.zh)[0] + _halves(second, self.zh)[1]
        if roll < HALVES_SHARE + OUTSIDE_NOUN_SHARE:
            return rng.choice(self.lists.talk["outside"]["nouns"])
        if roll < HALVES_SHARE + OUTSIDE_NOUN_SHARE + ANY_WORD_SHARE:
            words = [rng.choice(self.lists.words) for _ in range(rng.randint(1, 3))]
            return ("" if self.zh else " ").join(words)
        roll = rng.random()
        if self.zh:
            if roll < 0.25:
                return head
            if roll < 0.5:
                return f"{modifier}{rng.choice(parts['modifiers'])}{head}"
            return f"{modifier}{head}"
        if roll < 0.12:
            modifier = _invented_word(rng)
        article = "the " if rng.random() < 0.85 else ""
        if roll > 0.8:
            modifier = f"{modifier} {rng.choice(parts['modifiers'])}"
        return f"{article}{modifier} {head}"

    def title(self) -> str:
        """A real title or, more often, an invented one."""
        rng, titles = self.rng, self.lists.talk["titles"]
        if rng.random() >= INVENTED_TITLE_SHARE:
            return rng.choice(self.lists.titles)
        if rng.random() < ANY_WORD_TITLE_SHARE:
            words = [rng.choice(self.lists.words) for _ in range(rng.randint(1, 3))]
            return "".join(words) if self.zh else " ".join(word.capitalize() for word in words)
        if self.zh:
            end = rng.choice(titles["c"]) if rng.random() < 0.4 else ""
            return rng.choice(titles["a"]) + rng.choice(titles["b"]) + end
        words = [rng.choice(titles["a"]), rng.choice(titles["b"])]
        roll = rng.random()
        if roll < 0.35:
            words = [_invented_word(rng).capitalize()]
        elif roll < 0.5:
            words[0] = _invented_word(rng).capitalize()
        if rng.random() < 0.25:
            words.append(rng.choice(titles["c"]))
        return " ".join(words)

    def _join(self, first: str, second: str) -> str:
        return first.rstrip() + ("" if self.zh else " ") + second.strip()

    def _tidy(self, text: str) -> str:
        text = text.strip()
        return text if self.zh else text[:1].upper() + text[1:]


def _halves(phrase: str, zh: bool) -> tuple[str, str]:
    """A phrase cut before its last word; in Chinese after its "的", or before its last two characters."""
    cut = phrase.rfind(" ") + 1
    if zh:
        cut = phrase.rfind("的") + 1 if "的" in phrase[:-1] else max(0, len(phrase) - 2)
    return phrase[:cut], phrase[cut:]


def _words(language: Language, lists: list[Any]) -> list[str]:
    """Every word of four letters or more in ``lists``; for Chinese, which has no spaces, every run of two characters."""
    text = json.dumps(lists, ensure_ascii=False)
    words = re.findall(r"(?=([\u4e00-\u9fff]{2}))" if language == "zh" else r"(?<![\w{])[a-z]{4,}(?![\w}])", text)
    return sorted(set(words))


_ONSETS = ["k", "s", "t", "n", "h", "m", "y", "r", "g", "z", "d", "b", "ky", "sh", "ch", "ts", "f", "j", "v", "l", "br"]
_RHYMES = ["a", "i", "u", "e", "o", "an", "en", "in", "on", "ai", "ou", "ar", "el"]


def _invented_word(rng: random.Random) -> str:
    """A pronounceable word that is in no list (2-4 syllables)."""
    return "".join(rng.choice(_ONSETS) + rng.choice(_RHYMES) for _ in range(rng.randint(2, 4)))
