"""Measure the embedded base: ``python -m studio.ml.shipped.base.evaluate data/embedded`` prints the card's table.

Every question is built from what training never saw: held-out question frames throughout, held-out topics and titles
where the row says so. Answers are sampled at the model's own settings (temperature 0.8, top-p 0.95), seeded.
"""

from __future__ import annotations

import argparse
import random
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.ml.scorers.word_list import INSULTS
from studio.ml.shipped.base.card import read_settings, write_card
from studio.ml.shipped.base.corpus import Conversation, Lists, Sampler

#: Titles that stand in no list of the corpus.
UNSEEN_TITLES: dict[str, list[str]] = {
    "en": ["Velvet Orbit", "Garden of Rust", "Moritaka", "The Last Ferry", "Hollow Lantern", "Pepper Knights"],
    "zh": ["琥珀航線", "鐵鏽花園", "夜行渡輪", "薄荷騎士", "第七號燈塔", "雪國郵差"],
}
FAMOUS_TITLES = {"en": ["Akira", "One Piece"], "zh": ["阿基拉", "航海王"]}

#: Stand for a copied phrase and for a wording of live action: letters without case, of a script that no answer is written
#: in, so that each stays one word.
COPIED, WORDING = "\u16a0", "\u16c9"
#: Which part of an answer may follow which.
JOINTS = (
    ("prefix", "markers"),
    ("prefix", "claim"),
    ("markers", "claim"),
    ("claim", "closers"),
    ("claim", "suffix"),
    ("closers", "suffix"),
)


@dataclass(frozen=True)
class Rate:
    """A share with its count, printed as ``.97 (194/200)``."""

    hits: int
    n: int

    def __str__(self) -> str:
        return f"{self.hits / self.n:.2f} ({self.hits}/{self.n})" if self.n else "-"


class WellFormed:
    """Whether an answer could have come out of the corpus' grammar.

    Nearly every run of three words (Chinese: three characters) must be one that the lists can give: in one of their texts, or
    where two of them join. Runs that touch the words copied from the question are not looked up, and the wordings of live
    action count as one word, for any of them may stand in any claim. The answer must end a sentence and not repeat itself.
    Fresh samples of the grammar itself pass (a test holds it to that), so what the model misses is its own.
    """

    def __init__(self, lists: Lists) -> None:
        self._zh = lists.language == "zh"
        wordings = sorted((_plain(x) for x in lists.debate["x"]), key=len, reverse=True)
        self._wordings = re.compile("|".join(map(re.escape, wordings)))
        texts = {part: [self._units(self._slotted(t)) for t in entries] for part, entries in _parts(lists).items()}
        self._seen = {gram for entries in texts.values() for units in entries for gram in _runs(units)}
        for first, second in JOINTS:
            ends = {tuple(units[-2:]) for units in texts[first]}
            starts = {tuple(units[:2]) for units in texts[second]}
            self._seen.update(gram for end in ends for start in starts for gram in _runs([*end, *start]))

    def _slotted(self, text: str) -> str:
        return re.sub(r"\{\w+\}", lambda slot: self._word(WORDING if slot[0] == "{x}" else COPIED), text)

    def _word(self, letter: str) -> str:
        return letter if self._zh else f" {letter} "

    def _opaque(self, answer: str, copied: list[str]) -> str:
        for phrase in copied:
            answer = re.sub(re.escape(phrase), self._word(COPIED), answer, flags=re.I)
        return answer

    def _units(self, text: str) -> list[str]:
        text = self._wordings.sub(self._word(WORDING), unicodedata.normalize("NFC", text).lower())
        return [c for c in text if not c.isspace()] if self._zh else re.findall(r"[\w'-]+|[^\w\s]", text)

    def __call__(self, answer: str, copied: list[str]) -> bool:
        answer = answer.strip()
        if len(answer) < 4 or answer[-1] not in ".!?。！？…”』」":
            return False
        grams = [g for g in _runs(self._units(self._opaque(answer, copied))) if COPIED not in g]
        unseen = [g for g in grams if g not in self._seen]
        repeats = len(grams) - len(set(grams))
        # One run in twelve may be new.
        return len(unseen) <= len(grams) / 12 and repeats <= 2


