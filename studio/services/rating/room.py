"""One room of a store: its rules, and how far its vote is."""

from __future__ import annotations

import copy
import dataclasses
import time
from typing import Self

from studio.config import Settings
from studio.domain.votes import Progress, Rater, RatingRules
from studio.services.rating.rules import GUIDELINES, check_rules, in_force, unknown_room
from studio.services.rating.store import VoteStore
from studio.store import rooms as room_rows
from studio.store import rules as rule_rows
from studio.store import votes as vote_rows
from studio.store.database import Connection, Database


class RatingRoom:
    """The database opens at first use; every method may be called from any thread.

    Every method raises StudioError where the store cannot be used, and NotFoundError where the room is not there.

    Args:
        database: one to share with other services; if None, that of the settings.
    """

    def __init__(self, settings: Settings, database: Database | None = None) -> None:
        self._shared = VoteStore(database or Database(settings.store_url))
        self.room = ""

    def in_room(self, code: str) -> Self:
        """The same for another room of this store; empty: the first."""
        other = copy.copy(self)
        other.room = code
        return other

    def progress(self, rater: Rater | None) -> Progress:
        """How far this rater (None: nobody in particular) and all raters are."""
        with self.store().read() as connection:
            return self._tally(connection, "" if rater is None else rater.id, self.rules_in(connection))

    def rules(self) -> RatingRules:
        """What the operator set, else the shipped guidelines and the defaults."""
        with self.store().read() as connection:
            return self.rules_in(connection)

    def set_rules(self, rules: RatingRules) -> None:
        """Keep new rules.

        Raises:
            InputError: ``min_votes`` is not odd or not in 1..99, or the guidelines are too long.
        """
        check_rules(rules)
        with self.store().write() as connection:
            self.hold(connection)
            rule_rows.save_rules(connection, self.room, rules)
        self.changed()

    def set_open(self, on: bool, closes: float = 0.0) -> None:
        """Open the vote, until ``closes`` (Unix seconds; 0: until somebody closes it), or close it."""
        self.set_rules(dataclasses.replace(self.rules(), open=on, closes=closes))

    def rules_in(self, connection: Connection) -> RatingRules:
        """The rules, as a transaction finds them."""
        rules = rule_rows.load_rules(connection, self.room)
        if rules is None and self.room:
            raise unknown_room(self.room)
        return in_force(rules or RatingRules(GUIDELINES, two_decide=True), time.time())

    def rules_now(self) -> RatingRules:
        """The rules as read a moment ago, closed if their moment has come since. Not inside a transaction."""
        return in_force(self._shared.rules.get(self.room, self.rules), time.time())

    def tally_now(self) -> Progress:
        """How far all raters are, as read a moment ago. Not inside a transaction."""
        return self._shared.tallies.get(self.room, lambda: self.progress(None))

    def _tally(self, connection: Connection, rater_id: str, rules: RatingRules) -> Progress:
        """Counted twice where there are fewer raters than the rules count on."""
        counts = vote_rows.tally(connection, self.room, rater_id, rules.min_votes)
        needed = rules.needed(counts.raters)
        return counts if needed == rules.min_votes else vote_rows.tally(connection, self.room, rater_id, needed)

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

    def changed(self) -> None:
        """Rooms, rules or pairs were changed in a transaction of somebody else's: what raters are told is read again."""
        self._shared.changed()

    def close(self) -> None:
        """Close the database, for all rooms; the next call opens it again."""
        self._shared.close()
