"""The Hub as a folder with a history: one folder a commit. Plays the part of ``huggingface_hub.HfApi``."""

from __future__ import annotations

import fnmatch
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class FakeHub:
    """``script`` holds what the next calls of a method do first: an exception is raised, an event is waited
    for, a number is slept (seconds)."""

    def __init__(self, folder: Path, private: bool = True) -> None:
        self.folder, self.private = folder, private
        self.script: dict[str, list[Any]] = {}
        self.calls: list[str] = []
        self.pushing = threading.Event()

    @property
    def commits(self) -> list[Path]:
        done = sorted(self.folder.glob("commit-*")) if self.folder.exists() else []
        return [path for path in done if not path.name.endswith(".part")]

    @property
    def head(self) -> Path:
        return self.commits[-1]

    def _play(self, name: str) -> None:
        self.calls.append(name)
        if self.script.get(name):
            step = self.script[name].pop(0)
            if isinstance(step, Exception):
                raise step
            if isinstance(step, threading.Event):
                step.wait(120)
            else:
                time.sleep(step)

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool, exist_ok: bool) -> Any:
        self._play("create_repo")
        assert (repo_type, private, exist_ok) == ("dataset", True, True)

    def repo_info(self, repo_id: str, *, repo_type: str) -> Any:
        self._play("repo_info")
        return SimpleNamespace(private=self.private)

    def list_repo_files(self, repo_id: str, *, repo_type: str) -> list[str]:
        self._play("list_repo_files")
        if not self.commits:
            return [".gitattributes"]
        return [p.relative_to(self.head).as_posix() for p in self.head.rglob("*") if p.is_file()]

    def snapshot_download(self, repo_id: str, *, repo_type: str, local_dir: str, allow_patterns: list[str]) -> Any:
        self._play("snapshot_download")
        for name in self.list_repo_files(repo_id, repo_type=repo_type):
            if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (Path(local_dir) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.head / name, Path(local_dir) / name)

    def upload_folder(
        self, *, repo_id: str, repo_type: str, folder_path: str, commit_message: str, delete_patterns: list[str]
    ) -> Any:
        self.pushing.set()
        self._play("upload_folder")
        new = self.folder / f"commit-{len(self.commits):04d}"
        part = new.with_name(f"{new.name}.part")
        if self.commits:
            shutil.copytree(
                self.head,
                part,
                ignore=lambda at, names: [name for name in names if self._gone(at, name, delete_patterns)],
            )
        shutil.copytree(folder_path, part, dirs_exist_ok=True)
        part.rename(new)

    def _gone(self, folder: str, name: str, patterns: list[str]) -> bool:
        path = Path(folder) / name
        told = path.relative_to(self.head).as_posix()
        return path.is_file() and any(fnmatch.fnmatch(told, pattern) for pattern in patterns)
