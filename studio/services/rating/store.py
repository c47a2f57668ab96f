"""The database of votes as all rooms share it: opened at first use, with the secret that signs what is given to browsers."""

from __future__ import annotations

import threading

from studio.store import rules as rule_rows
from studio.store.database import Database


class VoteStore:
    """One for all rooms of a studio; every method may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._opening = threading.Lock()
        self._secret = b""

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

    def close(self) -> None:
        """Close the database; the next call opens it again, and reads the secret again."""
        with self._opening:
            self._secret = b""
            self._database.close()
