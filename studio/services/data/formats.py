"""Files into raw rows: JSON, JSONL, CSV, TSV and Parquet, gzipped or not. What the rows mean is ``preference_rows``' business.

Everything is read whole before anything is kept, and every limit counts unpacked bytes: a gzip bomb stops at the limit.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import DatasetError, NotFoundError

ACCEPTED = "JSON, JSONL, CSV, TSV or Parquet (.json, .jsonl, .ndjson, .csv, .tsv, .parquet), the text ones also as .gz"
_TEXT_FORMATS = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv"}
_GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"
_BATCH_ROWS = 1000


@dataclass(frozen=True)
class RawRow:
    """One row as the file has it: ``where`` names it for a person (``row 3 (line 4)``), ``value`` is what it holds."""

    where: str
    value: Any


class TwiceNamed(dict[str, Any]):
    """A JSON object in which the key ``twice`` occurs more than once, so that one of its values would be lost."""

    twice: str = ""


def read_document(path: Path, max_bytes: int) -> list[RawRow] | dict[str, Any]:
    """The rows of a file, or the object a JSON file holds at its top (our own format keeps its rows in one).

    Raises:
        NotFoundError: there is no such file.
        DatasetError: not one of the formats, over ``max_bytes`` (packed or unpacked), not UTF-8, or broken; the message
            names the file and the line or row.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise DatasetError(f"{path.name} is not a file; give {ACCEPTED}.")
        if size > max_bytes:
            raise _too_large(path.name, max_bytes)
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"There is no file {path}.") from None
    except OSError as error:
        raise DatasetError(f"{path.name} could not be read: {error.strerror}.") from None
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".parquet"] or data.startswith(_PARQUET_MAGIC):
        return _parquet(path.name, data, max_bytes)
    if data.startswith(_GZIP_MAGIC):
        data = _unzip(path.name, data, max_bytes)
        suffixes = suffixes[:-1] if suffixes[-1:] == [".gz"] else suffixes
    kind = _TEXT_FORMATS.get(suffixes[-1]) if suffixes else None
    if kind is None:
        raise DatasetError(f"{path.name} is of no known format; give {ACCEPTED}.")
    text = _decode(path.name, data)
    if not text.strip():
        raise DatasetError(f"{path.name} is empty.")
    if kind == "json":
        return _json(path.name, text)
    if kind == "jsonl":
        return _jsonl(path.name, text)
    return _csv(path.name, text, "\t" if kind == "tsv" else None)


@dataclass(frozen=True)
class PromptFile:
    """Test prompts from a file, in its order.

    Attributes:
        ids: the file's own, one for each prompt; empty where not every row has one.
    """

    prompts: tuple[str, ...]
    ids: tuple[str, ...]
    warnings: tuple[str, ...]


def read_prompts(path: Path, max_bytes: int) -> PromptFile:
    """Test prompts: rows with a ``prompt`` field (and an ``id``), plain strings in JSON, or a ``.txt`` with one prompt a
    line.

    Raises:
        NotFoundError: there is no such file.
        DatasetError: as :func:`read_document`; or a prompt is missing, empty or not text, or an id is neither text nor a
            whole number, naming the row.
    """
    if path.suffix.lower() == ".txt":
        if path.is_file() and path.stat().st_size > max_bytes:
            raise _too_large(path.name, max_bytes)
        if not path.is_file():
            raise NotFoundError(f"There is no file {path}.")
        lines = _decode(path.name, path.read_bytes()).splitlines()
        rows: list[RawRow] = [RawRow(f"line {n}", line) for n, line in enumerate(lines, 1) if line.strip()]
    else:
        document = read_document(path, max_bytes)
        if isinstance(document, dict):
            raise DatasetError(
                f"{path.name} holds one object; test prompts are a list of prompts or of rows with a prompt."
            )
        rows = document
    if not rows:
        raise DatasetError(f"{path.name} holds no prompts.")
    prompts, ids, ignored = [], [], set()
    for row in rows:
        value = row.value
        if isinstance(value, dict):
            if "prompt" not in value:
                raise DatasetError(f"{path.name}, {row.where}: prompt is missing.")
            ignored |= set(value) - {"id", "prompt"}
            given = read_id(value.get("id"), f"{path.name}, {row.where}: id")
            ids += [given] if given else []
            value = value["prompt"]
        prompts.append(checked_text(value, f"{path.name}, {row.where}: prompt"))
    warnings = [f"{path.name}: only prompts are read, not used: {', '.join(sorted(ignored))}."] if ignored else []
    if ids and len(ids) < len(prompts):
        warnings.append(f"{path.name}: {len(ids)} of {len(prompts)} prompts have an id, so all are numbered.")
        ids = []
    return PromptFile(tuple(prompts), tuple(ids), tuple(warnings))