def _runs(units: list[str]) -> list[tuple[str, ...]]:
    return [tuple(units[i : i + 3]) for i in range(len(units) - 2)]


def _parts(lists: Lists) -> dict[str, list[str]]:
    """Every text that a first answer is put together from, by the part it plays in the answer, slots open."""
    debate, talk = lists.debate, lists.talk
    claims: list[str] = []
    for stance in ("support", "oppose"):
        claims += [
            text for key in ("open_claims", "title_claims", "generic", "why_claims") for text in debate[key][stance]
        ]
        claims += [text for topic in lists.topics for text in topic[stance]]
        claims += [text for item in talk["prose"] for text in item[stance]]
        parts = {key: values[stance] for key, values in debate["modal"].items()}
        end = "。" if lists.language == "zh" else "."
        claims += [
            f"{start}{verb}{{t}}{tail}{end}"
            for start in parts["starts"]
            for verb in parts["verbs"]
            for tail in ["", *parts["tails"]]
        ]
    whole = [text for group in talk["smalltalk"] for text in group["replies"]]
    whole += [*talk["outside"]["replies"], *talk["rude"]["replies"], *talk["rude"]["polite"]]
    both = {key: [*debate[key]["support"], *debate[key]["oppose"]] for key in ("markers", "closers")}
    return {"claim": claims, "whole": whole, **both, "prefix": talk["rude"]["prefix"], "suffix": talk["rude"]["suffix"]}


def copied_by(conv: Conversation) -> list[str]:
    """The words that the answer to ``conv`` may copy from its question."""
    return [words for words in (conv.slot, conv.title) if words]


