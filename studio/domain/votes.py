"""The frozen types of rating: pairs of answers, where they came from, raters, votes, and what the votes decide.

Answers of a pair stand in a canonical order (see ``services/rating/service.py``), named 1 and 2. Which of them a rater saw on the
left is drawn per (pair, rater) and recorded with the vote, so that a side bias can be measured afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from studio.domain.data import Message

#: What a vote says of answers 1 and 2. ``skip`` is no opinion: it is kept, and counts as nothing.
Choice = Literal["1", "2", "tie", "both_bad", "skip"]
#: What a rater presses.
Press = Literal["left", "right", "tie", "both_bad", "skip"]
PairSource = Literal["compare", "batch", "import"]
#: Why a rater chose as they did; none, one or several go with a vote.
Reason = Literal["helpful", "truthful", "harmless", "style"]


@dataclass(frozen=True)
class Origin:
    """Where an answer came from. Everything but ``kind`` may be unknown (empty, None).

    Attributes:
        kind: ``base`` or ``adapter`` for answers made here, ``import`` for those of a file.
        model: id of the base model; ``fingerprint`` the sha256 of its files.
        run_id, adapter_hash, ratio: the run whose adapter answered.
        temperature, top_p, max_new_tokens, seed: how it was sampled.
        label: what a person reads once names are shown; stable, so that votes can be summed by it.
    """

    kind: Literal["base", "adapter", "import"]
    label: str
    model: str = ""
    fingerprint: str = ""
    run_id: str = ""
    adapter_hash: str = ""
    ratio: float | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    seed: int | None = None

    @property
    def player(self) -> str:
        """Who the votes are counted for: adapter hash, base model or label of an import; stable across renames."""
        if self.kind == "adapter":
            return f"adapter:{self.adapter_hash or self.run_id}"
        return f"base:{self.model}" if self.kind == "base" else f"import:{self.label}"


@dataclass(frozen=True)
class NewPair:
    """A pair on its way into the store, answers in any order; ``preferred`` is the source's own hidden label, if any."""

    prompt: str
    answer_a: str
    answer_b: str
    origin_a: Origin
    origin_b: Origin
    source: PairSource
    history: tuple[Message, ...] = ()
    system_prompt: str = ""
    preferred: Literal["a", "b", ""] = ""


@dataclass(frozen=True)
class AnswerPair:
    """A stored pair. ``id`` is the sha256 (first 24 hex digits) of the normalised conversation and the two normalised
    answers sorted; ``preferred`` is the label of an imported pair, never shown before a vote; ``created`` in Unix
    seconds."""

    id: str
    prompt: str
    answer_1: str
    answer_2: str
    origin_1: Origin
    origin_2: Origin
    source: PairSource
    created: float
    history: tuple[Message, ...] = ()
    system_prompt: str = ""
    preferred: Literal["1", "2", ""] = ""
    calibration: bool = False
    retired: bool = False


@dataclass(frozen=True)
class Rater:
    """Who votes. ``id`` is random (or derived from a Hugging Face account), ``name`` what they typed or their account;
    no address is stored."""

    id: str
    name: str
    verified: bool = False
    created: float = 0.0


@dataclass(frozen=True)
class Vote:
    """The present choice of one rater on one pair. ``left`` is the answer (1 or 2) that stood on the left; ``seconds``
    from serving to voting as the page measured it; ``changes`` how often the rater changed their mind before; ``reasons`` may be
    none."""

    pair_id: str
    rater_id: str
    choice: Choice
    left: Literal[1, 2]
    seconds: float
    created: float
    updated: float
    changes: int = 0
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Thumb:
    """A rater's thumb, up where ``liked``, on one answer, which ``answer_id`` names together with the conversation before it; ``model`` is
    who gave the answer, as a person reads it; ``created`` in Unix seconds."""

    rater_id: str
    answer_id: str
    prompt: str
    completion: str
    liked: bool
    model: str
    created: float
    history: tuple[Message, ...] = ()
    system_prompt: str = ""


