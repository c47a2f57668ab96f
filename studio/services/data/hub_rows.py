"""Rows of a dataset on the Hugging Face Hub, streamed."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from studio.errors import DatasetError, NotFoundError
from studio.services.files.decoding.rows import HEAD, MAX_ROWS, Limits, Meter, RawRow
from studio.services.hub import hub_client, is_hub_id

log = logging.getLogger(__name__)

_WORD = re.compile(r"[\w.-]+")
_TIMEOUT_S = 15.0
#: Of computing, for all rows; what unpacks them is the library's.
_SECONDS = 600.0


def hub_limits(max_bytes: int, max_rows: int = MAX_ROWS) -> Limits:
    """Bounds on the rows of one dataset, which are read one by one."""
    return Limits(max_bytes, max_rows, _SECONDS, way_out="give a limit of rows")


def hub_rows(dataset_id: str, split: str, limit: int | None, config: str | None, limits: Limits) -> Iterator[RawRow]:
    """The first ``limit`` rows (None: all) of a split, each fetched when it is asked for.

    Raises:
        NotFoundError: there is no such dataset, split or configuration, or it needs an account.
        DatasetError: an argument is not usable, the Hub cannot be reached, the dataset cannot be loaded without running
            its code, or its rows are beyond ``limits``.
    """
    # never a local path or the name of a file loader, both of which load_dataset would take
    if not is_hub_id(dataset_id) or Path(dataset_id).exists():
        raise DatasetError(f"{dataset_id!r} is not a dataset id of the Hub; it reads owner/name.")
    for field, value in (("split", split), ("config", config)):
        if value is not None and not _WORD.fullmatch(value):
            raise DatasetError(f"{field} is {value!r}; it must be a plain name such as train.")
    if limit is not None and limit < 1:
        raise DatasetError(f"limit is {limit}; it must be at least 1.")
    return _stream(dataset_id, split, limit, config, Meter(dataset_id, limits))


def _stream(dataset_id: str, split: str, limit: int | None, config: str | None, meter: Meter) -> Iterator[RawRow]:
    import datasets
    from datasets.exceptions import DatasetsError
    from httpx2 import HTTPError  # the client of huggingface_hub, whose errors come through bare
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        # Asked first because the loader tries for half a minute before it admits that there is no network.
        hub_client().dataset_info(dataset_id, timeout=_TIMEOUT_S)
        stream = datasets.load_dataset(dataset_id, name=config, split=split, streaming=True)
        if limit is None or limit > HEAD:
            stream = stream.reshard()  # Parquet by row group: of whole files the library unpacks up to a gigabyte ahead
        for number, value in enumerate(islice(stream, limit), 1):
            meter.check_rows(number)
            meter.add(value, f"row {number}")
            yield RawRow(f"row {number}", value)
    except (RepositoryNotFoundError, FileNotFoundError) as error:
        log.info("hub import failed", exc_info=error)
        raise NotFoundError(
            f"The Hub has no dataset {dataset_id} with data files, or it needs an account with access to it."
        ) from None
    except (OSError, HTTPError) as error:
        log.info("hub import failed", exc_info=error)
        raise DatasetError(
            f"{dataset_id} could not be fetched: the Hub is not reachable from here ({type(error).__name__}). "
            "Download it elsewhere and import the file (Parquet, JSON, JSONL or CSV)."
        ) from None
    except ValueError as error:
        # an unknown split or configuration; the library's first line lists those there are
        raise NotFoundError(f"{dataset_id}: {_first_line(error)}") from None
    except (DatasetsError, RuntimeError) as error:
        raise DatasetError(f"{dataset_id} could not be loaded: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
