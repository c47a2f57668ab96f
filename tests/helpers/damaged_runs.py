"""Two hundred kinds of damage to a run folder, the same for the same seed."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FILES = (
    "run.json",
    "status.json",
    "notes.json",
    "events.jsonl",
    "samples.jsonl",
    "adapter_model.safetensors",
    "adapter_config.json",
    "stop.json",
    "dataset.json",
    "log.txt",
    "job.json",
)
_STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 10**400, 10**30, 1e308, float("nan"), float("inf"), "", "x" * 100_000, "\ud800", "\0", [], {}, [[]],
    "<script>alert(1)</script>", "../../evil", {"a": {"b": []}}, -1e300,
)  # fmt: skip

Damage = Callable[[Path, random.Random], None]


def _text(text: str | bytes) -> Damage:
    data = text if isinstance(text, bytes) else text.encode()
    return lambda path, rng: _put(path, data)


def _put(path: Path, data: bytes) -> None:
    clear(path)
    path.write_bytes(data)


def clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _directory(path: Path, rng: random.Random) -> None:
    clear(path)
    path.mkdir()
    (path / "inner").write_bytes(b"x")


def _empty_folder(path: Path, rng: random.Random) -> None:
    clear(path)
    path.mkdir()


def _pipe(path: Path, rng: random.Random) -> None:
    clear(path)
    os.mkfifo(path)


def _socket(path: Path, rng: random.Random) -> None:
    clear(path)
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _link(target: str) -> Damage:
    def damage(path: Path, rng: random.Random) -> None:
        clear(path)
        path.symlink_to(target)

    return damage


def _half(path: Path, rng: random.Random) -> None:
    data = path.read_bytes() if path.is_file() else b'{"mode": "keep", "at": 1}'
    _put(path, data[: rng.randrange(len(data)) if data else 0])


def _flipped(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes() if path.is_file() else b'{"mode": "keep", "at": 1}')
    for _ in range(8):
        data[rng.randrange(len(data))] = rng.randrange(256)
    _put(path, bytes(data))


def _huge(path: Path, rng: random.Random) -> None:
    _put(path, b"{")
    os.truncate(path, 1 << 31)  # sparse: takes no room


def _closed(path: Path, rng: random.Random) -> None:
    if not path.exists():
        path.write_bytes(b"{}")
    path.chmod(0)


def _random_bytes(path: Path, rng: random.Random) -> None:
    _put(path, rng.randbytes(rng.randrange(1, 5000)))


def _strange_value(path: Path, rng: random.Random) -> None:
    """One value of a JSON file, or of a line of one, becomes another."""
    if path.suffix not in (".json", ".jsonl") or not path.is_file():
        _random_bytes(path, rng)
        return
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    which = rng.randrange(len(lines))
    record: Any = json.loads(lines[which])
    spots: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in value.keys() if isinstance(value, dict) else range(len(value)):
            spots.append((value, key))
            if isinstance(value[key], dict | list):
                walk(value[key])

    walk(record)
    holder, key = rng.choice(spots)
    holder[key] = rng.choice(_STRANGE)
    lines[which] = json.dumps(record)
    _put(path, "\n".join(lines).encode() + b"\n")


DAMAGES: dict[str, Damage] = {
    "is missing": lambda path, rng: clear(path),
    "is empty": _text(""),
    "is a directory": _directory,
    "is a pipe": _pipe,
    "is a socket": _socket,
    "is a broken link": _link("nowhere"),
    "is a link to itself": lambda path, rng: _link(path.name)(path, rng),
    "is a device": _link("/dev/zero"),
    "is cut": _half,
    "has wrong bytes": _flipped,
    "is huge": _huge,
    "is closed": _closed,
    "is random": _random_bytes,
    "is deep": _text("[" * 100_000),
    "is deep and whole": _text("[" * 900 + "]" * 900),
    "is a list": _text("[1, 2]\n"),
    "is null": _text("null\n"),
    "is no text": _text(b'{"a": "\xff\xfe"}\n'),
    "is UTF-16": _text('{"title": "x"}'.encode("utf-16")),
}
_VALUES = 6
_FOLDERS: dict[str, Damage] = {
    "a link to elsewhere": _link("/etc"),
    "a link to itself": lambda path, rng: _link(path.name)(path, rng),
    "an empty folder": _empty_folder,
    "a file": _text("{}"),
    "a closed folder": lambda path, rng: path.chmod(0),
}


def kinds() -> list[tuple[str, str]]:
    """(file, damage), more than two hundred of them; the file is empty where the folder itself is damaged."""
    wrong = [f"has a strange value {number}" for number in range(_VALUES)]
    of_files = [(file, damage) for file in FILES for damage in [*DAMAGES, *wrong]]
    return [*(("", name) for name in _FOLDERS), *of_files]


def damaged(sound: Path, home: Path, count: int, seed: int) -> Iterator[tuple[Path, str]]:
    """Make ``count`` copies of the run folder ``sound`` in ``home``, each damaged in another way; (folder, what it is)."""
    rng = random.Random(seed)
    chosen = kinds()
    rng.shuffle(chosen)
    for number, (file, damage) in enumerate(chosen[:count]):
        folder = home / f"damaged-{number:03d}"
        shutil.copytree(sound, folder)
        act = _FOLDERS[damage] if not file else DAMAGES.get(damage, _strange_value)
        act(folder / file if file else folder, rng)
        yield folder, f"{file or 'folder'} {damage}"


def opened(home: Path) -> None:
    """Make closed folders removable again."""
    for folder in home.iterdir():
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o755)
