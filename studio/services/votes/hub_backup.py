"""A copy of the votes in a private dataset on the Hub, for machines whose disk does not last (a free Space).

The local store comes first: a vote is saved there, this copies what is saved. At start the copy is brought in before
anything is written over it; then it is renewed every few seconds while there is something new, and once more when the
program ends, SIGTERM included. The first room's lies at the top, each
other's in ``rooms/<code>``. Only into a private dataset: besides an export and the kept results it holds who the raters are, the
choices they changed or took back, and the secret by which their browsers are known again.

It is one writer's copy: two servers need two repositories, or one store.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.config import Settings
from studio.domain.votes import Ballots, KeptHead, PastChoice, Rater, Room
from studio.errors import ConflictError, InputError, StudioError
from studio.services.files.records import parse
from studio.services.hub import HubApi, checked_repo, checked_token, hub_client, hub_sentence
from studio.services.rating.rooms import FIRST, RoomService
from studio.services.rating.service import RatingService
from studio.services.votes.export import FILES, MARK, ExportOptions, write_files
from studio.services.votes.kept import kept_lines, read_kept, restore_kept
from studio.services.votes.read_export import ImportedVotes, check_number, read_votes
from studio.services.votes.restore import restore
from studio.services.votes.rows import judge_of
from studio.store import raters as rater_rows
from studio.store import rooms as room_rows
from studio.store import rules as rule_rows

log = logging.getLogger(__name__)

#: Who the raters are, by their real ids, and what signs their tokens.
BACKUP = "backup/raters.json"
#: Choices that were changed or taken back, one a line; older copies have none.
HISTORY = "backup/history.jsonl"
#: The results that are kept, one a line; older copies have none.
KEPT = "backup/kept.jsonl"
#: The other rooms: a folder each, and what they are called.
ROOMS = "rooms"
ROOM = "backup/room.json"
#: After failures the next try waits longer and longer, at most this long (seconds).
_LONGEST_WAIT = 600.0
#: How long the end of the program may wait for the last push (seconds); a Space is killed half a minute after SIGTERM.
_LAST_PUSH = 25.0
#: Files the Hub puts into a dataset by itself.
_HUBS_OWN = frozenset({".gitattributes", "README.md"})


@dataclass(frozen=True)
class MirrorStatus:
    """``pending`` votes were cast, changed or taken back since the copy of ``backed_up`` (Unix seconds; 0: none by this
    process). ``problem`` is a sentence while copying fails, else empty."""

    repo: str
    pending: int
    backed_up: float
    problem: str

    def __str__(self) -> str:
        if self.pending:
            state = f"{self.pending} vote{'s' * (self.pending != 1)} not yet backed up"
        else:
            state = "All votes are backed up"
        return f"{state} ({self.repo}). {self.problem}".strip()


class VoteMirror:
    """Copies the store of ``rating`` to the dataset ``repo``. Every method may be called from any thread.

    Args:
        every_s: seconds between two looks for something new.
        client: makes the Hub's client for a token; tests give their own.
    """

    def __init__(
        self,
        rating: RatingService,
        repo: str,
        token: str,
        every_s: float = 60.0,
        client: Callable[[str], HubApi] = hub_client,
    ) -> None:
        self._rating = rating
        self._rooms = RoomService(rating)
        self._repo = checked_repo(repo)
        self._api = client(checked_token(token))
        self._every_s = every_s
        self._stop = threading.Event()
        self._pushing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._brought_in = False
        self._copied: dict[tuple[str, str], tuple[str, float]] = {}
        self._mark = ""
        self._backed_up = 0.0
        self._problem = ""

    def start(self) -> None:
        """Bring in what the dataset holds, then copy in the background. Does not raise: what goes wrong is told by
        :meth:`status`, and tried again; nothing is written over a copy that could not be brought in."""
        if self._thread is None:
            self.sync()
            self._thread = threading.Thread(target=self._run, name="vote-mirror", daemon=True)
            self._thread.start()

    def status(self) -> MirrorStatus:
        """How far the copy is behind."""
        now = _state(self._rooms.ballots())
        before = self._copied
        pending = sum(now.get(key) != before.get(key) for key in now.keys() | before.keys())
        return MirrorStatus(self._repo, pending, self._backed_up, self._problem)

    def sync(self) -> bool:
        """Bring the copy in if that was not done yet, and push if there is something new; whether the copy is complete."""
        with self._pushing:
            try:
                if not self._brought_in:
                    self._bring_in()
                    self._brought_in = True
                self._push()
            except StudioError as error:
                self._problem = str(error)
            except Exception as error:
                # The client can raise anything, and its texts may carry request headers: only the kind is logged.
                log.warning("the copy of the votes failed: %s", type(error).__name__)
                self._problem = str(hub_sentence(error, "the votes are safe here, and copied as soon as it answers."))
            else:
                self._problem = ""
            return not self._problem

    def close(self, wait_s: float = _LAST_PUSH) -> bool:
        """Stop copying after a last push, for which at most ``wait_s`` seconds are waited; whether it was made."""
        self._stop.set()
        done: list[bool] = []
        # In a thread, since a Hub that does not answer must not keep the program from ending.
        last = threading.Thread(target=lambda: done.append(self.sync()), name="vote-mirror-last", daemon=True)
        last.start()
        last.join(wait_s)
        if not any(done):
            log.error("%s", self.status())
        return any(done)

    def _run(self) -> None:
        failures = 0
        while not self._stop.wait(min(self._every_s * 2**failures, max(self._every_s, _LONGEST_WAIT))):
            failures = 0 if self.sync() else min(failures + 1, 10)

    # -- in -----------------------------------------------------------------------------------------------------------

    def _bring_in(self) -> None:
        self._api.create_repo(self._repo, repo_type="dataset", private=True, exist_ok=True)
        self._check_private()
        files = set(self._api.list_repo_files(self._repo, repo_type="dataset"))
        if not files - _HUBS_OWN:
            return
        if MARK not in files:
            raise ConflictError(
                f"The dataset {self._repo} holds something else than votes of a studio; name another one in STUDIO_VOTES_REPO."
            )
        with tempfile.TemporaryDirectory(prefix="studio-mirror-") as scratch:
            names = sorted(FILES | {BACKUP, HISTORY, KEPT, f"{ROOMS}/*"})
            self._api.snapshot_download(self._repo, repo_type="dataset", local_dir=scratch, allow_patterns=names)
            self._restore(Path(scratch))

    def _restore(self, folder: Path) -> None:
        first = _read_room(folder)
        others = [
            (_read_name(place), _read_room(place)) for place in sorted((folder / ROOMS).glob("*")) if place.is_dir()
        ]
        if self._empty():
            with self._rating.store().write() as connection:
                rule_rows.replace_secret(connection, first.secret)
                rule_rows.save_rules(connection, FIRST.code, first.votes.ballots.rules)
            self._rating.close()  # opened again, it signs with the secret the browsers know
        with self._rating.store().write() as connection:
            known = {room.code for room in room_rows.all_rooms(connection)}
            for room, copy in others:
                if room.code not in known:
                    room_rows.add_room(connection, room, copy.votes.ballots.rules)
        for room, copy in ((FIRST, first), *others):
            rating = self._rooms.rating(room.code)
            log.info("votes of %s brought in from %s: %s", room.name, self._repo, restore(rating, copy.votes))
            restore_kept(rating, copy.kept)

    def _empty(self) -> bool:
        with self._rating.store().read() as connection:
            return not room_rows.all_rooms(connection) and not rater_rows.all_raters(connection, FIRST.code)

    # -- out ----------------------------------------------------------------------------------------------------------

    def _push(self) -> None:
        rated = [(room, self._rooms.rating(room.code)) for room in self._rooms.list()]
        rooms = [(room, rating.ballots(history=True), kept_lines(rating)) for room, rating in rated]
        mark = hashlib.sha256(repr(rooms).encode()).hexdigest()
        if mark == self._mark or not any(ballots.pairs for _, ballots, _ in rooms):
            return
        self._check_private()
        with tempfile.TemporaryDirectory(prefix="studio-mirror-") as scratch:
            for room, ballots, kept in rooms:
                self._write(Path(scratch) / (f"{ROOMS}/{room.code}" if room.code else ""), room, ballots, kept)
            votes, pairs = (sum(len(getattr(ballots, kind)) for _, ballots, _ in rooms) for kind in ("votes", "pairs"))
            self._api.upload_folder(
                repo_id=self._repo,
                repo_type="dataset",
                folder_path=scratch,
                commit_message=f"{votes} votes on {pairs} pairs",
                delete_patterns=[f"{ROOMS}/*"],  # but for what is written anew: a deleted room does not come back
            )
        self._mark, self._copied, self._backed_up = mark, _state(ballots for _, ballots, _ in rooms), time.time()

    def _write(self, folder: Path, room: Room, ballots: Ballots, kept: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_files(ballots, folder, ExportOptions("jsonl", whole=True))
        (folder / BACKUP).parent.mkdir()
        history = "".join(json.dumps(dataclasses.asdict(past)) + "\n" for past in ballots.history)
        for name, text in (
            (BACKUP, json.dumps(self._backup(ballots), ensure_ascii=False)),
            (HISTORY, history),
            (KEPT, kept),
            (ROOM, json.dumps(dataclasses.asdict(room), ensure_ascii=False)),
        ):
            (folder / name).write_text(text, encoding="utf-8")

    def _backup(self, ballots: Ballots) -> dict[str, Any]:
        with self._rating.store().write() as connection:
            secret = rule_rows.secret(connection)
        return {"secret": secret.hex(), "raters": [dataclasses.asdict(rater) for rater in ballots.raters]}

    def _check_private(self) -> None:
        """Before every push: a dataset can be made public at any time."""
        if self._api.repo_info(self._repo, repo_type="dataset").private is not True:
            raise ConflictError(
                f"The dataset {self._repo} is public, so no votes are copied to it: make it private, or name another one in "
                "STUDIO_VOTES_REPO."
            )


@contextlib.contextmanager
def mirrored(
    settings: Settings, rating: RatingService, environ: Mapping[str, str], client: Callable[[str], HubApi] = hub_client
) -> Iterator[VoteMirror | None]:
    """The mirror the settings ask for, started, and closed at the end, also when the process is told to end by SIGTERM;
    None where they ask for none. To be entered in the main thread.

    Raises:
        InputError: ``STUDIO_VOTES_REPO`` is no name, or there is no ``HF_TOKEN``.
    """
    if not settings.votes_repo:
        yield None
        return
    if not environ.get("HF_TOKEN", "").strip():
        raise InputError(
            "STUDIO_VOTES_REPO is set, but HF_TOKEN is not; it needs a token that may write to that dataset."
        )
    mirror = VoteMirror(rating, settings.votes_repo, environ["HF_TOKEN"], settings.votes_push_s, client)
    before = signal.signal(signal.SIGTERM, _end)
    try:
        mirror.start()
        yield mirror
    finally:
        # A second SIGTERM must not cut the last push short.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        mirror.close()
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _end(number: int, frame: object) -> None:
    raise SystemExit(0)


def _state(rooms: Iterable[Ballots]) -> dict[tuple[str, str], tuple[str, float]]:
    votes = (vote for ballots in rooms for vote in ballots.votes)
    return {(vote.pair_id, vote.rater_id): (vote.choice, vote.updated) for vote in votes}


@dataclass(frozen=True)
class _RoomCopy:
    """What a copy holds of one room, and the secret of its store."""

    votes: ImportedVotes
    kept: tuple[tuple[KeptHead, str], ...]
    secret: bytes


def _read_room(folder: Path) -> _RoomCopy:
    brought = read_votes(folder, sys.maxsize)
    raters, secret = _read_backup(folder / BACKUP)
    history = _read_history(folder / HISTORY, {rater.id for rater in raters})
    ballots = dataclasses.replace(_with_raters(brought.ballots, raters), history=history)
    kept = read_kept((folder / KEPT).read_text(encoding="utf-8"), KEPT) if (folder / KEPT).is_file() else ()
    return _RoomCopy(dataclasses.replace(brought, ballots=ballots), kept, secret)


def _read_name(folder: Path) -> Room:
    try:
        record = json.loads((folder / ROOM).read_bytes())
    except (OSError, ValueError):
        raise InputError(f"{ROOM} of the copy is missing or broken, so nothing was brought in.") from None
    return parse(Room, record, ROOM)


def _with_raters(ballots: Ballots, raters: tuple[Rater, ...]) -> Ballots:
    """Pseudonyms replaced by the raters they stand for; those without a vote added."""
    real = {judge_of(rater): rater for rater in raters}
    votes = tuple(
        dataclasses.replace(vote, rater_id=real[vote.rater_id].id) if vote.rater_id in real else vote
        for vote in ballots.votes
    )
    everybody = {rater.id: rater for rater in (*(real.get(rater.id, rater) for rater in ballots.raters), *raters)}
    return dataclasses.replace(ballots, votes=votes, raters=tuple(everybody.values()))


def _read_backup(path: Path) -> tuple[tuple[Rater, ...], bytes]:
    try:
        data = json.loads(path.read_bytes())
        secret = bytes.fromhex(data["secret"])
        listed = list(data["raters"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{BACKUP} of the copy is missing or broken, so nothing was brought in.") from None
    return tuple(parse(Rater, item, f"{BACKUP}, rater {number}") for number, item in enumerate(listed, 1)), secret


def _read_history(path: Path, raters: Collection[str]) -> tuple[PastChoice, ...]:
    if not path.is_file():
        return ()
    history = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        where = f"{HISTORY}, line {number}"
        try:
            record = json.loads(line)
        except ValueError:
            raise InputError(f"{where} of the copy is broken, so nothing was brought in.") from None
        past = parse(PastChoice, record, where)
        if past.rater_id not in raters:
            raise InputError(f"{where}: rater_id is {past.rater_id[:40]!r}; {BACKUP} has no such rater.")
        for field in ("seconds", "updated", "replaced"):
            check_number(getattr(past, field), f"{where}: {field}")
        history.append(past)
    return tuple(history)
