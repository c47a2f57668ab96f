"""The store: opening, migrating, transactions and what survives kill -9, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, event, func, make_url, select, text
from sqlalchemy.exc import IntegrityError

from studio.config import ROOT, Settings
from studio.errors import InputError, StoreError, StudioError
from studio.services import build_services
from studio.services.rating.rooms import RoomService
from studio.services.rating.service import RatingService
from studio.store import database, tables
from studio.store.database import Database, journal_mode
from tests.helpers.pairs import new_pairs, press_until_done

VOTER = """
import sys, threading
from studio.config import Settings
from studio.services.rating.rooms import RoomService
from studio.services.rating.service import RatingService

service = RatingService(Settings(database_url=sys.argv[1]))
service.store()
said = threading.Lock()

def work(name):
    rater, _ = service.register(name)
    while (served := service.serve(rater)) is not None:
        service.vote(rater, served.pair_id, served.token, "left", 1.0)
        with said:
            print("saved", rater.id, served.pair_id, flush=True)

for number in range(4):
    threading.Thread(target=work, args=(f"rater {number}",)).start()
"""

OPENER = """
import sys, time
from pathlib import Path
from studio.config import Settings
from studio.services.rating.rooms import RoomService
from studio.services.rating.service import RatingService

print("ready", flush=True)
while not Path(sys.argv[2]).exists():
    time.sleep(0.001)
