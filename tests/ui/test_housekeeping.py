"""What a server must not leave behind: copies of what was uploaded and downloaded."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from gradio.route_utils import delete_files_created_by_app
from gradio_client import Client

from studio.config import Settings
from studio.services import build_services
from studio.ui.shell import DELETE_CACHE, build_app
from tests.helpers.compare import add_run
from tests.helpers.waiting import wait_until


def test_uploads_and_served_copies_are_deleted_after_a_day_and_at_the_end(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    services = build_services(settings)
    add_run(services.runs, "run-1")
    app = build_app(services)
    assert app.delete_cache == DELETE_CACHE
    age = DELETE_CACHE[1]
    _, url, _ = app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    try:
        Client(url, verbose=False, httpx_kwargs={"timeout": 60})  # the server answers
        sent = httpx.post(f"{url}gradio_api/upload", files={"files": ("prompts.txt", b"One?\n")}, timeout=60)
        uploaded = Path(sent.json()[0])
        assert uploaded.read_bytes() == b"One?\n"
        delete_files_created_by_app(app, age)
        assert uploaded.is_file(), "a fresh upload is still needed"

        def deleted() -> bool:
            delete_files_created_by_app(app, 1)
            return not uploaded.exists()

        wait_until(deleted)
        again = Path(httpx.post(f"{url}gradio_api/upload", files={"files": ("b.txt", b"Two?\n")}).json()[0])
        assert again.is_file()
    finally:
        app.close()
        services.compare.close()
    assert not again.exists()
    assert (settings.adapters_dir / "run-1" / "adapter_model.safetensors").is_file()
