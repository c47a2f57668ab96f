"""What is read of run folders again and again: each file once for as long as it stays the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

from studio.domain.runs import Recipe
from studio.services.files.plain import plain_file
from studio.services.runs.folder import ADAPTER
from studio.services.runs.recipe_file import read_recipe


class FileCache:
    """Recipes and adapter hashes of run folders, by the folder and the state of the file."""

    def __init__(self) -> None:
        self._recipes: dict[tuple[str, int, int], Recipe] = {}
        self._hashes: dict[tuple[str, int, int], str] = {}

    def recipe(self, folder: Path) -> Recipe:
        """The recipe of a run.

        Raises:
            FileNotFoundError: the folder holds none.
            InputError: the file is broken.
        """
        path = folder / "run.json"
        stat = path.stat()
        key = (folder.name, stat.st_mtime_ns, stat.st_ino)
        if key not in self._recipes:
            self._recipes[key] = read_recipe(path)
        return self._recipes[key]

    def adapter_hash(self, folder: Path) -> str:
        """First 12 hex digits of the sha256 of the adapter's weights; empty without them.

        Raises:
            InputError: they are no plain file, or not readable.
        """
        path = folder / ADAPTER
        try:
            stat = path.stat()
            key = (str(folder), stat.st_mtime_ns, stat.st_size)
            if key not in self._hashes:
                with plain_file(path, f"{folder.name}/{path.name}") as file:
                    self._hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()[:12]
        except FileNotFoundError:
            return ""
        return self._hashes[key]
