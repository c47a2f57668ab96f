"""The rules of rating, each room's own, and the store's secret. Those of the first room are a row of ``settings``."""

from __future__ import annotations

import dataclasses
import secrets

from sqlalchemy import Connection, bindparam, select, update

from studio.domain.votes import RatingRules
from studio.store.tables import rooms, settings
from studio.store.upsert import insert_new, upsert

_RULES, _SECRET = "rules", "secret"
_VALUE = select(settings.c.value).where(settings.c.name == bindparam("name"))
_OF_ROOM = select(rooms.c.rules).where(rooms.c.code == bindparam("code"))


def secret(connection: Connection) -> bytes:
    """What signs everything given to browsers; made by the first server that asks, the same for all that follow."""
    insert_new(connection, settings, [{"name": _SECRET, "value": secrets.token_hex(32)}])
    text: str = connection.execute(_VALUE, {"name": _SECRET}).scalar_one()
    return bytes.fromhex(text)


def replace_secret(connection: Connection, secret: bytes) -> None:
    """Take over the secret of a store that this one continues, so that browsers are known again."""
    upsert(connection, settings, {"name": _SECRET, "value": secret.hex()}, keys=("name",), changes=("value",))


def load_rules(connection: Connection, room: str) -> RatingRules | None:
    """The rules the operator set; None while they never did, or where there is no such room."""
    if room:
        stored = connection.execute(_OF_ROOM, {"code": room}).scalar_one_or_none()
    else:
        stored = connection.execute(_VALUE, {"name": _RULES}).scalar_one_or_none()
    return None if stored is None else RatingRules(**stored)


def rules_of_rooms(connection: Connection) -> tuple[RatingRules, ...]:
    """The rules of all rooms that have some, the first room's last."""
    stored = [RatingRules(**row) for row in connection.execute(select(rooms.c.rules).order_by(rooms.c.code)).scalars()]
    first = load_rules(connection, "")
    return tuple(stored) if first is None else (*stored, first)


def save_rules(connection: Connection, room: str, rules: RatingRules) -> None:
    """Keep the rules the operator set."""
    kept = dataclasses.asdict(rules)
    if room:
        connection.execute(update(rooms).where(rooms.c.code == room).values(rules=kept))
        return
    upsert(connection, settings, {"name": _RULES, "value": kept}, keys=("name",), changes=("value",))