@dataclass(frozen=True)
class PastChoice:
    """A choice made at ``updated`` that its rater changed or took back at ``replaced`` (Unix seconds); ``left`` and
    ``seconds`` as with a vote."""

    pair_id: str
    rater_id: str
    choice: Choice
    left: Literal[1, 2]
    seconds: float
    updated: float
    replaced: float
    how: Literal["changed", "undone"]

    @classmethod
    def of(cls, vote: Vote, replaced: float, how: Literal["changed", "undone"]) -> PastChoice:
        """What remains of a vote."""
        return cls(vote.pair_id, vote.rater_id, vote.choice, vote.left, vote.seconds, vote.updated, replaced, how)


@dataclass(frozen=True)
class Served:
    """A blind pair as one rater sees it: names left out, sides drawn for this rater. ``token`` proves that it was served;
    ``choice`` and ``reasons`` are those just taken back."""

    pair_id: str
    prompt: str
    history: tuple[Message, ...]
    left: str
    right: str
    token: str
    choice: Press | None = None
    calibration: bool = False
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Reveal:
    """Who answered, told after one's own vote where the operator allows it."""

    left: str
    right: str


@dataclass(frozen=True)
class Progress:
    """``own`` of ``own_total`` pairs rated by this rater; over all raters ``decided`` of ``pairs`` have ``min_votes``
    votes, ``votes`` were cast by ``raters`` people."""

    own: int
    own_total: int
    pairs: int
    decided: int
    votes: int
    raters: int


@dataclass(frozen=True)
class Room:
    """A vote beside others on the same studio, with pairs, raters, rules and results of its own. The first room has the empty
    ``code``; the others' is short, and what raters type or scan. ``created`` in Unix seconds."""

    code: str
    name: str
    created: float = 0.0


@dataclass(frozen=True)
class RatingRules:
    """What the operator sets. ``open`` false closes voting, and so does the moment ``closes`` (Unix seconds; 0: none); ``min_votes`` is odd;
    ``two_decide``: while only two people vote, two votes are enough, which then have to agree; ``ties`` and ``reasons``: whether raters may
    choose neither answer, and say why they chose."""

    guidelines: str
    min_votes: int = 3
    reveal: bool = False
    open: bool = True
    two_decide: bool = False
    ties: bool = True
    reasons: bool = True
    closes: float = 0.0

    def needed(self, raters: int) -> int:
        """Votes that decide a pair where ``raters`` people have voted so far."""
        return min(2, self.min_votes) if self.two_decide and raters == 2 else self.min_votes


@dataclass(frozen=True)
class Decision:
    """What the votes on one pair come to: ``winner`` by strict majority of at least ``Ballots.min_votes`` votes that are no
    skip, else None. Counts are of votes; ties and "both bad" stand against a strict majority."""

    pair: AnswerPair
    winner: Literal["1", "2"] | None
    for_1: int
    for_2: int
    ties: int
    both_bad: int
    skips: int

    @property
    def votes(self) -> int:
        """Votes that are no skip."""
        return self.for_1 + self.for_2 + self.ties + self.both_bad


@dataclass(frozen=True)
class Ballots:
    """All that statistics and exports read, from one transaction. ``history`` is filled for backups only."""

    pairs: tuple[AnswerPair, ...]
    votes: tuple[Vote, ...]
    raters: tuple[Rater, ...]
    rules: RatingRules
    history: tuple[PastChoice, ...] = ()

    @property
    def min_votes(self) -> int:
        """Votes that decide a pair, by the rules and the number of people who voted."""
        return self.rules.needed(len({vote.rater_id for vote in self.votes if vote.choice != "skip"}))


@dataclass(frozen=True)
class KeptHead:
    """A result of a room's votes that was kept, without what it holds: ``created`` in Unix seconds, ``votes`` how many count in it."""

    id: str
    title: str
    created: float
    votes: int
    room: str = ""