def read_id(value: Any, where: str) -> str:
    """An id as text; empty where there is none.

    Raises:
        DatasetError: it is neither text nor a whole number.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a table with gaps counts in floats
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise DatasetError(f"{where} is {kind_of(value)}; it must be text or a whole number.")
    text = "" if value is None else str(value).strip()
    return checked_text(text, where) if text else ""


def checked_object(row: RawRow) -> dict[str, Any]:
    """The row's named fields.

    Raises:
        DatasetError: it is no object, or names a field twice.
    """
    if not isinstance(row.value, dict):
        raise DatasetError(f"{row.where} is {kind_of(row.value)}; it must be an object with named fields.")
    if isinstance(row.value, TwiceNamed):
        raise DatasetError(f"{row.where}: {row.value.twice} is given twice.")
    return row.value


def checked_text(value: Any, where: str) -> str:
    """``value`` as text without surrounding white space.

    Raises:
        DatasetError: not text, empty, or half a surrogate pair (which no file can hold as UTF-8).
    """
    if not isinstance(value, str):
        raise DatasetError(f"{where} is {kind_of(value)}; it must be text.")
    text = value.strip()
    if not text:
        raise DatasetError(f"{where} is empty.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DatasetError(
            f"{where} has half a character (\\u{ord(text[error.start]):04x}) at {error.start}."
        ) from None
    return text


def kind_of(value: Any) -> str:
    """What a value is, in words a person reads in a message."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "missing (null)"
    if isinstance(value, bool):
        return f"true/false ({value})"
    if isinstance(value, int | float):
        return f"a number ({value})"
    if isinstance(value, list | tuple):
        return "a list"
    return "an object" if isinstance(value, dict) else f"of type {type(value).__name__}"


def _too_large(name: str, max_bytes: int) -> DatasetError:
    return DatasetError(
        f"{name} is over the limit of {max_bytes / 1_000_000:g} MB; split it, or raise STUDIO_MAX_UPLOAD_MB."
    )


def _unzip(name: str, data: bytes, max_bytes: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            unpacked = file.read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{name} is not a sound gzip file: {error}.") from None
    if len(unpacked) > max_bytes:
        raise _too_large(f"{name}, unpacked,", max_bytes)
    return unpacked


def _decode(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"{name} is not UTF-8 (byte 0x{data[error.start]:02x} in line {line}); save it as UTF-8 and import it again."
        ) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    marked = TwiceNamed(made)
    names = [name for name, _ in pairs]
    marked.twice = next(name for name in names if names.count(name) > 1)
    return marked


def _json(name: str, text: str) -> list[RawRow] | dict[str, Any]:
    try:
        document = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text[: error.pos].count("\n") <= 1:
            # JSON Lines under the name .json, as many tools write it
            return _jsonl(name, text)
        raise DatasetError(f"{name} is not JSON: {error.msg} (line {error.lineno}, column {error.colno}).") from None
    except (RecursionError, ValueError) as error:
        raise DatasetError(f"{name} is not usable JSON: {error}.") from None
    if isinstance(document, dict):
        if isinstance(document.get("data"), list) and "pairs" not in document:
            document = document["data"]
        elif "pairs" not in document and ("prompt" in document or "chosen" in document):
            document = [document]
        else:
            return document
    if not isinstance(document, list):
        raise DatasetError(f"{name} holds {kind_of(document)}; it must be a list of rows.")
    return [RawRow(f"row {n}", value) for n, value in enumerate(document, 1)]


def _jsonl(name: str, text: str) -> list[RawRow]:
    rows: list[RawRow] = []
    # not splitlines(): it also cuts at U+2028 and the like, which may stand inside a JSON string
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"row {len(rows) + 1} (line {number})"
        try:
            rows.append(RawRow(where, json.loads(line, object_pairs_hook=_object)))
        except json.JSONDecodeError as error:
            raise DatasetError(f"{name}, {where} is not JSON: {error.msg} (column {error.colno}).") from None
        except (RecursionError, ValueError) as error:
            raise DatasetError(f"{name}, {where} is not usable JSON: {error}.") from None
    return rows


def _csv(name: str, text: str, delimiter: str | None) -> list[RawRow]:
    if delimiter is None:
        header = text.split("\n", 1)[0]
        delimiter = max(",;\t", key=header.count)
    # The library's own limit (128 KB a field) is far below ours, which the whole text has passed already.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[RawRow] = []
    names: list[str] = []
    start = 1
    try:
        for cells in reader:
            line, start = start, reader.line_num + 1
            if not any(cells):
                continue
            if not names:
                names = [cell.strip() for cell in cells]
                twice = [column for column in names if names.count(column) > 1]
                if twice:
                    raise DatasetError(f"{name}: the column {twice[0]!r} occurs twice in line {line}.")
                continue
            where = f"row {len(rows) + 1} (line {line})"
            if len(cells) != len(names):
                raise DatasetError(f"{name}, {where} has {len(cells)} columns; the header has {len(names)}.")
            rows.append(RawRow(where, dict(zip(names, map(_cell, cells), strict=True))))
    except csv.Error as error:
        raise DatasetError(f"{name}, after line {start - 1}: {error}.") from None
    return rows


def _cell(text: str) -> Any:
    """A cell as text; a conversation, which a CSV can only hold as JSON, as the list it is."""
    if text.lstrip().startswith("[{"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _parquet(name: str, data: bytes, max_bytes: int) -> list[RawRow]:
    import pyarrow
    import pyarrow.parquet

    values: list[Any] = []
    size = 0
    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            size += batch.nbytes
            if size > max_bytes:
                raise _too_large(f"{name}, unpacked,", max_bytes)
            values += batch.to_pylist()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{name} holds text that is not UTF-8 (after row {len(values)}): {error.reason}.") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise DatasetError(f"{name} is not a sound Parquet file: {str(error).splitlines()[0]}") from None
    return [RawRow(f"row {n}", value) for n, value in enumerate(values, 1)]
