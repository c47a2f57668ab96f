"""Uploads: what a visitor may send, how long it lies there, and that nothing is left of it when the server ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from studio.config import ROOT, Settings
from studio.services import build_services
from studio.ui.page.uploads import UploadBounds, remove_old, temporary_folder
from studio.ui.shell import build_app
from tests.helpers.runs import command_environment
from tests.helpers.sweeps import no_trainer
from tests.helpers.waiting import wait_until


async def _length(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


def bounded(operator: bool = False) -> TestClient:
    bounds = Middleware(UploadBounds, operator=lambda scope: operator, each=1_000, all_together=1_500)
    app = Starlette(routes=[Route("/upload", _length, methods=["POST"])], middleware=[bounds])
    return TestClient(app, client=("10.0.0.1", 1))


def test_a_visitor_sends_so_much_within_an_hour_and_the_operator_as_much_as_needed() -> None:
    file = {"files": ("a.txt", b"x" * 500)}
    client = bounded()
    assert client.post("/upload", files=file).status_code == 200
    refused = client.post("/upload", files=file)
    assert refused.status_code == 413
    assert "the operator's password" in refused.text
    assert client.post("/upload", content=b"x" * 5_000).status_code == 200, "only uploads are counted"
    other = TestClient(client.app, client=("10.0.0.2", 1))
    assert other.post("/upload", files=file).status_code == 200
    third = TestClient(client.app, client=("10.0.0.3", 1))
    assert third.post("/upload", files=file).status_code == 503
    operator = bounded(operator=True)
    assert [operator.post("/upload", files=file).status_code for _ in range(5)] == [200] * 5


def test_an_upload_without_a_length_is_refused() -> None:
    def pieces():  # type: ignore[no-untyped-def]
        yield b"x"

    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert bounded().post("/upload", content=pieces(), headers=headers).status_code == 411


def test_old_uploads_go_and_new_ones_stay(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    app = build_app(build_services(settings))
    folder = tmp_path / "gradio" / "hash"
    folder.mkdir(parents=True)
    old, new, empty = folder / "old.txt", tmp_path / "gradio" / "new.txt", tmp_path / "gradio" / "tmpabc"
    served = folder.parent / "served.csv"
    for file in (old, new, empty, served):
        file.write_text("x")
    for file in (old, empty, served):
        os.utime(file, (time.time() - 4_000,) * 2)
    app.upload_file_set.update([str(old), str(new), str(folder / "gone.txt")])
    remove_old(app)
    assert (old.exists(), folder.exists(), empty.exists()) == (False, False, False)
    assert new.exists()
    assert served.exists(), "a file that was made to be saved stays as long as Gradio keeps it"
    assert app.upload_file_set == {str(new)}


def test_what_a_killed_server_left_goes_with_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    left = tmp_path / "alignment-studio-left"
    left.mkdir()
    (left / ".lock").touch()
    (left / "file").touch()
    other = tmp_path / "somebody-else"
    other.mkdir()
    with temporary_folder() as mine:
        assert not left.exists()
        with temporary_folder() as second:
            assert mine.exists()
            assert second.parent == mine / "uploads"
    assert list(tmp_path.iterdir()) == [other]


@pytest.fixture
def nothing_trains(settings: Settings) -> Iterator[None]:
    with no_trainer(settings):
        yield


def test_servers_that_start_together_have_a_port_each_and_leave_nothing_when_told_to_end(
    nothing_trains: None, settings: Settings, tmp_path: Path
) -> None:
    homes = {number: tmp_path / number.name for number in (signal.SIGTERM, signal.SIGINT)}
    servers = {
        number: subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env={**command_environment(settings), "GRADIO_TEMP_DIR": str(home), "STUDIO_BASE": "embedded"},
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        for number, home in homes.items()
    }
    urls = []
    try:
        for number, server in servers.items():
            assert server.stdout is not None
            url = next(line for line in server.stdout if " is at " in line).split()[-1]
            urls.append(url)
            for n in range(3):
                sent = httpx.post(f"{url}gradio_api/upload", files={"files": (f"{n}.txt", b"One?")}, timeout=60)
                assert Path(sent.json()[0]).is_relative_to(homes[number])
                assert Path(sent.json()[0]).is_file()
        assert len(set(urls)) == 2
        for number, server in servers.items():
            server.send_signal(number)
            wait_until(lambda server=server: server.poll() is not None, 60)
    finally:
        for server in servers.values():
            server.kill()
            server.wait()
    assert [list(home.iterdir()) for home in homes.values()] == [[], []]
