"""Opening, migrating and using the database. Transactions are short, and what they promise is the same on both kinds:
a write that returned is on the disk, a read sees one moment.

SQLite: WAL where its folder allows it (readers and the writer do not wait for each other), synchronous FULL (COMMIT returns after fsync), one writer
at a time: a lock within the process, BEGIN IMMEDIATE between processes. PostgreSQL: READ COMMITTED for writes (the queries
lock the rows they decide by), REPEATABLE READ for reads.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    InvalidatePoolError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from studio.errors import InputError, StoreError, StudioError

log = logging.getLogger(__name__)

#: How long a transaction waits for another process that writes.
BUSY_S = 30.0
#: Connections at most: more requests than that wait in line, which is quicker than making a server juggle them.
POOL = 16
#: A connection that rested longer than this is asked whether it still works before it is used; asking always would be one more
#: question with every vote.
_RESTED_S = 1.0
_WRITES = "studio_writes"
#: How the kinds of file system begin that may be mounted by several machines or served by a program.
_SHARED = ("fuse", "nfs", "cifs", "smb", "9p", "virtiofs", "afs", "ceph", "gpfs", "lustre")
#: PostgreSQL's advisory lock of whoever migrates ("studio" in ASCII).
_MIGRATION_LOCK = 0x73747564696F
#: Alembic's ``op`` and ``context`` are module globals: one migration at a time in a process, whatever the database.
_migrating = threading.Lock()


class Database:
    """One database, opened at first use, safe to share between threads.

    Args:
        url: an SQLAlchemy URL: ``sqlite:////absolute/path.db`` or ``postgresql://user:password@host:5432/name``.

    Raises:
        InputError: the URL is of no kind known here.
    """

    def __init__(self, url: str) -> None:
        self._url = _checked(url)
        self._engine: Engine | None = None
        self._opening = threading.Lock()
        self._migrated = False
        self._readying = threading.Lock()
        self._writer: contextlib.AbstractContextManager[Any] = (
            threading.Lock() if self._sqlite else contextlib.nullcontext()
        )

    @property
    def where(self) -> str:
        """The place of the database as a person may see it: no password, no user."""
        if self._sqlite:
            return str(self._url.database)
        return f"{self._url.host or 'localhost'}:{self._url.port or 5432}/{self._url.database or ''}"

    @property
    def _sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    def ready(self) -> Database:
        """This database, migrated since it was opened last.

        Raises:
            StudioError: as :meth:`migrate`; the next call tries again.
        """
        with self._readying:
            if not self._migrated:
                self.migrate()
                self._migrated = True
            return self

    def migrate(self) -> None:
        """Bring the schema up to date. Safe when several processes do it at the same moment.

        Raises:
            StudioError: the database cannot be opened, or was made by a newer studio.
        """
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        with _migrating, self.write() as connection:
            if not self._sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise StudioError(
                    f"The store at {self.where} cannot be used by this version of the studio, a newer one made it: {error}."
                ) from None
            except ProgrammingError as error:
                # PostgreSQL says so where the user may not create tables.
                raise StudioError(f"The store at {self.where} cannot be prepared: {self._reason(error)}.") from None

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one moment of the database, and is not for writing.

        Raises:
            StudioError: the database cannot be reached.
        """
        with self._failures(), self._open().connect() as connection:
            if not self._sqlite:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection in a transaction that is committed at the end, and on the disk once this returns; rolled back
        where the block raises.

        Raises:
            StudioError: the database cannot be reached, or another process kept it busy for too long.
        """
        with self._failures(), self._writer, self._open().connect() as connection:
            connection.execution_options(**{_WRITES: True})
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close all connections; the next use opens again."""
        with self._readying, self._opening:
            self._migrated = False
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _open(self) -> Engine:
        with self._opening:
            if self._engine is None:
                self._engine = self._sqlite_engine() if self._sqlite else self._postgres_engine()
            return self._engine

    def _sqlite_engine(self) -> Engine:
        path = Path(str(self._url.database))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The store's folder {path.parent} cannot be made: {error.strerror}. Make it writable, or set STUDIO_DATABASE_URL."
            ) from None
        engine = create_engine(
            self._url,
            pool_size=POOL,
            max_overflow=0,
            pool_timeout=BUSY_S,
            hide_parameters=True,
            connect_args={"timeout": BUSY_S},
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _postgres_engine(self) -> Engine:
        engine = create_engine(
            self._url,
            pool_size=POOL,
            max_overflow=0,
            pool_timeout=BUSY_S,
            hide_parameters=True,
            connect_args={"connect_timeout": 10, "client_encoding": "utf8"},
        )
        event.listen(engine, "connect", _prepare_postgres)
        event.listen(engine, "checkin", _note_rest)
        event.listen(engine, "checkout", functools.partial(_check_rested, engine.dialect))
        return engine

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """What goes wrong outside of us (server gone, disk full, no such database) as one sentence."""
        try:
            yield
        except (DatabaseError, PoolTimeout) as error:
            # Exactly DatabaseError: a damaged file. Its other kinds (IntegrityError, ProgrammingError) are our defects.
            if type(error) not in (DatabaseError, OperationalError, PoolTimeout):
                raise
            log.exception("the store failed")
            raise StoreError(
                f"The store at {self.where} cannot be used: {self._reason(error)}.{_way_out(error)}"
            ) from None

    def _reason(self, error: SQLAlchemyError) -> str:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()
        reason = (said[0] if said else type(error).__name__).rstrip(".")
        return reason.replace(str(self._url.password), "***") if self._url.password else reason


def _way_out(error: SQLAlchemyError) -> str:
    """What to do about a file of SQLite's that cannot be written."""
    reason = str(getattr(error, "orig", None) or "")
    if "readonly" in reason or "unable to open" in reason:
        return " Give this program the right to write the file and its folder, or set STUDIO_DATABASE_URL."
    return " Free some space on its disk." if "is full" in reason else ""


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise InputError(
            "database_url is not a database URL; use sqlite:////path/studio.db or postgresql://user:password@host/name."
        ) from None
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database.startswith((":memory:", "file:")):
            raise InputError("database_url is SQLite without a file; use sqlite:////path/studio.db.")
        return parsed.set(drivername="sqlite")
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    raise InputError(f"database_url is of kind {parsed.drivername!r}; SQLite and PostgreSQL are known here.")


def _prepare_sqlite(connection: Any, record: Any) -> None:
    # We say BEGIN ourselves: Python's own begins late, and never with IMMEDIATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_S * 1000)}")
    mode = journal_mode(Path(cursor.execute("PRAGMA database_list").fetchone()[2]))
    # Two processes that switch a new file to WAL at once do not wait for each other: SQLite answers "locked" at once.
    end = time.monotonic() + BUSY_S
    while True:
        try:
            cursor.execute(f"PRAGMA journal_mode = {mode}")
            break
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def journal_mode(file: Path, mounts: Mapping[str, str] | None = None) -> str:
    """``WAL``, or ``TRUNCATE`` for a database on a network or FUSE file system: WAL keeps an index in memory that all its
    programs share, which those do not promise (https://www.sqlite.org/wal.html).

    Args:
        mounts: the kind of file system at each mount point; None: those of this machine.
    """
    kinds = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)} if mounts is None else mounts
    at = next((kinds[str(folder)] for folder in file.resolve().parents if str(folder) in kinds), "")
    return "TRUNCATE" if at.startswith(_SHARED) else "WAL"


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare_postgres(connection: Any, record: Any) -> None:
    # A server may be set to answer before the disk has it; "saved" must not.
    connection.autocommit = True
    connection.execute("SET synchronous_commit = on")
    connection.execute(f"SET lock_timeout = '{int(BUSY_S)}s'")
    connection.autocommit = False


def _note_rest(connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["rests_since"] = time.monotonic()


def _check_rested(dialect: Dialect, connection: Any, record: ConnectionPoolEntry, proxy: Any) -> None:
    """Replace connections that PostgreSQL closed meanwhile, for instance when it was started again."""
    if time.monotonic() - record.info.get("rests_since", 0.0) < _RESTED_S:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error
