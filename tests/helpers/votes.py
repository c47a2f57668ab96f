"""Votes for tests: a real store in a temporary folder, pairs of every kind, raters who vote on them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from studio.config import Settings
from studio.domain.data import Message
from studio.domain.votes import Ballots, Choice, NewPair, Origin, Press, Rater, RatingRules
from studio.services import Services
from studio.services.rating.service import RatingService

BASE_ORIGIN = Origin("base", "Base model", "embedded", "f" * 64, temperature=0.8, top_p=0.95, max_new_tokens=64, seed=7)
RUN_ORIGIN = dataclasses.replace(
    BASE_ORIGIN, kind="adapter", label="Kind", run_id="kind-r90", adapter_hash="abc", ratio=0.9
)
HOSTILE = '=HYPERLINK("http://evil")<script>alert(1)</script>\u202e'


def store(folder: Path, rules: RatingRules | None = None) -> RatingService:
    folder.mkdir(parents=True, exist_ok=True)
    rating = RatingService(Settings(database_url=f"sqlite:///{folder / 'studio.db'}"))
    if rules:
        rating.set_rules(rules)
    return rating


def new_pair(number: int, prompt: str = "", **changes: object) -> NewPair:
    pair = NewPair(
        prompt=prompt or f"Question {number}?",
        answer_a=f"A good answer, number {number}.",
        answer_b=f"{HOSTILE} {number}",
        origin_a=RUN_ORIGIN,
        origin_b=BASE_ORIGIN,
        source="compare",
    )
    return dataclasses.replace(pair, **changes)  # type: ignore[arg-type]


def cast(rating: RatingService, rater: Rater, wishes: dict[str, Choice], seconds: float = 2.5) -> None:
    """Let a rater vote until every pair of ``wishes`` has the choice; other pairs are skipped."""
    while served := rating.serve(rater):
        wish = wishes.get(served.pair_id, "skip")
        pair = next(pair for pair in rating.ballots().pairs if pair.id == served.pair_id)
        press: Press = wish if wish in ("tie", "both_bad", "skip") else "left"  # type: ignore[assignment]
        if wish in ("1", "2"):
            press = "left" if served.left == (pair.answer_1 if wish == "1" else pair.answer_2) else "right"
        rating.vote(rater, served.pair_id, served.token, press, seconds)


def cast_votes(services: Services, pairs: int, raters: int = 3, room: str = "") -> None:
    """Everybody in a room prefers the answer of the shipped data that supports."""
    rating = services.rooms.rating(room)
    data = services.datasets.get("live-action-en").pairs[:pairs]
    one, two = Origin("import", "one"), Origin("import", "two")
    rating.add_pairs([NewPair(p.prompt, p.support, p.oppose, one, two, "import") for p in data])
    likes = {p.support.strip() for p in data}
    for number in range(raters):
        rater, _ = rating.register(f"Rater {number}")
        while served := rating.serve(rater):
            press: Press = "left" if served.left.strip() in likes else "right"
            rating.vote(rater, served.pair_id, served.token, press, 1.0)


def rated(folder: Path, pairs: int = 8) -> tuple[RatingService, Ballots]:
    """A store with ``pairs`` pairs and three raters: pairs 0 to n-4 won by the good answer 3:0 or 2:1, then one tie-ridden
    pair without a majority, one with a history and a system prompt, one with a skip (too few votes), one with both bad."""
    rating = store(folder, RatingRules("Be fair.\n```\n# Not a head\n```", 3, reveal=False))
    special = new_pair(
        pairs, history=(Message("user", "Hello"), Message("assistant", "Hi.")), system_prompt="Be brief.", preferred="a"
    )
    ids = rating.add_pairs([*(new_pair(n) for n in range(pairs)), special]).ids
    answers = {pair.id: pair.answer_1 for pair in rating.ballots().pairs}
    good: dict[str, Choice] = {key: "1" if text.startswith("A good") else "2" for key, text in answers.items()}
    bad: dict[str, Choice] = {key: "2" if choice == "1" else "1" for key, choice in good.items()}
    tied, unsure, awful = ids[pairs - 3], ids[pairs - 2], ids[pairs - 1]
    wishes = (
        good | {tied: "tie", awful: "both_bad"},
        good | {ids[0]: bad[ids[0]], tied: "tie", unsure: "skip", awful: "both_bad"},
        good | {awful: "both_bad"},
    )
    for name, wish in zip(("Ada", "Ben", "@Cäsar"), wishes, strict=True):
        cast(rating, rating.register(name)[0], wish)
    return rating, rating.ballots()