_, token = RatingService(Settings(database_url=sys.argv[1])).register("Anna")
print(token, flush=True)
"""


def start(code: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *args], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_the_migrations_lead_to_the_tables_as_they_are(store_url: str) -> None:
    database = Database(store_url)
    database.migrate()
    database.migrate()  # again: nothing to do
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    database.close()


def test_votes_of_an_older_database_keep_loading(store_url: str) -> None:
    """Made before votes had reasons, and before there were rooms."""
    rating = RatingService(Settings(database_url=store_url))
    rating.add_pairs(new_pairs(2))
    press_until_done(rating, rating.register("Anna")[0])
    votes = rating.ballots().votes
    with rating.store().write() as connection:
        connection.execute(text("ALTER TABLE votes DROP COLUMN reasons"))
        for index in ("pairs_to_serve", "raters_of_room", "servings_of_pair"):
            connection.execute(text(f"DROP INDEX {index}"))
        for table in ("pairs", "raters"):
            connection.execute(text(f"ALTER TABLE {table} DROP COLUMN room"))
        connection.execute(text("CREATE INDEX pairs_to_serve ON pairs (retired, calibration, votes, shuffle)"))
        for table in ("kept_votes", "thumbs", "rooms"):
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
    rating.close()
    assert rating.ballots().votes == votes
    assert rating.progress(None).votes == 2
    assert RoomService(rating).make("Hall B").code
    rating.close()


def test_processes_that_start_at_once_migrate_once_and_share_the_secret(store_url: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    openers = [start(OPENER, store_url, str(go)) for _ in range(3)]
    for opener in openers:
        assert opener.stdout is not None
        assert opener.stdout.readline() == "ready\n"
    go.touch()
    tokens = [opener.communicate(timeout=60)[0].strip() for opener in openers]
    assert [opener.returncode for opener in openers] == [0, 0, 0]
    service = RatingService(Settings(database_url=store_url))
    assert [service.rater(token).name for token in tokens] == ["Anna"] * 3
    service.close()


def test_threads_that_open_a_new_store_at_once(store_url: str) -> None:
    services = [RatingService(Settings(database_url=store_url)) for _ in range(3)]
    with ThreadPoolExecutor(12) as pool:
        raters = list(pool.map(lambda n: services[n % 3].register(f"rater {n}"), range(24)))
    assert len({services[0].rater(token).id for _, token in raters}) == 24
    for service in services:
        service.close()


def test_what_was_said_to_be_saved_survives_kill_9(store_url: str) -> None:
    service = RatingService(Settings(database_url=store_url))
    service.add_pairs(new_pairs(100))
    voter = start(VOTER, store_url)
    assert voter.stdout is not None
    told = [voter.stdout.readline() for _ in range(40)]
    os.kill(voter.pid, signal.SIGKILL)
    told += voter.stdout.readlines()
    assert voter.wait(30) == -signal.SIGKILL
    # the last line may be cut off; it was not said then
    saved = [tuple(line.split()[1:]) for line in told if line.endswith("\n")]
    service.close()

    reopened = RatingService(Settings(database_url=store_url))
    kept = Counter((vote.rater_id, vote.pair_id) for vote in reopened.ballots().votes)
    assert len(saved) >= 40
    assert [vote for vote in saved if kept[vote] != 1] == []
    # at most one vote of each thread was stored and not yet told
    assert len(kept) - len(saved) <= 4
    # the dead process holds nobody up
    rater, _ = reopened.register("after")
    served = reopened.serve(rater)
    assert served is not None
    reopened.vote(rater, served.pair_id, served.token, "left", 1.0)
    assert reopened.progress(None).votes == len(kept) + 1
    reopened.close()


def test_one_server_goes_on_when_the_other_is_killed(store_url: str) -> None:
    """And whoever voted there votes on here: one store, one secret."""
    here = RatingService(Settings(database_url=store_url))
    here.add_pairs(new_pairs(60))
    voter = start(VOTER, store_url)
    assert voter.stdout is not None
    told = [voter.stdout.readline()]
    with ThreadPoolExecutor(2) as pool:
        ours = [pool.submit(press_until_done, here, here.register(name)[0]) for name in ("Anna", "Bert")]
        told += [voter.stdout.readline() for _ in range(20)]
        os.kill(voter.pid, signal.SIGKILL)
        assert [len(one.result(timeout=120)) for one in ours] == [60, 60]
    told += voter.stdout.readlines()
    assert voter.wait(30) == -signal.SIGKILL
    saved = {tuple(line.split()[1:]) for line in told if line.endswith("\n")}
    kept = Counter((vote.rater_id, vote.pair_id) for vote in here.ballots().votes)
    assert set(kept.values()) == {1}
    assert saved <= kept.keys()
    moved = next(rater for rater in here.ballots().raters if rater.id in {rater_id for rater_id, _ in saved})
    before = sum(rater_id == moved.id for rater_id, _ in kept)
    assert len(press_until_done(here, moved)) == 60 - before
    here.close()


def test_a_write_that_fails_leaves_nothing(store_url: str) -> None:
    database = Database(store_url)
    database.migrate()
    row = {"id": "r", "name": "Anna", "verified": False, "created": 0.0, "votes": 0}

    def fail() -> None:
        with database.write() as connection:
            connection.execute(tables.raters.insert().values(row))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.write() as connection:
        connection.execute(tables.raters.insert().values(row))
    with database.read() as connection:
        assert connection.execute(select(func.count()).select_from(tables.raters)).scalar_one() == 1
    vote = {"pair_id": "none", "rater_id": "r", "choice": "1", "left_answer": 1, "seconds": 1.0}
    with pytest.raises(IntegrityError), database.write() as connection:  # foreign keys are minded
        connection.execute(tables.votes.insert().values(**vote, created=0.0, updated=0.0, changes=0))
    database.close()


def test_an_import_that_fails_at_row_900_leaves_nothing(store_url: str) -> None:
    """And no server sees a part of it meanwhile: what is counted, served and rated is all of an import or nothing."""
    rating = RatingService(Settings(database_url=store_url))
    made = new_pairs(2_300)
    refuse = (
        "CREATE TRIGGER refuse BEFORE INSERT ON pairs WHEN NEW.prompt = 'question 900' "
        "BEGIN SELECT RAISE(ABORT, 'row 900 is refused'); END"
        if store_url.startswith("sqlite")
        else "ALTER TABLE pairs ADD CONSTRAINT refuse CHECK (prompt <> 'question 900')"
    )
    allow = "DROP TRIGGER refuse" if store_url.startswith("sqlite") else "ALTER TABLE pairs DROP CONSTRAINT refuse"
    with rating.store().write() as connection:
        connection.execute(text(refuse))
    with pytest.raises(IntegrityError, match=r"row 900|refuse"):
        rating.add_pairs(made)
    with rating.store().read() as connection:
        for table in (tables.pairs, tables.chats):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0
    assert rating.serve(rating.register("Anna")[0]) is None
    with rating.store().write() as connection:
        connection.execute(text(allow))
    assert rating.add_pairs(made).added == 2_300
    assert rating.add_pairs(made[::-1]).known == 2_300
    assert [pair.prompt for pair in rating.ballots().pairs] == [pair.prompt for pair in made]
    rating.close()


def test_imports_of_the_same_pairs_at_once_store_each_once(store_url: str) -> None:
    """Whole imports in one transaction each, in opposite orders: nobody waits for ever, and each pair is there once."""
    services = [RatingService(Settings(database_url=store_url)) for _ in range(3)]
    # every pair with a chat of its own: a shared one would put the imports in a line before the first pair
    made = [replace(pair, system_prompt=f"Be kind {n}.") for n, pair in enumerate(new_pairs(1_500))]
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda n: services[n].add_pairs(made[:: (1, -1, 1)[n]]), range(3)))
    assert {one.added + one.known for one in done} == {1_500}
    assert sum(one.added for one in done) == 1_500
    assert len(services[0].ballots().pairs) == 1_500
    for service in services:
        service.close()


def test_services_share_one_database(tmp_path: Path) -> None:
    """One pool, one migration and one line of writers for all of a server."""
    services = build_services(Settings(data_dir=tmp_path / "data", database_url=f"sqlite:///{tmp_path / 'studio.db'}"))
    assert services.rating.store() is services.evaluations._store()
    services.evaluations.close()  # whoever closes it, the others open it again
    assert services.rating.rules().open
    services.rating.close()
    assert services.evaluations.list() == ()
    services.evaluations.close()


def test_a_reader_sees_one_moment(store_url: str) -> None:
    database = Database(store_url)
    database.migrate()
    count = select(func.count()).select_from(tables.raters)
    row = {"name": "Anna", "verified": False, "created": 0.0, "votes": 0}
    with database.read() as reader:
        assert reader.execute(count).scalar_one() == 0
        with database.write() as connection:
            connection.execute(tables.raters.insert().values(id="r", **row))
        assert reader.execute(count).scalar_one() == 0
    with database.read() as reader:
        assert reader.execute(count).scalar_one() == 1
    database.close()


def test_sqlite_is_as_durable_as_it_says(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new folder' / 'studio.db'}")
    with database.write() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2  # FULL
        assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
        assert connection.execute(text("PRAGMA busy_timeout")).scalar_one() == 30_000
    database.close()


def test_postgresql_waits_for_the_disk_even_where_the_server_would_not(postgres_url: str) -> None:
    database = Database(postgres_url)
    with database.write() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
    database.close()


def test_the_other_process_is_waited_for(tmp_path: Path) -> None:
    """BEGIN IMMEDIATE: two writers queue up, neither fails half-way."""
    url = f"sqlite:///{tmp_path / 'studio.db'}"
    one, two = Database(url), Database(url)
    one.migrate()
    two.migrate()
    begins = threading.Event()
    event.listen(two._engine, "before_cursor_execute", lambda *_: begins.set())
    order = []

    def write_second() -> None:
        with two.write() as connection:
            connection.execute(text("DELETE FROM raters"))
            order.append("second")

    with one.write() as connection:
        connection.execute(text("DELETE FROM raters"))
        thread = threading.Thread(target=write_second)
        thread.start()
        assert begins.wait(30)
        connection.execute(text("DELETE FROM raters"))
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
    one.close()
    two.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("not a url", "database_url is not a database URL"),
        ("mysql://user:hunter2@host/name", "database_url is of kind 'mysql'"),
        ("sqlite://", "SQLite without a file"),
        ("sqlite:///:memory:", "SQLite without a file"),
        ("postgresql://u:hunter2@host:port/name", "database_url is not a database URL"),
    ],
)
def test_a_bad_url_is_one_sentence_without_the_password(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        Database(url)
    assert "hunter2" not in str(caught.value)


def test_an_unreachable_server_is_one_sentence_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    service = RatingService(Settings(database_url="postgresql://anna:hunter2@127.0.0.1:9/votes"))
    with pytest.raises(StudioError, match=r"The store at 127\.0\.0\.1:9/votes cannot be used") as caught:
        service.rules()
    assert "hunter2" not in str(caught.value) + caplog.text


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "studio.db").write_bytes(b"these are not the votes you are looking for" * 100)
    with pytest.raises(StudioError, match="cannot be used: file is not a database"):
        RatingService(Settings(database_url=f"sqlite:///{tmp_path / 'studio.db'}")).rules()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StudioError, match="cannot be made"):
        RatingService(Settings(database_url=f"sqlite:///{tmp_path / 'file' / 'studio.db'}")).rules()


def test_a_store_of_a_newer_studio_is_not_touched(rating: RatingService) -> None:
    with rating.store().write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    rating.close()
    with pytest.raises(StudioError, match="a newer one made it"):
        rating.rules()


def test_postgresql_that_was_restarted_is_used_again(
    rating: RatingService, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not store_url.startswith("postgresql"):
        pytest.skip("SQLite has no server")
    rater, _ = rating.register("Anna")
    rating.add_pairs(new_pairs(1))
    kill = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    def restarted() -> None:
        """Every connection of the studio's rests, and is dead."""
        with rating.store().read(), rating.store().read():
            pass
        other = create_engine(make_url(store_url).set(drivername="postgresql+psycopg"))
        with other.begin() as connection:
            assert len(connection.execute(kill).all()) == 2
        other.dispose()

    restarted()
    monkeypatch.setattr(database, "_RESTED_S", 0.0)
    assert rating.serve(rater) is not None
    # within the moment in which it is not looked at: one request fails, and the page sends it again
    restarted()
    monkeypatch.setattr(database, "_RESTED_S", 3600.0)
    with pytest.raises(StoreError, match="cannot be used"):
        rating.rules()
    assert rating.serve(rater) is not None


def test_building_the_service_touches_no_file(tmp_path: Path) -> None:
    RatingService(Settings(data_dir=tmp_path / "data"))
    assert list(tmp_path.iterdir()) == []
    service = RatingService(Settings(data_dir=tmp_path / "data"))
    service.register("Anna")
    assert (tmp_path / "data" / "studio.db").is_file()
    service.close()


def test_the_journal_follows_what_the_file_system_promises() -> None:
    mounts = {"/": "ext4", "/bucket": "fuse.hf-mount", "/bucket/disk": "xfs", "/home": "nfs4"}
    places = {"/var/studio.db": "WAL", "/bucket/a/studio.db": "TRUNCATE", "/bucket/disk/studio.db": "WAL"}
    for place, mode in {**places, "/home/me/studio.db": "TRUNCATE"}.items():
        assert journal_mode(Path(place), mounts) == mode
