"""Ballots from elsewhere into the store: the same pair stays one pair, the same rater one rater, and the newer of two votes
counts. A choice that was changed or taken back here does not come back. Taking the same in again changes nothing."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from studio.domain.votes import AnswerPair, Ballots, Choice, NewPair, PastChoice, Rater, Vote
from studio.services.rating import pair_id as identity
from studio.services.rating.service import RatingService
from studio.services.votes.argilla_export import user_of
from studio.services.votes.read_export import ImportedVotes
from studio.services.votes.rows import judge_of
from studio.store import pairs as pair_rows
from studio.store import raters as rater_rows
from studio.store import votes as vote_rows
from studio.store.database import Connection

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_Statement = TypeVar("_Statement", Vote, PastChoice)


@dataclass(frozen=True)
class ImportReport:
    """What became of what was brought. ``changed`` votes replaced an older one of the same rater on the same pair, which
    the history keeps; ``known`` ones were there already (or newer); ``identical`` pairs had two answers that a reader cannot
    tell apart and were left out with their votes."""

    pairs: int
    known_pairs: int
    identical: int
    votes: int
    changed: int
    known: int
    raters: int
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = (
            f"{self.pairs} new pairs ({self.known_pairs} known), {self.votes} new votes of {self.raters} new raters, "
            f"{self.changed} votes changed, {self.known} known"
        )
        return text + (f"; {self.identical} pairs with two equal answers left out" if self.identical else "")


def restore(rating: RatingService, brought: ImportedVotes) -> ImportReport:
    """Take everything into the room of ``rating``, in one transaction. Rules and guidelines stay as they are.

    Raises:
        InputError: a text cannot be stored; nothing has been taken in then.
        NotFoundError: the room is not there.
    """
    ballots, identical = canonical(brought.ballots, rating.room)
    with rating.store().write() as connection:
        rating.hold(connection)
        ids = _rater_ids(ballots.raters, rater_rows.all_raters(connection, rating.room))
        for taken in rater_rows.of_other_rooms(connection, rating.room, ids.values()):
            ids = {brought: _here(here, rating.room) if here == taken else here for brought, here in ids.items()}
        raters = [replace(r, id=ids[r.id], name=r.name or ids[r.id]) for r in ballots.raters]
        new_pairs = pair_rows.add_pairs(connection, rating.room, ballots.pairs)
        new_raters = rater_rows.add_raters(connection, rating.room, raters)
        # Whoever changes a vote holds its rater; all in one order, so that no two wait for each other.
        for rater_id in sorted(set(ids.values())):
            rater_rows.find_rater(connection, rater_id, lock=True)
        past = {_moment(one) for one in vote_rows.all_history(connection, rating.room)}
        old = {_moment(one): one for one in (replace(one, rater_id=ids[one.rater_id]) for one in ballots.history)}
        vote_rows.keep_in_history(connection, [one for moment, one in old.items() if moment not in past])
        past |= old.keys()
        there = {(vote.pair_id, vote.rater_id): vote for vote in vote_rows.all_votes(connection, rating.room)}
        fresh, changed, known, now = [], 0, 0, time.time()
        for vote in _newest(replace(vote, rater_id=ids[vote.rater_id]) for vote in ballots.votes):
            before = there.get((vote.pair_id, vote.rater_id))
            if _moment(vote) in past:
                known += 1
            elif before is None:
                fresh.append(vote)
            elif vote.updated > before.updated and vote.choice != before.choice:
                if _moment(before) not in past:
                    vote_rows.keep_in_history(connection, [PastChoice.of(before, now, "changed")])
                vote_rows.change_vote(connection, vote)
                _count(connection, rating.room, vote, (vote.choice != "skip") - (before.choice != "skip"))
                changed += 1
            else:
                known += 1
        vote_rows.add_votes(connection, fresh)
        for vote in fresh:
            _count(connection, rating.room, vote, int(vote.choice != "skip"))
    rating.changed()
    return ImportReport(
        pairs=len(new_pairs),
        known_pairs=len(ballots.pairs) - len(new_pairs),
        identical=identical,
        votes=len(fresh),
        changed=changed,
        known=known,
        raters=new_raters,
        warnings=brought.warnings,
    )


def canonical(ballots: Ballots, room: str) -> tuple[Ballots, int]:
    """Ballots as a room keeps them: ids made of the texts, whatever the file said, answers in canonical order, each pair
    once. Pairs of two equal answers are left out and counted.

    Raises:
        InputError: a text cannot be stored.
    """
    pairs: dict[str, AnswerPair] = {}
    places: dict[str, tuple[str, bool]] = {}
    identical = 0
    for number, pair in enumerate(ballots.pairs, 1):
        identity.check_pair(_as_new(pair), f"pair {number}: ")
        if identity.same_answer(pair.answer_1, pair.answer_2):
            identical += 1
            continue
        kept = identity.canonical_pair(pair, room)
        pairs.setdefault(kept.id, kept)
        places[pair.id] = kept.id, not identity.in_order(pair.answer_1, pair.answer_2)
    votes, history = _placed(ballots.votes, places), _placed(ballots.history, places)
    return replace(ballots, pairs=tuple(pairs.values()), votes=votes, history=history), identical


def _placed(statements: Iterable[_Statement], places: Mapping[str, tuple[str, bool]]) -> tuple[_Statement, ...]:
    """Votes or past choices in terms of the pairs as they are kept: ``places`` has a pair's id here and whether its answers
    were turned. Those of pairs that are not there are left out."""
    placed = []
    for one in statements:
        if one.pair_id in places:
            pair_id, turned = places[one.pair_id]
            one = replace(one, pair_id=pair_id)
            placed.append(_turned_choice(one) if turned else one)
    return tuple(placed)


def _moment(statement: Vote | PastChoice) -> tuple[str, str, str, float]:
    """What makes it the same choice, wherever it is kept: a rater makes one choice at a time."""
    return statement.pair_id, statement.rater_id, statement.choice, statement.updated


def _rater_ids(brought: Iterable[Rater], there: Iterable[Rater]) -> dict[str, str]:
    """The id here of everybody brought: of the rater whose pseudonym (or UUID in Argilla) it is; else a pseudonym."""
    known: dict[str, str] = {}
    for rater in there:
        judge = judge_of(rater)
        known |= {judge: rater.id, user_of(judge): rater.id, rater.id: rater.id}
    return {rater.id: known.get(rater.id) or _pseudonym(rater) for rater in brought}


def _pseudonym(rater: Rater) -> str:
    # A user of Argilla gets a pseudonym of the studio's form; a rater from a backup keeps the id their browser knows.
    return f"judge-{hashlib.sha256(rater.id.encode()).hexdigest()[:16]}" if _UUID.fullmatch(rater.id) else rater.id


def _here(rater_id: str, room: str) -> str:
    """The id in this room of a rater whom another room has by the same: votes taken into both are two people's, one in each."""
    return f"judge-{hashlib.sha256(f'{room} {rater_id}'.encode()).hexdigest()[:16]}"


def _newest(votes: Iterable[Vote]) -> list[Vote]:
    """One vote per pair and rater, the newest."""
    kept: dict[tuple[str, str], Vote] = {}
    for vote in votes:
        key = vote.pair_id, vote.rater_id
        if key not in kept or vote.updated > kept[key].updated:
            kept[key] = vote
    return list(kept.values())


def _count(connection: Connection, room: str, vote: Vote, by: int) -> None:
    if by:
        vote_rows.count_on_pair(connection, vote.pair_id, by)
        rater_rows.count_and_lock(connection, room, vote.rater_id, by)


def _as_new(pair: AnswerPair) -> NewPair:
    return NewPair(
        pair.prompt,
        pair.answer_1,
        pair.answer_2,
        pair.origin_1,
        pair.origin_2,
        pair.source,
        pair.history,
        pair.system_prompt,
    )


def _turned_choice(statement: _Statement) -> _Statement:
    choices: dict[Choice, Choice] = {"1": "2", "2": "1"}
    return replace(
        statement, choice=choices.get(statement.choice, statement.choice), left=1 if statement.left == 2 else 2
    )