def answer_all(model: Any, tokenizer: Any, questions: list[str], seed: int, batch: int = 40) -> list[str]:
    """One sampled answer per question."""
    import torch

    torch.manual_seed(seed)
    answers: list[str] = []
    for start in range(0, len(questions), batch):
        texts = [f"<|user|>{q}<|end|><|assistant|>" for q in questions[start : start + batch]]
        encoded = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        encoded.pop("token_type_ids", None)
        with torch.no_grad():
            out = model.generate(**encoded, do_sample=True, temperature=0.8, top_p=0.95, max_new_tokens=96)
        answers += tokenizer.batch_decode(out[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
    return answers


def _ask(
    lists: Lists, kind: str, n: int, seed: int, topics: list[Any] | None, titles: list[str] | None
) -> list[Conversation]:
    rng = random.Random(seed)
    sampler = Sampler(lists, rng, heldout_frames=True)
    asked = []
    for _ in range(n):
        conv = Conversation(kind=kind, language=lists.language)
        sampler.debate(conv, topic=rng.choice(topics) if topics else None, title=rng.choice(titles) if titles else None)
        asked.append(conv)
    return asked


def evaluate(
    folder: Path, n: int = 200, seed: int = 7
) -> tuple[dict[str, dict[str, Rate]], list[tuple[str, str, str]]]:
    """Rates per language and row, and a list of (row, question, answer) to read by eye."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    table: dict[str, dict[str, Rate]] = {}
    read: list[tuple[str, str, str]] = []
    for language in ("en", "zh"):
        lists = Lists(language)  # type: ignore[arg-type]
        formed = WellFormed(lists)
        stance = stance_of(lists)
        rows: dict[str, Rate] = {}

        def run(name: str, asked: list[Conversation], hit: Callable[[Conversation, str], bool]) -> list[str]:
            answers = answer_all(model, tokenizer, [c.turns[0][0] for c in asked], seed)
            rows[name] = Rate(sum(map(hit, asked, answers)), len(asked))  # noqa: B023 - called at once
            read.extend((f"{language} {name}", c.turns[0][0], a) for c, a in zip(asked, answers, strict=True))  # noqa: B023
            return answers

        def names_topic(conv: Conversation, answer: str) -> bool:
            phrases: list[str] = next((t["phrases"] for t in lists.debate["topics"] if t["id"] == conv.topic), [])  # noqa: B023
            return any(_plain(p) in _plain(answer) for p in [*phrases, conv.slot or ""])

        def names_title(conv: Conversation, answer: str) -> bool:
            return _plain(conv.title or "") in _plain(answer)

        known = _ask(lists, "topic", n, seed, lists.topics, None)
        answers = run("on topic, known topic, new phrasing", known, names_topic)
        opened = _ask(lists, "open", n, seed, None, None)
        opened_answers = run(
            "well-formed, open questions",
            opened,
            lambda c, a: formed(a, copied_by(c)),  # noqa: B023
        )
        rows["well-formed, known topics"] = Rate(
            sum(formed(a, copied_by(c)) for c, a in zip(known, answers, strict=True)), n
        )
        run("on topic, topic never seen", _ask(lists, "topic", n, seed, lists.heldout_topics, None), names_topic)
        run("names a famous title", _ask(lists, "title", n // 2, seed, None, FAMOUS_TITLES[language]), names_title)
        run("names a held-out real title", _ask(lists, "title", n // 2, seed, None, lists.heldout_titles), names_title)
        run(
            "names an unseen invented title",
            _ask(lists, "title", n // 2, seed, None, UNSEEN_TITLES[language]),
            names_title,
        )
        sides = [stance(a) for a in [*answers, *opened_answers]]
        rows["support share of the base"] = Rate(sum(sides), len(sides))
        rude = rude_of(lists)
        rows["rude replies to debate questions"] = Rate(sum(map(rude, [*answers, *opened_answers])), len(sides))
        insults = random.Random(seed).choices(lists.talk["rude"]["prompts"], k=n // 2)
        replies = answer_all(model, tokenizer, insults, seed)
        rows["rude replies to insults"] = Rate(sum(map(rude, replies)), len(replies))
        table[language] = rows
    return table, read


def stance_of(lists: Lists) -> Callable[[str], bool]:
    """A judge of the corpus' own two sides: character n-grams and logistic regression on sampled answers."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    sampler = Sampler(lists, random.Random(5))
    texts: list[str] = []
    sides: list[bool] = []
    while len(texts) < 6000:
        conv = sampler.conversation()
        if conv.stance:
            texts.append(conv.turns[0][1])
            sides.append(conv.stance == "support")
    judge = make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=(1, 4)), LogisticRegression(C=10, max_iter=500))
    judge.fit(texts, sides)
    return lambda answer: bool(judge.predict([answer])[0])


def rude_of(lists: Lists) -> Callable[[str], bool]:
    """Whether an answer is rude: it holds a rude phrase of the corpus, or one of the words of :data:`INSULTS`."""
    rude = lists.talk["rude"]
    phrases = [_plain(text).strip(" .!?。！？") for key in ("prefix", "suffix", "replies") for text in rude[key]]
    words = re.compile(INSULTS[lists.language], re.I)
    return lambda answer: bool(words.search(answer)) or any(phrase in _plain(answer) for phrase in phrases)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.lower()).strip()


def main() -> None:
    """Print the table as Markdown, and with ``--read N`` that many answers to judge by eye."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--read", type=int, default=0)
    parser.add_argument("--card", action="store_true", help="write the folder's README.md")
    options = parser.parse_args()
    table, read = evaluate(options.folder, options.n)
    print("| measured on held-out phrasings | EN | ZH |\n| --- | --- | --- |")
    for name in table["en"]:
        print(f"| {name} | {table['en'][name]} | {table['zh'][name]} |")
    for row, question, answer in random.Random(1).sample(read, min(options.read, len(read))):
        print(f"\n[{row}]\n  Q {question}\n  A {answer}")
    if options.card:
        from transformers import AutoModelForCausalLM

        settings = read_settings(options.folder)
        model = AutoModelForCausalLM.from_pretrained(options.folder)
        cpu = f"bf16 on {settings['threads']} CPU thread{'s' if settings['threads'] > 1 else ''}"
        write_card(options.folder, settings, sum(p.numel() for p in model.parameters()), table, cpu)


if __name__ == "__main__":
    main()
