"""Evaluations in a DynamoDB table: one item a pair of answers, keyed so that putting them again doubles nothing.

boto3 is an optional extra (``requirements-aws.txt``) and imported inside functions. Credentials and, where not set here, the
region come from the usual AWS places (environment, ``~/.aws``, instance role); an other endpoint from
``AWS_ENDPOINT_URL_DYNAMODB``, as boto3 reads it.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from studio.config import Settings
from studio.domain.evaluations import Evaluation
from studio.errors import ConflictError, InputError, NotAllowedError, NotFoundError, NotInstalledError, StudioError
from studio.services.evaluations.table import records

#: What one request of BatchWriteItem may hold, and the largest item (both are DynamoDB's).
BATCH, MAX_ITEM_BYTES = 25, 400_000
#: Times a batch is sent again when some of its items were not taken; waits double from FIRST_WAIT_S, with jitter.
TRIES, FIRST_WAIT_S, LONGEST_WAIT_S = 8, 0.1, 5.0
#: The table's partition key.
KEY = "conversation_id"
_NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}")

#: Called with (items written, items in all).
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Put:
    """What was put: ``items`` of them stand in ``table`` now; ``again`` is how often items were sent once more."""

    table: str
    region: str
    items: int
    again: int


def items_of(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The items of an evaluation: the columns of its table (``query, response_before, response_after``, ...) and
    ``conversation_id``, a hash of the evaluation's id and the row's place in it: equal rows of two evaluations stay two."""
    more = {"evaluation_title": evaluation.spec.title, "created": evaluation.created}
    return [
        {KEY: _key(record), **{name: _value(value) for name, value in (record | more).items()}}
        for record in records(evaluation)
    ]


def put_evaluation(evaluation: Evaluation, settings: Settings, progress: Progress = lambda done, total: None) -> Put:
    """Put every row of ``evaluation`` into the table of the settings. A second time replaces the same items.

    Raises:
        InputError: no table is set, its name cannot be one, an item is larger than DynamoDB takes, there is no row; nothing was
            written.
        NotInstalledError: boto3 is missing.
        NotFoundError, NotAllowedError, ConflictError: there is no such table, no credentials or no right, another key.
        StudioError: AWS cannot be reached, or did not take all items; the message says how many are there.
    """
    table = settings.dynamodb_table.strip()
    if not table:
        raise InputError("No table is set; start the studio with STUDIO_DYNAMODB_TABLE set to the name of one.")
    if not _NAME.fullmatch(table):
        raise InputError(f"STUDIO_DYNAMODB_TABLE is {table[:80]!r}; a table's name has 3 to 255 of A-Z a-z 0-9 _ . -")
    items = items_of(evaluation)
    if not items:
        raise InputError("This evaluation has no row yet; there is nothing to put.")
    for number, item in enumerate(items, 1):
        size = len(json.dumps(item, default=str, ensure_ascii=False).encode())
        if size > MAX_ITEM_BYTES:
            raise InputError(
                f"Row {number} has {size:,} bytes; an item of DynamoDB holds {MAX_ITEM_BYTES:,}. Nothing was written."
            )
    client = _client(settings)
    written = again = 0
    progress(0, len(items))
    try:
        _check_table(client, table)
        for start in range(0, len(items), BATCH):
            part = items[start : start + BATCH]
            tries, left = _put_batch(client, table, part)
            again += tries
            written += len(part) - left
            progress(written, len(items))
            if left:
                raise _unfinished(written, len(items), "the table takes no more for now (its capacity is used up)")
    except StudioError:
        raise
    except Exception as error:
        raise _sentence(error, table, written, len(items)) from error
    return Put(table, client.meta.region_name, written, again)


def _client(settings: Settings) -> Any:
    try:
        from boto3 import Session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise NotInstalledError("boto3 is not installed; run: pip install -r requirements-aws.txt") from error
    try:
        # a session of its own: the default one would remember credentials for as long as the studio runs
        return Session().client(
            "dynamodb",
            region_name=settings.aws_region or None,
            config=Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 5}),
        )
    except (BotoCoreError, ValueError) as error:
        raise _sentence(error, settings.dynamodb_table, 0, 0) from error


def _check_table(client: Any, table: str) -> None:
    keys = client.describe_table(TableName=table)["Table"]["KeySchema"]
    if [key["AttributeName"] for key in keys] != [KEY]:
        named = ", ".join(key["AttributeName"] for key in keys)
        raise ConflictError(f"The key of table {table} is {named}; it has to be {KEY} (a string) alone.")


def _put_batch(client: Any, table: str, items: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Put up to 25 items; how often some were sent again, and how many were not taken in the end."""
    from boto3.dynamodb.types import TypeSerializer

    serializer = TypeSerializer()
    waiting = [{"PutRequest": {"Item": {k: serializer.serialize(v) for k, v in item.items()}}} for item in items]
    for attempt in range(TRIES):
        if attempt:
            # Full jitter: several studios that were refused together do not come back together.
            time.sleep(random.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt)))
        answer = client.batch_write_item(RequestItems={table: waiting})
        waiting = answer.get("UnprocessedItems", {}).get(table, [])
        if not waiting:
            return attempt, 0
    return TRIES - 1, len(waiting)


def _key(record: Mapping[str, Any]) -> str:
    place = json.dumps([record[name] for name in ("evaluation_id", "adapter", "prompt_id", "sample")])
    return hashlib.sha256(place.encode()).hexdigest()[:32]


def _value(value: Any) -> Any:
    """DynamoDB's numbers are decimal; ``repr`` gives the shortest one that reads back as the same float."""
    return Decimal(repr(value)) if isinstance(value, float) else value


def _unfinished(written: int, total: int, why: str) -> StudioError:
    return StudioError(
        f"{written} of {total} rows are in the table: {why}. Put it again later; rows that are there are not doubled."
    )


def _sentence(error: Exception, table: str, written: int, total: int) -> StudioError:
    """What boto3 raised as one sentence, without its text, which may name keys and requests."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        NoRegionError,
        PartialCredentialsError,
    )

    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return NotAllowedError(
            "There are no AWS credentials on this machine; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use ~/.aws."
        )
    if isinstance(error, NoRegionError):
        return InputError("No AWS region is set; set STUDIO_AWS_REGION or AWS_DEFAULT_REGION.")
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code == "ResourceNotFoundException":
            return NotFoundError(
                f"There is no table {table} in this region; make one with the partition key {KEY} (a string)."
            )
        if code in (
            "AccessDeniedException",
            "UnrecognizedClientException",
            "ExpiredTokenException",
            "InvalidSignatureException",
        ):
            return NotAllowedError(f"AWS refused ({code}): these credentials may not describe and write table {table}.")
        return _unfinished(written, total, f"AWS answered {code}")
    if isinstance(error, BotoCoreError):
        return _unfinished(written, total, "AWS cannot be reached from this machine")
    if isinstance(error, ValueError):
        return InputError("The AWS region or endpoint is none; check STUDIO_AWS_REGION and AWS_ENDPOINT_URL_DYNAMODB.")
    raise error
