"""The whole app on a Space with ZeroGPU, simulated: the real package ``spaces`` lends by an API that the test answers for."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client

from studio.config import ROOT, Settings
from studio.domain.runs import FINAL_STATES
from studio.services.runs.store import RunStore
from tests.fixtures.browser import WAIT_MS
from tests.helpers.services import settings_in
from tests.helpers.waiting import wait_until
from tests.helpers.zerogpu import DeviceApi, zerogpu

_APP = "from tests.helpers.zerogpu import without_cuda; without_cuda(); from studio.ui.launch import main; main([])"
_VISITOR = {"X-IP-Token": f"a.{base64.urlsafe_b64encode(json.dumps({'user': 'me'}).encode()).decode()}.c"}
Space = tuple[str, Settings, DeviceApi]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    folder, port = tmp_path_factory.mktemp("space"), int(os.environ["GRADIO_SERVER_PORT"]) + 150
    settings = settings_in(folder)
    with zerogpu() as api:
        names = ("adapters_dir", "imported_dir", "models_dir", "cache_dir", "database_url")
        own = {f"STUDIO_{name.upper()}": str(getattr(settings, name)) for name in names}
        with open(folder / "app.log", "wb") as log:
            app = subprocess.Popen(
                [sys.executable, "-c", _APP],
                cwd=ROOT,
                env={**os.environ, **own, "STUDIO_PORT": str(port), "TMPDIR": str(folder)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        url = f"http://127.0.0.1:{port}/"
        try:
            wait_until(lambda: app.poll() is not None or answers(url), 170)
            assert app.poll() is None, (folder / "app.log").read_text()[-2000:]
            yield url, settings, api
        finally:
            os.killpg(app.pid, signal.SIGKILL)
            app.wait(30)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=60).status_code == 200
    except httpx.TransportError:
        return False


def test_an_answer_is_a_gpu_call_of_the_visitor_and_without_a_gpu_one_of_the_cpu(space: Space) -> None:
    url, _, api = space
    client = Client(url, headers=_VISITOR, verbose=False, httpx_kwargs={"timeout": 120})

    def ask() -> dict[str, Any]:
        answered: list[dict[str, Any]] = client.predict(
            "Is love at first sight real?", ["base"], max_new_tokens=50, temperature=0, api_name="/generate"
        )
        return answered[0]

    lent = ask()
    assert (lent["base_verified"], lent["note"]) == (True, "")
    assert [(call["token"], call["durationSeconds"]) for call in api.asked] == [(_VISITOR["X-IP-Token"], "23")]
    wait_until(lambda: [call["fail"] for call in api.released] == ["false"])
    api.refuse_quota(left=10, wait_s=3600)
    refused = ask()
    api.refusal = None
    assert "(23s requested vs. 10s left)" in refused["note"]
    assert refused["note"].endswith("Answered on the CPU.")
    assert refused["answer"] == lent["answer"]


def test_a_run_is_one_gpu_call_and_one_that_is_refused_can_be_trained_on_the_cpu(space: Space, chromium: Any) -> None:
    url, settings, api = space
    runs, before = RunStore(settings), len(api.asked)
    client = Client(url, headers=_VISITOR, verbose=False, httpx_kwargs={"timeout": 120})

    def train() -> str:
        run_id: str = client.predict(data_size=8, epochs=1.0, api_name="/align")
        wait_until(lambda: runs.status(run_id).state in FINAL_STATES, 150)
        return run_id

    done = runs.get(train())
    assert (done.status.state, done.status.lent, done.has_adapter) == ("done", True, True)
    assert [(call["token"], call["durationSeconds"]) for call in api.asked[before:]] == [
        (_VISITOR["X-IP-Token"], "120")
    ]
    api.refuse_quota(left=10, wait_s=3600)
    refused = train()
    assert runs.status(refused).state == "failed"
    page = chromium.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{url}?run={refused}")
    page.locator("#run-progress", has_text="s requested vs. 10s left").wait_for()
    assert "of your quota" in page.locator("#outlook").inner_text()
    page.locator("#on-cpu").click()
    wait_until(lambda: runs.status(refused).state == "done", 150)
    page.close()
    assert (runs.status(refused).lent, runs.get(refused).has_adapter) == (False, True)
    assert len(list(Path(settings.adapters_dir).glob("*/status.json"))) == 2
