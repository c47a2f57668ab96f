"""The rules of rating and the store's secret, as rows of ``settings``."""

from __future__ import annotations

import dataclasses
import secrets

from sqlalchemy import Connection, bindparam, select

from studio.domain.votes import RatingRules
from studio.store.tables import settings
from studio.store.upsert import insert_new, upsert

_RULES, _SECRET = "rules", "secret"
_VALUE = select(settings.c.value).where(settings.c.name == bindparam("name"))


def secret(connection: Connection) -> bytes:
    """What signs everything given to browsers; made by the first server that asks, the same for all that follow."""
    insert_new(connection, settings, [{"name": _SECRET, "value": secrets.token_hex(32)}])
    found: str = connection.execute(_VALUE, {"name": _SECRET}).scalar_one()
    return bytes.fromhex(found)


def replace_secret(connection: Connection, secret: bytes) -> None:
    """Take over the secret of a store that this one continues, so that browsers are known again."""
    upsert(connection, settings, {"name": _SECRET, "value": secret.hex()}, keys=("name",), changes=("value",))


def load_rules(connection: Connection) -> RatingRules | None:
    """The rules the operator set; None while they never did."""
    found = connection.execute(_VALUE, {"name": _RULES}).scalar_one_or_none()
    return None if found is None else RatingRules(**found)


def save_rules(connection: Connection, rules: RatingRules) -> None:
    """Keep the rules the operator set."""
    upsert(
        connection, settings, {"name": _RULES, "value": dataclasses.asdict(rules)}, keys=("name",), changes=("value",)
    )
