"""Results of votes that the operator keeps: as they were at that moment, whatever is voted later. Kept is published: whoever has the
link reads it. Raters' names stay out."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from studio.domain.votes import KeptHead
from studio.errors import ConflictError, InputError, NotFoundError
from studio.services.files.records import parse
from studio.services.rating.service import RatingService
from studio.services.texts import check_text
from studio.services.votes.filters import VoteFilters
from studio.services.votes.result import VoteResult, result_of
from studio.store import kept_votes as store

MAX_TITLE = 200
_ID = re.compile("v[0-9a-f]{16}")


@dataclass(frozen=True)
class KeptVotes:
    """A result with its id, its title, when it was kept, in Unix seconds, and the code of its room."""

    id: str
    title: str
    created: float
    room: str
    result: VoteResult


def keep_votes(rating: RatingService, filters: VoteFilters | None = None) -> str:
    """Keep what the votes say now under ``filters``; returns the id.

    Raises:
        ConflictError: there is no vote.
    """
    result = result_of(rating.ballots(), filters)
    report = result.report
    if not report.votes:
        raise ConflictError("No vote counts yet; there is no result to keep.")
    met = next((match for match in report.matches if match.votes), None)
    title = f"{met.a.label} against {met.b.label}" if met else "Votes"
    nameless = tuple(replace(rater, id=f"r{number}", name="") for number, rater in enumerate(report.raters, 1))
    # a plain dict: dataclasses.asdict would count a Counter's items anew; who was left out by hand is nobody's business either
    report = replace(
        report, raters=nameless, reasons=dict(report.reasons), filters=replace(report.filters, without_raters=())
    )
    kept_id = f"v{secrets.token_hex(8)}"
    body = json.dumps(asdict(replace(result, report=report)), ensure_ascii=False)
    with rating.store().write() as connection:
        store.add(connection, KeptHead(kept_id, title[:MAX_TITLE], time.time(), report.votes, rating.room), body)
    return kept_id


def kept_heads(rating: RatingService) -> tuple[KeptHead, ...]:
    """What is kept of the room of ``rating``, newest first."""
    with rating.store().read() as connection:
        return store.heads(connection, rating.room)


def kept_votes(rating: RatingService, kept_id: str) -> KeptVotes:
    """The kept result of that id.

    Raises:
        NotFoundError: there is none.
    """
    row = None
    if _ID.fullmatch(kept_id):
        with rating.store().read() as connection:
            row = store.find(connection, kept_id)
    if row is None:
        raise _unknown(kept_id)
    head, body = row
    return KeptVotes(
        head.id, head.title, head.created, head.room, parse(VoteResult, json.loads(body), f"result {kept_id}")
    )


def kept_lines(rating: RatingService) -> str:
    """All that is kept of the room of ``rating`` as JSON lines, in ASCII, for :func:`read_kept`."""
    with rating.store().read() as connection:
        kept = store.whole(connection, rating.room)
    return "".join(json.dumps({**asdict(head), "body": body}) + "\n" for head, body in kept)


def read_kept(text: str, where: str) -> tuple[tuple[KeptHead, str], ...]:
    """What :func:`kept_lines` wrote: heads, and what each holds as JSON.

    Raises:
        InputError: a line is no kept result; names ``where`` and the line.
    """
    kept = []
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{where}, line {number}"
        try:
            record = json.loads(line)
            body = record.pop("body")
            parse(VoteResult, json.loads(body), place)
        except (ValueError, TypeError, AttributeError, KeyError):
            raise InputError(f"{place}: this is no kept result of votes.") from None
        head = parse(KeptHead, record, place)
        if not _ID.fullmatch(head.id):
            raise InputError(f"{place}: id is {head.id[:40]!r}, which is none of a kept result.")
        kept.append((head, body))
    return tuple(kept)


def restore_kept(rating: RatingService, kept: Iterable[tuple[KeptHead, str]]) -> None:
    """Keep in the room of ``rating`` what is not kept there yet."""
    with rating.store().write() as connection:
        for head, body in kept:
            if store.find(connection, head.id) is None:
                store.add(connection, replace(head, room=rating.room), body)


def rename_kept(rating: RatingService, kept_id: str, title: str) -> None:
    """Give it another title.

    Raises:
        InputError: the title is empty, too long or no text; NotFoundError: there is no such result.
    """
    checked = check_text("Title", title.strip(), limit=MAX_TITLE)
    with rating.store().write() as connection:
        if not store.rename(connection, kept_id, checked):
            raise _unknown(kept_id)


def delete_kept(rating: RatingService, kept_id: str) -> None:
    """Forget it; the votes stay. Nothing happens where it is gone."""
    with rating.store().write() as connection:
        store.remove(connection, kept_id)


def _unknown(kept_id: str) -> NotFoundError:
    return NotFoundError(f"There is no kept result {kept_id[:40]!r}; it may have been deleted.")
