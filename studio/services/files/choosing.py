"""Which folder of an upload holds the adapter. Trainers leave more than one (the last state and checkpoints), and much beside
them that is neither needed nor read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from studio.errors import InputError

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
#: A card that came with a foreign adapter; the studio's own card takes the name README.md.
FOREIGN_CARD = "ORIGINAL_README.md"
#: Files of a tokenizer in which a chat template may stand; they are compared with the base's, never kept.
TEMPLATES = ("chat_template.jinja", "tokenizer_config.json")
#: Without the record of a run, files that are called as its others are some other program's.
_RECORD = "run.json"
_WITHOUT_RECORD = frozenset({WEIGHTS, CONFIG, FOREIGN_CARD, "README.md", *TEMPLATES})
#: How the top folder is called where folders are chosen from.
TOP = "."
_ADVICE = f"An adapter is a folder with {WEIGHTS} and {CONFIG}, as PEFT saves it (save_pretrained)."
_PICKLES = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth", "adapter_model.ckpt")
_WHOLE_MODELS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
_NUMBER = re.compile(r"\d+$")
T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A file of an upload: its path in parts, when it was changed (in any unit that orders), and what opens it."""

    parts: tuple[str, ...]
    changed: float
    item: T


@dataclass(frozen=True)
class Choice(Generic[T]):
    """The folder that was chosen, its files that are taken by name, what is left out, and the other folders that hold an
    adapter, the newest first."""

    folder: str
    files: dict[str, Entry[T]]
    left_out: tuple[str, ...]
    others: tuple[str, ...]


def adapter_folders(entries: Iterable[Entry[T]]) -> tuple[str, ...]:
    """The folders that hold an adapter. First the one that all others lie in (a trainer's last state), then by the number at
    their end (one without a number was saved last), then by date, the newest first."""
    dates: dict[tuple[str, ...], dict[str, float]] = {}
    for entry in entries:
        if entry.parts[-1] in (WEIGHTS, CONFIG) and not _hidden(entry.parts[:-1]):
            dates.setdefault(entry.parts[:-1], {})[entry.parts[-1]] = entry.changed
    folders = {folder: both[WEIGHTS] for folder, both in dates.items() if len(both) == 2}

    def order(folder: tuple[str, ...]) -> tuple[bool, float, float, tuple[str, ...]]:
        above_all = all(other[: len(folder)] == folder for other in folders)
        number = _NUMBER.search(folder[-1]) if folder else None
        return not above_all, -float(number[0]) if number else -float("inf"), -folders[folder], folder

    return tuple("/".join(folder) or TOP for folder in sorted(folders, key=order))


def choose(entries: Sequence[Entry[T]], taken: Collection[str], checkpoint: str = "") -> Choice[T]:
    """The adapter in an upload: the newest, or the one in the folder ``checkpoint`` (its path, or the last part of it).

    Raises:
        InputError: there is none, none in that folder, or more than one file of a name in it.
    """
    folders = adapter_folders(entries)
    if not folders:
        raise InputError(_nothing(entries))
    folder = _named(folders, checkpoint) if checkpoint else folders[0]
    inside = () if folder == TOP else tuple(folder.split("/"))
    recorded = any(entry.parts == (*inside, _RECORD) for entry in entries)
    files: dict[str, Entry[T]] = {}
    left_out: dict[str, None] = {}
    for entry in entries:
        name = entry.parts[-1]
        if entry.parts[:-1] == inside and name in taken and (recorded or name in _WITHOUT_RECORD):
            if name in files:
                raise InputError(f"{name} is in it twice.")
            files[name] = entry
        else:
            left_out[_outside(entry.parts, inside)] = None
    return Choice(folder, files, tuple(left_out), tuple(other for other in folders if other != folder))


def _named(folders: Sequence[str], checkpoint: str) -> str:
    wanted = checkpoint.strip().strip("/") or TOP
    matching = [f for f in folders if f == wanted] or [f for f in folders if f.endswith(f"/{wanted}")]
    if len(matching) != 1:
        fault = "no adapter is" if not matching else "more than one adapter is"
        raise InputError(
            f"checkpoint is {checkpoint[:120]!r}, but {fault} in a folder of that name; there {_listed(folders)}."
        )
    return matching[0]


def _listed(folders: Sequence[str]) -> str:
    shown = ", ".join(folders[:12]) + (", …" if len(folders) > 12 else "")
    return f"is {shown}" if len(folders) == 1 else f"are {shown}"


def _hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _outside(parts: tuple[str, ...], inside: tuple[str, ...]) -> str:
    """How a file that is left out is listed: by its name in the chosen folder, else by the folder it lies in that the chosen
    one does not."""
    if parts[: len(inside)] == inside:
        return parts[len(inside)]
    shared = 0
    while shared < len(inside) and parts[shared] == inside[shared]:
        shared += 1
    return "/".join(parts[: shared + 1])


def _nothing(entries: Iterable[Entry[T]]) -> str:
    names = {entry.parts[-1] for entry in entries}
    pickle = next((name for name in _PICKLES if name in names), None)
    if pickle and WEIGHTS not in names:
        return (
            f"Its weights are there as {pickle} only, a pickle, which is never opened here; save the adapter again as "
            "safetensors (PEFT: save_pretrained with safe_serialization=True)."
        )
    if "adapters.safetensors" in names and WEIGHTS not in names:
        return f"It holds adapters.safetensors, an adapter as MLX saves it; convert it to PEFT's form first. {_ADVICE}"
    if not names & {WEIGHTS, CONFIG} and names & set(_WHOLE_MODELS):
        return (
            "It holds a whole model, not an adapter; put its folder among the base models (STUDIO_MODELS_DIR) and choose it "
            "as a base."
        )
    missing = next((name for name in (WEIGHTS, CONFIG) if name not in names), None)
    if missing is None:
        return f"{WEIGHTS} and {CONFIG} lie in different folders, so there is no adapter in it. {_ADVICE}"
    return f"{missing} is missing, so there is no adapter in it. {_ADVICE}"
