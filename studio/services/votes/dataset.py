"""Decided votes as data to train on: the loop from rating back to a run."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from studio.domain.data import Message, PreferenceDataset, PreferencePair
from studio.domain.votes import Ballots, Decision
from studio.errors import DatasetError, NotFoundError
from studio.services.data.datasets import DatasetService
from studio.services.data.preference_rows import content_hash
from studio.services.data.prompt_key import normalised
from studio.services.data.row_reader import Parsed
from studio.services.rating.rules import decide
from studio.services.runs.store import RunStore, RunView
from studio.services.votes.rows import conversation, decision_of, used_by, votes_hash

#: Share of the prompts that no training on votes touches.
HELDOUT = 0.2
SOURCE = "votes:"
#: Stands for the votes of every room.
ALL_ROOMS = "*"
_ID, _AT = "votes", "votes@"


@dataclass(frozen=True)
class LeftOut:
    """Pairs that votes do not turn into training data, counted by reason; shown wherever such data is used."""

    too_few: int = 0
    no_majority: int = 0
    empty: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.too_few + self.no_majority + self.empty

    def __add__(self, other: LeftOut) -> LeftOut:
        return LeftOut(self.too_few + other.too_few, self.no_majority + other.no_majority, self.empty + other.empty)

    def __str__(self) -> str:
        parts = (
            (self.too_few, "with too few votes"),
            (self.no_majority, "without a majority"),
            (self.empty, "with an empty turn or answer"),
        )
        return ", ".join(f"{n} {why}" for n, why in parts if n) or "none"


def left_out(decisions: Iterable[Decision], min_votes: int) -> LeftOut:
    """How many pairs :func:`preference_dataset` leaves out, and why."""
    counts = {"too few votes": 0, "no majority": 0, "decided": 0}
    for decision in decisions:
        reason = decision_of(decision, min_votes)
        counts[reason] += reason != "decided" or _pair(decision) is None
    return LeftOut(counts["too few votes"], counts["no majority"], counts["decided"])


def preference_dataset(
    votes: Ballots | Iterable[Decision], title: str = "", dataset_id: str = _ID, source: str = SOURCE
) -> PreferenceDataset:
    """Every pair with a strict majority as chosen (``support``, the answer voted for) and rejected (``oppose``).

    A pair keeps its id. A fifth of the prompts or more is held out, by a hash of the normalised prompt and the turns before it: a
    prompt stays on its side when more votes come in (but for the few that top a small set up), so that a later run does not
    train on what an earlier one was measured on.

    Raises:
        DatasetError: no pair is decided.
    """
    if isinstance(votes, Ballots):
        source, decisions = votes_source([votes]), decide(votes)
    else:
        decisions = tuple(votes)
    decided = [pair for decision in decisions if decision.winner and (pair := _pair(decision))]
    if not decided:
        raise DatasetError(
            f"None of the {len(decisions)} pairs has a strict majority of enough votes yet, so there is nothing to train on; "
            "collect more votes, or lower the votes wanted per pair."
        )
    aside = heldout_prompts({_key(pair) for pair in decided})
    pairs = tuple(pair for pair in decided if _key(pair) not in aside)
    heldout = tuple(pair for pair in decided if _key(pair) in aside)
    tests = tuple(dict.fromkeys(pair.prompt for pair in heldout))
    return PreferenceDataset(
        id=dataset_id,
        title=title or f"Votes, {time.strftime('%Y-%m-%d')}, {len(decided)} pair{'s' * (len(decided) != 1)}",
        kind="labels",
        language="",
        pairs=pairs,
        heldout=heldout,
        test_prompts=tests,
        content_hash=content_hash(pairs, heldout, tests),
        source=source,
    )


def votes_id(room: str) -> str:
    """The dataset id of a run on the votes of a room (:data:`ALL_ROOMS`: of all)."""
    return _ID if room == ALL_ROOMS else f"{_AT}{room}"


def votes_of_id(dataset_id: str) -> tuple[str, str] | None:
    """The room of a run's votes, as :func:`votes_id` has it, and the id of the dataset beside them (empty: none); None for a run without
    votes."""
    voted, _, beside = dataset_id.partition("+")
    if voted == _ID:
        return ALL_ROOMS, beside
    return (voted.removeprefix(_AT), beside) if voted.startswith(_AT) else None


def votes_source(rooms: Sequence[Ballots]) -> str:
    """The source of a dataset made of the votes of rooms: who chose what for which pair, in whatever order the rooms come."""
    votes = tuple(vote for ballots in rooms for vote in ballots.votes)
    raters = tuple(rater for ballots in rooms for rater in ballots.raters)
    return f"{SOURCE}{votes_hash(votes, raters)}"


def heldout_prompts(keys: Iterable[str]) -> frozenset[str]:
    """Which of the normalised prompts are held out: those whose hash lies in the lowest fifth of its range, topped up in
    the order of hashes to a fifth of the prompts where chance gave fewer. Never all."""
    ordered = sorted(keys, key=_place)
    count = max(sum(_place(key) < HELDOUT for key in ordered), round(HELDOUT * len(ordered)))
    return frozenset(ordered[:count]) if count < len(ordered) else frozenset()


def keep_votes_as_dataset(datasets: DatasetService, made: PreferenceDataset) -> PreferenceDataset:
    """What :func:`preference_dataset` made, in the studio's list, so that Align and Reward can train on it. The same votes are
    kept once.

    Raises:
        DatasetError: it cannot be written.
    """
    for info in datasets.list():
        if info.source == made.source and datasets.get(info.id).content_hash == made.content_hash:
            return datasets.get(info.id)
    return datasets.keep(
        Parsed("labels", made.pairs, made.heldout, made.test_prompts, title=made.title, source=made.source)
    )


def last_run_on_votes(runs: RunStore) -> tuple[RunView, PreferenceDataset] | None:
    """The newest run, of whatever method, that was trained on votes, and the data it had."""
    for view in runs.list():
        if view.recipe.dataset_id.startswith("votes"):
            try:
                data = runs.dataset(view.run_id)
            except NotFoundError:
                continue  # an uploaded run may come without its data
            if data.source.startswith(SOURCE):
                return view, data
    return None


def new_decided_since(used: PreferenceDataset | None, decisions: Sequence[Decision]) -> int:
    """Decided pairs that ``used`` (a run's or a kept dataset; None: nothing yet) did not hold, or held the other way
    round."""
    known = used_by(used) if used else frozenset()
    decided = [pair for decision in decisions if decision.winner and (pair := _pair(decision))]
    return sum((pair.id, pair.support) not in known for pair in decided)


def _pair(decision: Decision) -> PreferencePair | None:
    """A decided pair as training data; None where a text is empty, which no data file of the studio may hold."""
    pair = decision.pair
    answers = (pair.answer_1.strip(), pair.answer_2.strip())
    turns = tuple(replace(turn, content=turn.content.strip()) for turn in conversation(pair))
    if not all(answers) or answers[0] == answers[1] or not all(turn.content for turn in turns):
        return None
    support, oppose = answers if decision.winner == "1" else answers[::-1]
    return PreferencePair(pair.id, turns[-1].content, support, oppose, turns[:-1])


def _key(pair: PreferencePair) -> str:
    """The normalised prompt with the turns before it. Without the system prompt: the same question under another one must
    not stand on both sides of the split."""
    turns: tuple[Message, ...] = tuple(turn for turn in pair.history if turn.role != "system")
    return "\n".join((*(normalised(turn.content) for turn in turns), normalised(pair.prompt)))


def _place(key: str) -> float:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
