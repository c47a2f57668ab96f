"""Rating: pairs come in, are served blind one at a time, and every vote is kept. This file owns the transactions.

A pair's answers stand in the canonical order of ``pair_identity``. Which one a rater sees on the left is a coin thrown
with the store's secret for (pair, rater), recorded with the serving and with the vote.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from studio.config import Settings
from studio.domain.votes import (
    AnswerPair,
    Ballots,
    Decision,
    NewPair,
    PastChoice,
    Press,
    Progress,
    Rater,
    RatingRules,
    Reveal,
    Served,
    Vote,
)
from studio.errors import ConflictError, NotAllowedError, NotFoundError
from studio.services.rating import pair_id as identity
from studio.services.rating import tokens
from studio.services.rating.presses import checked_reasons, choice_of, press_of, usable_seconds
from studio.services.rating.rules import GUIDELINES, check_rules, decide, in_force, unknown_room
from studio.services.rating.store import VoteStore
from studio.store import pairs as pair_rows
from studio.store import raters as rater_rows
from studio.store import rooms as room_rows
from studio.store import rules as rule_rows
from studio.store import servings as serving_rows
from studio.store import votes as vote_rows
from studio.store.database import Connection, Database

_ID = re.compile("[0-9a-f]{24}")


@dataclass(frozen=True)
class Added:
    """What became of pairs given to the store: ``added`` are new, ``known`` were there (or came twice), ``identical`` had
    two answers that a reader cannot tell apart and were left out. ``ids`` are those of the added and the known, each
    once, in the order they came."""

    added: int
    known: int
    identical: int
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Turn:
    """Where a rater stands: ``served`` is None when they rated all, or voting is closed."""

    rules: RatingRules
    served: Served | None
    progress: Progress


class RatingService:
    """Pairs, raters and votes of one room of a store. The database opens at first use; every method may be called from any thread.

    Every method raises StudioError where the store cannot be used, and NotFoundError where the room is not there.

    Args:
        database: one to share with other services; if None, that of the settings.
    """

    def __init__(self, settings: Settings, database: Database | None = None) -> None:
        self._shared = VoteStore(database or Database(settings.store_url))
        self.room = ""

    def in_room(self, code: str) -> RatingService:
        """The same for another room of this store; empty: the first."""
        other = copy.copy(self)
        other.room = code
        return other

    # ---- pairs

    def add_pairs(self, pairs: Iterable[NewPair]) -> Added:
        """Store pairs, in one transaction; those known by their conversation and answers are not stored again.

        Raises:
            InputError: a text of one of them cannot be stored; none of them is stored then.
        """
        new, identical = [], 0
        now = time.time()
        given = list(pairs)
        for number, pair in enumerate(given, 1):
            identity.check_pair(pair, f"pair {number}: " if len(given) > 1 else "")
            if identity.same_answer(pair.answer_a, pair.answer_b):
                identical += 1
            else:
                new.append(identity.stored_pair(pair, self.room, now))
        once = {pair.id: pair for pair in reversed(new)}
        ordered = [once[key] for key in dict.fromkeys(pair.id for pair in new)]
        with self.store().write() as connection:
            self.hold(connection)
            added = len(pair_rows.add_pairs(connection, self.room, ordered))
        return Added(added, len(new) - added, identical, tuple(pair.id for pair in ordered))

    def set_calibration(self, pair_ids: Iterable[str], on: bool) -> None:
        """Make pairs the ones everybody rates first, or ordinary ones again.

        Raises:
            NotFoundError: one of the ids is of no pair; nothing is changed.
        """
        self._mark(pair_ids, calibration=on)

    def retire(self, pair_ids: Iterable[str], on: bool) -> None:
        """Serve pairs no more, or again; they and their votes are kept.

        Raises:
            NotFoundError: one of the ids is of no pair; nothing is changed.
        """
        self._mark(pair_ids, retired=on)

    def _mark(self, pair_ids: Iterable[str], **marks: bool) -> None:
        ids = list(dict.fromkeys(pair_ids))
        with self.store().write() as connection:
            known = pair_rows.known_ids(connection, self.room, [pair_id for pair_id in ids if _ID.fullmatch(pair_id)])
            for pair_id in ids:
                if pair_id not in known:
                    raise NotFoundError(f"There is no pair {pair_id[:40]!r}.")
            pair_rows.mark_pairs(connection, ids, **marks)

    # ---- raters

    def register(self, name: str, verified_id: str = "") -> tuple[Rater, str]:
        """A rater, and the signed token by which their browser is known from now on.

        Args:
            verified_id: a Hugging Face account that was checked; it is the same rater on every device.

        Raises:
            InputError: ``name`` is empty, too long or not valid Unicode.
        """
        database = self.store()
        name = tokens.clean_name(name or verified_id)
        rater_id = (
            tokens.verified_id(self._shared.secret, verified_id, self.room) if verified_id else secrets.token_hex(12)
        )
        rater = Rater(rater_id, name, bool(verified_id), time.time())
        with database.write() as connection:
            self.hold(connection)
            if not rater_rows.add_raters(connection, self.room, [rater]):
                rater_rows.rename_rater(connection, rater_id, name)
            known = rater_rows.find_rater(connection, rater_id)
        assert known is not None
        return known, tokens.rater_token(self._shared.secret, rater_id)

    def rater(self, token: str) -> Rater:
        """The rater whose browser keeps ``token``.

        Raises:
            NotAllowedError: the token is forged, or its rater is not in the store.
        """
        database = self.store()
        rater_id = tokens.rater_id_of(self._shared.secret, token)
        with database.read() as connection:
            rater = rater_rows.find_rater(connection, rater_id, room=self.room)
        if rater is None:
            raise NotAllowedError("This rater is not known here; register again.")
        return rater

    def signed(self, token: str) -> Rater:
        """The rater a token names, by its signature alone and so without a name: for a vote, which looks them up itself.

        Raises:
            NotAllowedError: the token is forged.
        """
        self.store()
        return Rater(tokens.rater_id_of(self._shared.secret, token), "")

    # ---- serving and voting

    def serve(self, rater: Rater) -> Served | None:
        """The next pair of this rater: the one that waits for their vote, else a calibration pair, else one with the
        fewest votes; None when they rated all, or voting is closed."""
        with self.store().read() as connection:
            if not self._rules(connection).open:
                return None
            waiting = serving_rows.waiting_pair(connection, self.room, rater.id)
        if waiting is None:
            with self._writing(rater) as connection:
                # A second tab may have been served in the meantime: both show the same pair.
                if serving_rows.waiting_pair(connection, self.room, rater.id) is None:
                    self._serve_next(connection, rater, "")
                waiting = serving_rows.waiting_pair(connection, self.room, rater.id)
        return None if waiting is None else self._served(rater, waiting)

    def turn(self, rater: Rater) -> Turn:
        """What the page of this rater shows, read at one moment: as :meth:`rules`, :meth:`serve` and :meth:`progress`."""
        with self.store().read() as connection:
            rules = self._rules(connection)
            progress = self._tally(connection, rater.id, rules)
            waiting = serving_rows.waiting_pair(connection, self.room, rater.id) if rules.open else None
        served = self.serve(rater) if waiting is None else self._served(rater, waiting)
        return Turn(rules, served, progress)

    def vote(
        self, rater: Rater, pair_id: str, token: str, press: Press, seconds: float, reasons: Iterable[object] = ()
    ) -> Reveal | None:
        """Store a vote; on the disk once this returns. The same vote again changes nothing; another choice replaces the
        one before, which is kept in the history, and its reasons.

        Args:
            token: the proof that came with the pair.
            seconds: from serving to voting; taken as at least 0 and at most a day.

        Returns:
            who answered, where the operator allows it and the vote is no skip.

        Raises:
            NotAllowedError: the pair was not served to this rater.
            ConflictError: voting is closed, the pair retired, or the rules take no vote for neither answer.
            InputError: ``press``, ``seconds`` or a reason is not usable.
        """
        self.store()
        left = tokens.left_answer(self._shared.secret, rater.id, pair_id)
        tokens.check_serving(self._shared.secret, rater.id, pair_id, left, token)
        choice, seconds, why = choice_of(press, left), usable_seconds(seconds), checked_reasons(reasons)
        now = time.time()
        with self._writing(rater) as connection:
            rules = self._rules(connection)
            standing = vote_rows.standing(connection, pair_id, rater.id)
            if standing is None:
                raise NotAllowedError("There is no such pair here any more; reload the page.")
            before = standing.before
            if before is None or before.choice != choice:
                if not rules.open:
                    raise ConflictError("Voting is closed; this vote was not saved.")
                if standing.retired:
                    raise ConflictError("This pair is not rated any more; this vote was not saved.")
                if choice in ("tie", "both_bad") and not rules.ties:
                    raise ConflictError("This vote asks for one of the two answers; choose one, or skip.")
                if before is None:
                    vote = Vote(pair_id, rater.id, choice, left, seconds, now, now, standing.past, why)
                    vote_rows.add_vote(connection, vote)
                else:
                    vote = Vote(pair_id, rater.id, choice, left, seconds, before.created, now, standing.past + 1, why)
                    vote_rows.keep_in_history(connection, [PastChoice.of(before, now, "changed")])
                    vote_rows.change_vote(connection, vote)
                self._count(connection, before, vote)
                serving_rows.close_serving(connection, rater.id, pair_id)
                if before is None and not serving_rows.is_waiting(connection, self.room, rater.id):
                    # In the same transaction: whoever votes asks for the next pair at once.
                    self._serve_next(connection, rater, pair_id)
        if not rules.reveal or choice == "skip":
            return None
        return Reveal(standing.labels[left - 1], standing.labels[2 - left])

    def undo(self, rater: Rater) -> Served | None:
        """Take back the newest vote of this rater (the history keeps it) and serve its pair again, sides as before; None
        where there is nothing to take back.

        Raises:
            ConflictError: voting is closed.
        """
        now = time.time()
        with self._writing(rater) as connection:
            if not self._rules(connection).open:
                raise ConflictError("Voting is closed; nothing was taken back.")
            vote = vote_rows.newest_vote(connection, rater.id)
            if vote is None:
                return None
            vote_rows.keep_in_history(connection, [PastChoice.of(vote, now, "undone")])
            vote_rows.remove_vote(connection, vote)
            self._count(connection, vote, None)
            serving_rows.record_serving(connection, rater.id, vote.pair_id, vote.left, now)
            pair = pair_rows.find_pair(connection, vote.pair_id)
        assert pair is not None
        served = self._served(rater, pair)
        return dataclasses.replace(served, choice=press_of(vote.choice, vote.left), reasons=vote.reasons)

    # ---- reading

    def progress(self, rater: Rater | None) -> Progress:
        """How far this rater (None: nobody in particular) and all raters are."""
        with self.store().read() as connection:
            return self._tally(connection, "" if rater is None else rater.id, self._rules(connection))

    def rules(self) -> RatingRules:
        """What the operator set, else the shipped guidelines and the defaults."""
        with self.store().read() as connection:
            return self._rules(connection)

    def set_rules(self, rules: RatingRules) -> None:
        """Keep new rules.

        Raises:
            InputError: ``min_votes`` is not odd or not in 1..99, or the guidelines are too long.
        """
        check_rules(rules)
        with self.store().write() as connection:
            self.hold(connection)
            rule_rows.save_rules(connection, self.room, rules)

    def set_open(self, on: bool, closes: float = 0.0) -> None:
        """Open the vote, until ``closes`` (Unix seconds; 0: until somebody closes it), or close it."""
        self.set_rules(dataclasses.replace(self.rules(), open=on, closes=closes))

    def ballots(self, history: bool = False) -> Ballots:
        """Everything, as it was at one moment; choices that were changed or taken back only with ``history``."""
        with self.store().read() as connection:
            return Ballots(
                pair_rows.all_pairs(connection, self.room),
                vote_rows.all_votes(connection, self.room),
                rater_rows.all_raters(connection, self.room),
                self._rules(connection),
                vote_rows.all_history(connection, self.room) if history else (),
            )

    def decisions(self) -> tuple[Decision, ...]:
        """What the votes on each pair come to."""
        return decide(self.ballots())

    def store(self) -> Database:
        """The open, migrated database, for services that read or bring many rows in a transaction of their own."""
        return self._shared.ready()

    def hold(self, connection: Connection) -> None:
        """See to it that the room is there, and stays until this transaction ends.

        Raises:
            NotFoundError: it is not.
        """
        if self.room and room_rows.find_room(connection, self.room, hold=True) is None:
            raise unknown_room(self.room)

    def close(self) -> None:
        """Close the database, for all rooms; the next call opens it again."""
        self._shared.close()

    # ---- inside

    @contextlib.contextmanager
    def _writing(self, rater: Rater) -> Iterator[Connection]:
        """A transaction in which no other one of the same rater runs."""
        with self.store().write() as connection:
            if rater_rows.find_rater(connection, rater.id, room=self.room, lock=True) is None:
                raise NotAllowedError("This rater is not known here; register again.")
            yield connection

    def _rules(self, connection: Connection) -> RatingRules:
        rules = rule_rows.load_rules(connection, self.room)
        if rules is None and self.room:
            raise unknown_room(self.room)
        return in_force(rules or RatingRules(GUIDELINES, two_decide=True), time.time())

    def _tally(self, connection: Connection, rater_id: str, rules: RatingRules) -> Progress:
        """Counted twice where there are fewer raters than the rules count on."""
        found = vote_rows.tally(connection, self.room, rater_id, rules.min_votes)
        needed = rules.needed(found.raters)
        return found if needed == rules.min_votes else vote_rows.tally(connection, self.room, rater_id, needed)

    def _serve_next(self, connection: Connection, rater: Rater, after: str) -> None:
        """Choose what the rater sees next, and remember it. ``after`` is the pair they saw before: it makes the place from
        which equally good pairs are looked through another one at every turn, and for every rater."""
        start = tokens.turn_number(self._shared.secret, rater.id, after, pair_rows.SHUFFLE_RANGE)
        pair_id = serving_rows.next_pair(connection, self.room, rater.id, start)
        if pair_id is not None:
            left = tokens.left_answer(self._shared.secret, rater.id, pair_id)
            serving_rows.record_serving(connection, rater.id, pair_id, left, time.time())

    def _served(self, rater: Rater, pair: AnswerPair) -> Served:
        left = tokens.left_answer(self._shared.secret, rater.id, pair.id)
        sides = (pair.answer_1, pair.answer_2)
        return Served(
            pair_id=pair.id,
            prompt=pair.prompt,
            history=pair.history,
            left=sides[left - 1],
            right=sides[2 - left],
            token=tokens.serving_token(self._shared.secret, rater.id, pair.id, left),
            calibration=pair.calibration,
        )

    @staticmethod
    def _count(connection: Connection, before: Vote | None, after: Vote | None) -> None:
        newest = after or before
        assert newest is not None
        by = sum(sign for sign, vote in ((-1, before), (1, after)) if vote is not None and vote.choice != "skip")
        if by:
            vote_rows.count_vote(connection, newest.pair_id, newest.rater_id, by)
