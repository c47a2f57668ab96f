"""Settings from ``STUDIO_*`` environment variables, read once at start and checked at once."""

from __future__ import annotations

import ipaddress
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from studio.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
CORPUS_DIR = ROOT / "data" / "corpus"
#: The device of a Hugging Face Space whose GPU is lent for the length of a call.
ZEROGPU = "zerogpu"


@dataclass(frozen=True)
class Settings:
    """Where things lie and what is allowed. The table in docs/settings.md lists every field.

    Attributes:
        host: address to bind; localhost unless told otherwise.
        port: TCP port; 0 lets Gradio choose a free one from 7860 on.
        share: open a public Gradio tunnel.
        data_root: one folder for all that changes (adapters, imported data, models, cache, database), such as a mounted volume;
            what has a variable of its own goes there instead.
        adapters_dir: folder of run folders.
        data_dir: folder of shipped datasets and the embedded base.
        imported_dir: folder of datasets imported by users.
        models_dir: each model folder and GGUF file in it is listed as a base; fetched bases lie there.
        base: what forms begin with once it is on this machine; a server fetches it in the background. ``embedded``: nothing
            is fetched.
        cache_dir: reference log-probabilities and other things that can be recomputed.
        database_url: where pairs and votes are kept, as an SQLAlchemy URL; empty means SQLite in ``data_dir``/studio.db.
        votes_repo: private dataset on the Hub that keeps a copy of the votes; empty: none. Needs ``HF_TOKEN``.
        votes_push_s: seconds between two looks for new votes to copy.
        dynamodb_table: DynamoDB table that evaluations can be put into; empty: none. Credentials come from the usual AWS places.
        aws_region: its region; empty: that of the usual AWS places.
        admin_password: when set, training, deleting, importing and pushing ask for it; visitors may chat and look.
        operator_hours: hours after which a browser has to give the password again.
        allowed_hosts: names that this server is reached by beside its own, separated by commas; ``*.example.org`` takes all
            names below one, ``*`` all. Pages of these names may send requests.
        trusted_proxies: addresses of proxies, separated by commas, whose ``X-Forwarded-For`` is believed.
        visitors_read_runs: whether visitors may read a run's log and its training data: ``yes``, ``no``, or ``auto``, which
            is no where others can reach the page.
        trust_remote_code: let models from the hub run their own code (the operator's decision, never a visitor's).
        max_upload_mb: size limit of an uploaded dataset or adapter, packed and unpacked (MB).
        max_rows: rows of one imported file or dataset of the Hub.
        states_mb: hidden states that a training of the upper layers holds in memory (MB); more are read from their files.
        steps_kept: snapshots of a run's adapter kept on its way, to chat with (0: none); ``steps_mb``: MB they take at most.
        train_threads: CPU threads of a training process; 0 means all cores, and half of them while somebody chats.
        chat_threads: CPU threads of the chat engine; 0 means the cores training leaves, at least one.
        chat_url: an OpenAI-compatible server (vLLM) that answers instead of the chat engine, such as ``http://127.0.0.1:8000/v1``.
        chat_key: its key; never shown.
        ray_address: a Ray cluster (host:port) that carries the runs out, many at once; this machine is a node of it.
        ray_cpus: processor cores that each run asks it for; ``ray_gpus``: GPUs, a part of one too; ``ray_memory_mb``: memory (MB; 0: not asked
            for).
        ray_node_dir: folder on each node for fetched bases and caches; may be one that the nodes share.
        kill_after_s: seconds after a stop request before the training process is killed.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``; ``auto`` is ``zerogpu`` on a Space with ZeroGPU.
    """

    host: str = "127.0.0.1"
    port: int = 0
    share: bool = False
    data_root: str = ""
    adapters_dir: Path = ROOT / "adapters"
    data_dir: Path = ROOT / "data"
    imported_dir: Path = ROOT / "data" / "imported"
    models_dir: Path = ROOT / "data" / "models"
    base: str = "smollm2-135m"
    cache_dir: Path = ROOT / "data" / "cache"
    database_url: str = ""
    votes_repo: str = ""
    votes_push_s: float = 60.0
    dynamodb_table: str = ""
    aws_region: str = ""
    admin_password: str = ""
    operator_hours: float = 12.0
    allowed_hosts: str = ""
    trusted_proxies: str = ""
    visitors_read_runs: str = "auto"
    trust_remote_code: bool = False
    max_upload_mb: int = 200
    max_rows: int = 2_000_000
    states_mb: int = 512
    steps_kept: int = 12
    steps_mb: int = 200
    train_threads: int = 0
    chat_threads: int = 0
    chat_url: str = ""
    chat_key: str = field(default="", repr=False)
    ray_address: str = ""
    ray_cpus: int = 1
    ray_gpus: float = 0.0
    ray_memory_mb: int = 0
    ray_node_dir: str = "~/.cache/alignment-studio"
    kill_after_s: float = 30.0
    device: str = "auto"

    @property
    def store_url(self) -> str:
        """The address of the database: what was set, else SQLite in ``data_dir``."""
        return self.database_url or f"sqlite:///{self.data_dir / 'studio.db'}"

    @property
    def exposed(self) -> bool:
        """Whether others than this machine can reach the page."""
        return self.share or self.host not in ("127.0.0.1", "localhost", "::1")

    @property
    def runs_readable(self) -> bool:
        """Whether visitors may read a run's log and its training data."""
        if self.visitors_read_runs == "auto":
            return not (self.exposed or self.admin_password)
        return self.visitors_read_runs == "yes"


