"""A start that cannot work: one sentence and exit code 2, before anything else starts."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.config import ROOT, Settings
from studio.errors import InputError
from studio.ui.start_checks import check_address, check_folders


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def test_a_taken_port_is_said_and_a_free_one_found(taken: int) -> None:
    with pytest.raises(InputError, match=f"port {taken} is taken on 127.0.0.1"):
        check_address("127.0.0.1", taken)
    check_address("127.0.0.1", 0)


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host", "x" * 300])
def test_a_host_that_cannot_be_bound_is_said(host: str) -> None:
    with pytest.raises(InputError, match=r"use 127\.0\.0\.1"):
        check_address(host, 0)


@pytest.mark.parametrize("name", ["adapters_dir", "imported_dir", "models_dir", "cache_dir"])
def test_a_folder_that_cannot_be_made_is_named(settings: Settings, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("no folder")
    check_folders(settings)
    with pytest.raises(InputError, match=f"STUDIO_{name.upper()} is .*which cannot be written"):
        check_folders(dataclasses.replace(settings, **{name: tmp_path / "file" / "below"}))  # type: ignore[arg-type]


def test_the_stores_folder_is_checked_too(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    where = f"sqlite:///{tmp_path / 'file' / 'studio.db'}"
    with pytest.raises(InputError, match="STUDIO_DATABASE_URL"):
        check_folders(dataclasses.replace(settings, database_url=where))


def test_without_a_home_the_way_out_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "")
    with pytest.raises(InputError, match="HF_HOME"):
        check_folders(settings)
    monkeypatch.setenv("HF_HOME", str(settings.cache_dir))
    check_folders(settings)


def test_the_program_says_it_in_one_line(taken: int, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    folders = {
        f"STUDIO_{name.upper()}": str(getattr(settings, name)) for name in ("adapters_dir", "imported_dir", "cache_dir")
    }
    for port, changes, words in (
        (taken, {}, f"port {taken} is taken"),
        (0, {"STUDIO_ADAPTERS_DIR": str(tmp_path / "file" / "a")}, "STUDIO_ADAPTERS_DIR is"),
    ):
        done = subprocess.run(
            [sys.executable, "app.py", "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, **folders, "STUDIO_DATABASE_URL": settings.database_url, **changes},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 2
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert not settings.cache_dir.exists()
