"""Rating: pairs come in, are served blind one at a time, and every vote is kept. This file owns the transactions.

A pair's answers stand in the canonical order of ``pair_identity``. Which one a rater sees on the left is a coin thrown
with the store's secret for (pair, rater), recorded with the serving and with the vote.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from studio.domain.votes import (
    AnswerPair,
    Ballots,
    Choice,
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
from studio.services.rating.room import RatingRoom
from studio.services.rating.rules import decide
from studio.store import pairs as pair_rows
from studio.store import raters as rater_rows
from studio.store import servings as serving_rows
from studio.store import votes as vote_rows
from studio.store.database import Connection

_ID = re.compile("[0-9a-f]{24}")
_UNKNOWN = "This rater is not known here; register again."


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


@dataclass(frozen=True)
class Saved:
    """What came of a vote: ``reveal`` says who answered, where the operator allows it and the vote is no skip."""

    reveal: Reveal | None
    turn: Turn


class RatingService(RatingRoom):
    """Pairs, raters and votes of one room of a store; its rules and counts are :class:`RatingRoom`'s."""

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
        self.changed()
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
        self.changed()

    # ---- raters

    def register(self, name: str, verified_id: str = "") -> tuple[Rater, str]:
        """A rater, and the signed token by which their browser is known from now on.

        Args:
            verified_id: a Hugging Face account that was checked; it is the same rater on every device.

        Raises:
            InputError: ``name`` is empty, too long or not valid Unicode.
        """
        rater, _, _ = self._enter(name, verified_id, serve=False)
        return rater, tokens.rater_token(self._shared.secret, rater.id)

    def join(self, name: str, verified_id: str = "") -> tuple[Rater, str, Turn]:
        """:meth:`register`, and the first :meth:`turn`: of somebody new in one transaction."""
        rules = self.rules_now()
        rater, is_new, waiting = self._enter(name, verified_id, rules.open)
        turn = self._turn(rater, rules, waiting, 0) if is_new else self.turn(rater)
        return rater, tokens.rater_token(self._shared.secret, rater.id), turn

    def _enter(self, name: str, verified_id: str, serve: bool) -> tuple[Rater, bool, AnswerPair | None]:
        """The rater, whether they are new, and the pair served to them if they are."""
        database = self.store()
        name = tokens.clean_name(name or verified_id)
        rater_id = (
            tokens.verified_id(self._shared.secret, verified_id, self.room) if verified_id else secrets.token_hex(12)
        )
        rater = Rater(rater_id, name, bool(verified_id), time.time())
        with database.write() as connection:
            self.hold(connection)
            if rater_rows.add_raters(connection, self.room, [rater]):
                return rater, True, self._serve_next(connection, rater) if serve else None
            rater_rows.rename_rater(connection, rater_id, name)
            known = rater_rows.find_rater(connection, rater_id)
        assert known is not None
        return known, False, None

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
            raise NotAllowedError(_UNKNOWN)
        return rater

    def signed(self, token: str) -> Rater:
        """The rater a token names, by its signature alone and so without a name: for what looks them up itself.

        Raises:
            NotAllowedError: the token is forged.
        """
        self.store()
        return Rater(tokens.rater_id_of(self._shared.secret, token), "")

    # ---- serving and voting

    def serve(self, rater: Rater) -> Served | None:
        """The next pair of this rater: the one that waits for their vote, else a calibration pair, else one with the
        fewest votes, given or about to be; None when they rated all, or voting is closed."""
        return self.turn(rater).served

    def turn(self, rater: Rater) -> Turn:
        """What the page of this rater shows; the rules and what others did may be a second old.

        Raises:
            NotAllowedError: the room has no such rater.
        """
        rules, waiting = self.rules_now(), None
        with self.store().read() as connection:
            desk = serving_rows.desk(connection, self.room, rater.id)
            if desk is None:
                raise NotAllowedError(_UNKNOWN)
            if rules.open:
                waiting = desk.waiting
        # counted before anything is written: whoever rated all asks again and again
        if rules.open and waiting is None and desk.own < self.tally_now().pairs:
            with self._writing(rater) as connection:
                # a second tab may have been served in the meantime: both show the same pair
                waiting = self._serve_next(connection, rater)
        return self._turn(rater, rules, waiting, desk.own)

    def vote(
        self, rater: Rater, pair_id: str, token: str, press: Press, seconds: float, reasons: Iterable[object] = ()
    ) -> Saved:
        """Store a vote and serve the next pair; on the disk once this returns. The same vote again changes nothing; another choice
        replaces the one before, which is kept in the history, and its reasons.

        Args:
            token: the proof that came with the pair.
            seconds: from serving to voting; taken as at least 0 and at most a day.

        Raises:
            NotAllowedError: the pair was not served to this rater.
            ConflictError: voting is closed, the pair retired, or the rules take no vote for neither answer.
            InputError: ``press``, ``seconds`` or a reason is not usable.
        """
        rules = self.rules_now()
        left = tokens.left_answer(self._shared.secret, rater.id, pair_id)
        tokens.check_serving(self._shared.secret, rater.id, pair_id, left, token)
        choice, seconds, why = choice_of(press, left), usable_seconds(seconds), checked_reasons(reasons)
        now, counts = time.time(), int(choice != "skip")
        with self._writing(rater, counts) as connection:
            standing = vote_rows.standing(connection, pair_id, rater.id)
            if standing is None:
                raise NotAllowedError("There is no such pair here any more; reload the page.")
            before, by = standing.before, 0
            if before is None or before.choice != choice:
                _check_vote(rules, standing, choice)
                by = counts
                if before is None:
                    vote = Vote(pair_id, rater.id, choice, left, seconds, now, now, standing.past, why)
                    vote_rows.add_vote(connection, vote)
                else:
                    by -= before.choice != "skip"
                    vote = Vote(pair_id, rater.id, choice, left, seconds, before.created, now, standing.past + 1, why)
                    vote_rows.keep_in_history(connection, [PastChoice.of(before, now, "changed")])
                    vote_rows.change_vote(connection, vote)
            if by:
                vote_rows.count_on_pair(connection, pair_id, by)
            if by != counts:  # it was counted as a new vote with the lock
                rater_rows.count_and_lock(connection, self.room, rater.id, by - counts)
            voted = serving_rows.Serving(pair_id, left, open=False)
            waiting = self._serve_next(connection, rater, voted) if rules.open else None
        named = Reveal(standing.labels[left - 1], standing.labels[2 - left]) if rules.reveal and counts else None
        return Saved(named, self._turn(rater, rules, waiting, standing.own + (before is None)))

    def undo(self, rater: Rater) -> Served | None:
        """Take back the newest vote of this rater (the history keeps it) and serve its pair again, sides as before; None
        where there is nothing to take back.

        Raises:
            ConflictError: voting is closed.
        """
        now = time.time()
        with self._writing(rater) as connection:
            if not self.rules_in(connection).open:
                raise ConflictError("Voting is closed; nothing was taken back.")
            vote = vote_rows.newest_vote(connection, rater.id)
            if vote is None:
                return None
            vote_rows.keep_in_history(connection, [PastChoice.of(vote, now, "undone")])
            vote_rows.remove_vote(connection, vote)
            if vote.choice != "skip":
                vote_rows.count_on_pair(connection, vote.pair_id, -1)
                rater_rows.count_and_lock(connection, self.room, rater.id, -1)
            again = serving_rows.Serving(vote.pair_id, vote.left, open=True)
            serving_rows.record_servings(connection, rater.id, [again], now)
            pair = pair_rows.find_pair(connection, vote.pair_id)
        assert pair is not None
        served = self._served(rater, pair)
        return dataclasses.replace(served, choice=press_of(vote.choice, vote.left), reasons=vote.reasons)

    # ---- reading

    def ballots(self, history: bool = False) -> Ballots:
        """Everything, as it was at one moment; choices that were changed or taken back only with ``history``."""
        with self.store().read() as connection:
            return Ballots(
                pair_rows.all_pairs(connection, self.room),
                vote_rows.all_votes(connection, self.room),
                rater_rows.all_raters(connection, self.room),
                self.rules_in(connection),
                vote_rows.all_history(connection, self.room) if history else (),
            )

    def decisions(self) -> tuple[Decision, ...]:
        """What the votes on each pair come to."""
        return decide(self.ballots())

    # ---- inside

    @contextlib.contextmanager
    def _writing(self, rater: Rater, by: int = 0) -> Iterator[Connection]:
        """A transaction in which no other one of the same rater runs, and ``by`` is added to their votes."""
        with self.store().write() as connection:
            if not rater_rows.count_and_lock(connection, self.room, rater.id, by):
                raise NotAllowedError(_UNKNOWN)
            yield connection

    def _serve_next(
        self, connection: Connection, rater: Rater, voted: serving_rows.Serving | None = None
    ) -> AnswerPair | None:
        """Choose what the rater sees after what they ``voted`` on, and remember both. That pair makes the place from which equally good
        pairs are looked through another one at every turn, and for every rater."""
        after = voted.pair_id if voted else ""
        start = tokens.turn_number(self._shared.secret, rater.id, after, pair_rows.SHUFFLE_RANGE)
        now = time.time()
        pair = serving_rows.next_pair(connection, self.room, rater.id, after, start, now)
        served = [voted] if voted else []
        if pair is not None:
            left = tokens.left_answer(self._shared.secret, rater.id, pair.id)
            served.append(serving_rows.Serving(pair.id, left, open=True))
        serving_rows.record_servings(connection, rater.id, served, now)
        return pair

    def _turn(self, rater: Rater, rules: RatingRules, waiting: AnswerPair | None, own: int) -> Turn:
        """Not inside a transaction."""
        served = None if waiting is None else self._served(rater, waiting)
        return Turn(rules, served, dataclasses.replace(self.tally_now(), own=own))

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


def _check_vote(rules: RatingRules, standing: vote_rows.Standing, choice: Choice) -> None:
    """Whether a pair takes this choice now.

    Raises:
        ConflictError: it does not.
    """
    if not rules.open:
        raise ConflictError("Voting is closed; this vote was not saved.")
    if standing.retired:
        raise ConflictError("This pair is not rated any more; this vote was not saved.")
    if choice in ("tie", "both_bad") and not rules.ties:
        raise ConflictError("This vote asks for one of the two answers; choose one, or skip.")