def load_settings(environ: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Settings from ``STUDIO_<FIELD>`` variables, then ``overrides`` (None means not given).

    Raises:
        InputError: a variable does not parse; the message names it, its value and what is accepted.
    """
    env = os.environ if environ is None else environ
    # A Hugging Face Space says where to listen in Gradio's own variables; ours win.
    values: dict[str, object] = {}
    if env.get("GRADIO_SERVER_NAME"):
        values["host"] = env["GRADIO_SERVER_NAME"]
    if env.get("GRADIO_SERVER_PORT"):
        values["port"] = _parse("GRADIO_SERVER_PORT", env["GRADIO_SERVER_PORT"], int)
    for f in fields(Settings):
        raw = env.get(f"STUDIO_{f.name.upper()}")
        if raw:  # an empty one counts as not set
            values[f.name] = _parse(f"STUDIO_{f.name.upper()}", raw, type(f.default))
    values.update({key: value for key, value in overrides.items() if value is not None})
    lends = env.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
    if lends and values.get("device", "auto") == "auto":
        values["device"] = ZEROGPU
    if values.get("data_root"):
        root = Path(str(values["data_root"])).expanduser().resolve()
        values = {**_below(root), **values, "data_root": str(root)}
    settings = Settings(**values)  # type: ignore[arg-type]
    if not 0 <= settings.port <= 65535:
        raise InputError(f"port is {settings.port}; it must be between 0 and 65535.")
    if settings.device not in ("auto", "cpu", "cuda", "mps", *([ZEROGPU] if lends else [])):
        raise InputError(f"device is {settings.device!r}; use auto, cpu, cuda or mps.")
    if settings.visitors_read_runs not in ("auto", "yes", "no"):
        raise InputError(f"visitors_read_runs is {settings.visitors_read_runs!r}; use auto, yes or no.")
    for proxy in filter(None, (part.strip() for part in settings.trusted_proxies.split(","))):
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            raise InputError(
                f"trusted_proxies names {proxy!r}; it must be an address such as 10.0.0.1 or 10.0.0.0/8."
            ) from None
    _check_chat_server(settings)
    _check_ray(settings)
    if settings.votes_push_s < 1:
        raise InputError(f"votes_push_s is {settings.votes_push_s:g}; it must be at least 1 second.")
    for name in (
        "max_upload_mb",
        "max_rows",
        "states_mb",
        "steps_kept",
        "steps_mb",
        "train_threads",
        "chat_threads",
        "ray_gpus",
        "ray_memory_mb",
        "kill_after_s",
        "operator_hours",
    ):
        if getattr(settings, name) < 0:
            raise InputError(f"{name} is {getattr(settings, name)}; it must not be negative.")
    return settings


def _check_chat_server(settings: Settings) -> None:
    try:
        url = urlsplit(settings.chat_url)
        secret, usable = "@" in url.netloc, url.scheme in ("http", "https") and url.hostname and (url.port or 1)
    except ValueError:
        secret, usable = "@" in settings.chat_url, False
    if secret:  # what is not shown cannot be found in a log
        raise InputError("STUDIO_CHAT_URL has a name or password in it; give the server's key as STUDIO_CHAT_KEY.")
    if settings.chat_url and (not usable or url.query or url.fragment):
        raise InputError(
            f"STUDIO_CHAT_URL is {settings.chat_url!r}; it must be an address such as http://127.0.0.1:8000/v1."
        )
    if not (settings.chat_key.isascii() and settings.chat_key.isprintable()):
        raise InputError(
            "STUDIO_CHAT_KEY has characters that no request can carry; use plain letters, digits and signs."
        )


def _check_ray(settings: Settings) -> None:
    host, colon, port = settings.ray_address.rpartition(":")
    if settings.ray_address and not (colon and host.strip("[]") and "/" not in host and port.isdecimal()):
        raise InputError(
            f"STUDIO_RAY_ADDRESS is {settings.ray_address!r}; it must be the address of the head node, such as 10.0.0.1:6379."
        )
    if settings.ray_cpus < 1:
        raise InputError(f"STUDIO_RAY_CPUS is {settings.ray_cpus}; a run needs at least 1.")


def _below(root: Path) -> dict[str, object]:
    """Where everything that changes lies below ``root``."""
    folders = {f"{name}_dir": root / name for name in ("adapters", "imported", "models", "cache")}
    return {**folders, "database_url": f"sqlite:///{root / 'studio.db'}"}


def _parse(name: str, raw: str, kind: type[Any]) -> Any:
    if kind is bool:
        lowered = raw.strip().lower()
        if lowered in ("1", "true", "yes", "on"):
            return True
        if lowered in ("0", "false", "no", "off"):
            return False
        raise InputError(f"{name} is {raw!r}; use true or false.")
    if issubclass(kind, Path):
        return Path(raw).expanduser().resolve()
    try:
        value = kind(raw)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError
        return value
    except ValueError:
        raise InputError(f"{name} is {raw!r}; it must be {'a whole number' if kind is int else 'a number'}.") from None
