"""The thread that keeps the trainer alive outlives a folder that cannot be written."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import studio.services as services_module
from studio.services import build_services
from studio.services.recipes import queue
from tests.helpers.services import settings_in
from tests.helpers.waiting import wait_until


def test_it_goes_on_as_soon_as_the_folder_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(services_module, "KEEPALIVE_S", 0.05)
    settings = settings_in(tmp_path)
    settings.adapters_dir.rmdir()
    settings.adapters_dir.write_text("in the way")
    services = build_services(settings)
    # another trainer works already, so that none is started for this test
    held = threading.Event()
    monkeypatch.setattr(queue, "try_lock", lambda folder: held.set())
    monkeypatch.setattr(services, "_warm_engine", lambda: None)
    threading.Thread(target=services.warm_up, daemon=True).start()
    wait_until(lambda: caplog.text.count("could not be kept alive") > 2)
    settings.adapters_dir.unlink()
    wait_until(held.is_set)
    assert (settings.adapters_dir / ".trainer.alive").is_file()
