"""``/runs/<id>`` as a server answers it."""

from __future__ import annotations

import shutil

from starlette.applications import Starlette
from starlette.testclient import TestClient

from studio.config import ROOT, Settings
from studio.services import Services
from studio.ui.training.run_page import run_page_routes


def test_a_run_has_a_page_that_may_load_nothing(services: Services, settings: Settings) -> None:
    shutil.copytree(ROOT / "adapters" / "demo-support-10", settings.adapters_dir / "demo-support-10")
    client = TestClient(Starlette(routes=run_page_routes(services)))
    answer = client.get("/runs/demo-support-10")
    assert answer.status_code == 200
    assert "Asked for 10% support" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    gone = client.get("/runs/gone")
    assert (gone.status_code, gone.headers["content-type"].split(";")[0]) == (404, "text/plain")
    assert client.get("/runs/<b>").status_code == 400
