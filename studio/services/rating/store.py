"""The database of votes as all rooms share it: opened at first use, with the secret that signs what is given to browsers."""

from __future__ import annotations

import threading

from studio.domain.votes import Progress, RatingRules
from studio.services.rating.recent import Recent
from studio.store import rules as rule_rows
from studio.store.database import Database


class VoteStore:
    """One for all rooms of a studio; every method may be called from any thread. ``rules`` and ``tallies`` are those that the raters
    of each room ask for with every vote."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._opening = threading.Lock()
        self._secret = b""
        self.rules: Recent[RatingRules] = Recent()
        self.tallies: Recent[Progress] = Recent()

    def ready(self) -> Database:
        """The open, migrated database.

        Raises:
            StudioError: it cannot be used.
        """
        with self._opening:
            database = self._database.ready()
            if not self._secret:
                with database.write() as connection:
                    self._secret = rule_rows.secret(connection)
            return database

    @property
    def secret(self) -> bytes:
        """What signs tokens; known once the store was :meth:`ready`."""
        return self._secret

    def changed(self) -> None:
        """Rooms, rules or pairs were changed here: nobody is told what was."""
        self.rules.forget()
        self.tallies.forget()

    def close(self) -> None:
        """Close the database; the next call opens it again, and reads everything again."""
        self.changed()
        with self._opening:
            self._secret = b""
            self._database.close()
