"""Rooms: several votes side by side on one studio, each with its own pairs, raters, rules, results and export.

A pair and a rater belong to one room: the same two answers in another room are another pair, the same person another rater. So
whatever is counted by pair or by rater is counted within a room, and nobody has to leave the others out.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Hashable
from dataclasses import replace

from studio.domain.votes import Ballots, Room
from studio.errors import ConflictError, InputError
from studio.i18n import Named
from studio.services.rating.rules import in_force, unknown_room
from studio.services.rating.service import RatingService
from studio.services.texts import check_text
from studio.store import rooms as room_rows
from studio.store import rules as rule_rows

#: The room that is always there.
FIRST = Room("", "Main room")
#: Rooms at most, and characters of a name.
MAX_ROOMS, MAX_NAME = 200, 60
#: Neither I and 1 nor O and 0: codes are read from a wall and typed.
_ALPHABET, _LENGTH = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 4
_CODE = re.compile(f"[{_ALPHABET}]{{{_LENGTH}}}")


class RoomService:
    """The rooms of the store of ``first``, the service of the first room. Every method may be called from any thread, and raises
    StudioError where the store cannot be used."""

    def __init__(self, first: RatingService) -> None:
        self._first = first
        self._lock = threading.Lock()
        self._services = {FIRST.code: first}

    def list(self) -> tuple[Room, ...]:
        """All of them: the first, then the oldest first."""
        with self._first.store().read() as connection:
            return (FIRST, *room_rows.all_rooms(connection))

    def stamp(self) -> Hashable:
        """Equal while no room, vote or rule changes."""
        with self._first.store().read() as connection:
            now = time.time()
            rules = tuple(in_force(one, now) for one in rule_rows.rules_of_rooms(connection))
            return room_rows.standings(connection), rules

    def find(self, code: str) -> Room:
        """The room of a code, however it was typed.

        Raises:
            NotFoundError: there is none.
        """
        wanted = checked_code(code)
        if not wanted:
            return FIRST
        with self._first.store().read() as connection:
            room = room_rows.find_room(connection, wanted)
        if room is None:
            raise unknown_room(code)
        return room

    def rating(self, code: str) -> RatingService:
        """What serves and counts the vote of a room; its methods raise NotFoundError where the room is not there.

        Raises:
            NotFoundError: no room has such a code.
        """
        wanted = checked_code(code)
        with self._lock:
            if wanted not in self._services:
                if len(self._services) > 2 * MAX_ROOMS:  # codes somebody guesses, or of rooms long gone
                    self._services = {FIRST.code: self._first}
                self._services[wanted] = self._first.in_room(wanted)
            return self._services[wanted]

    def make(self, name: str) -> Room:
        """A new, empty room with the rules of the first, open.

        Raises:
            InputError: the name is empty, too long or no text, or another room has it.
            ConflictError: there are :data:`MAX_ROOMS`.
        """
        rules = replace(self._first.rules(), open=True, closes=0.0)
        with self._first.store().write() as connection:
            known = room_rows.all_rooms(connection)
            title = _checked_name(name, known)
            if len(known) >= MAX_ROOMS:
                raise ConflictError(f"There are {MAX_ROOMS} rooms, which is the most there can be; delete one first.")
            taken = {room.code for room in known}
            while (code := "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))) in taken:
                pass
            room = Room(code, title, time.time())
            room_rows.add_room(connection, room, rules)
        return room

    def rename(self, code: str, name: str) -> None:
        """Give a room another name; its code stays.

        Raises:
            InputError: as :meth:`make`, or it is the first room. NotFoundError: there is none of that code.
        """
        wanted = self._not_first(code)
        with self._first.store().write() as connection:
            others = [room for room in room_rows.all_rooms(connection) if room.code != wanted]
            if not room_rows.rename_room(connection, wanted, _checked_name(name, others)):
                raise unknown_room(code)

    def delete(self, code: str) -> None:
        """Delete a room with its pairs, votes and kept results.

        Raises:
            InputError: it is the first room. NotFoundError: there is none of that code.
        """
        wanted = self._not_first(code)
        with self._first.store().write() as connection:
            if not room_rows.remove_room(connection, wanted):
                raise unknown_room(code)
        self._first.changed()

    def ballots(self, code: str | None = None) -> tuple[Ballots, ...]:
        """The votes of a room (None: of each), to be counted by its own rules.

        Raises:
            NotFoundError: it is not there.
        """
        wanted = [room.code for room in self.list()] if code is None else [code]
        return tuple(self.rating(one).ballots() for one in wanted)

    @staticmethod
    def _not_first(code: str) -> str:
        wanted = checked_code(code)
        if not wanted:
            raise InputError("The main room is always there and keeps its name; choose another room.")
        return wanted


def room_title(room: Room) -> str:
    """A room as a menu lists it."""
    return Named(f"{room.name} ({room.code})") if room.code else room.name


def checked_code(code: str) -> str:
    """A code as it is kept, however it was typed; empty for the first room.

    Raises:
        NotFoundError: no room can have it.
    """
    wanted = code.strip().upper()
    if wanted and not _CODE.fullmatch(wanted):
        raise unknown_room(code)
    return wanted


def _checked_name(name: str, others: tuple[Room, ...] | list[Room]) -> str:
    title = check_text("Name of the room", " ".join(name.split()), limit=MAX_NAME)
    if title.casefold() in {room.name.casefold() for room in (FIRST, *others)}:
        raise InputError(f"Name of the room is {title!r}, which another room has; choose another name.")
    return title
