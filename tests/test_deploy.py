"""The files in ``deploy/``: what compose is told fits the studio, and its proxy keeps the promises of docs/scale.md."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from studio.config import ROOT, Settings
from studio.services.rating.service import RatingService
from tests.fixtures.store import store_url as store_url
from tests.helpers.pairs import new_pairs
from tests.helpers.proxy import CONFIG, free_port, haproxy
from tests.helpers.waiting import wait_until

COMPOSE = ROOT / "deploy" / "compose.yaml"
SERVER = """
import sys, uvicorn
from starlette.applications import Starlette
from studio.config import Settings
from studio.services import build_services
from studio.ui.rating.voting_page import rate_routes
services = build_services(Settings(database_url=sys.argv[1]))
uvicorn.run(Starlette(routes=rate_routes(services)), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
"""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text(encoding="utf-8")))


def test_compose_names_files_services_and_settings_that_exist(compose: dict[str, Any]) -> None:
    services = compose["services"]
    documented = set(re.findall(r"STUDIO_[A-Z_]+", (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")))
    for name, service in services.items():
        assert {"image", "build"} & service.keys(), name
        assert set(service.get("depends_on", ())) <= services.keys(), name
        asked = {key for key in service.get("environment", {}) if key.startswith("STUDIO_")}
        assert asked <= documented, name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (COMPOSE.parent / source).is_file(), volume
        if "build" in service:
            build = service["build"]
            assert (COMPOSE.parent / build["context"] / build["dockerfile"]).is_file(), name
    assert (
        set(re.findall(r'"\$\{(\w+)\}"', CONFIG.read_text(encoding="utf-8"))) == services["proxy"]["environment"].keys()
    )
    for copied in re.findall(r"^COPY (.+) \S+$", (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8"), re.M):
        assert all((ROOT / name).exists() for name in copied.split()), copied


def test_docker_compose_reads_it() -> None:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("no docker-compose: install Debian's package docker-compose")
    command = [program, "-f", COMPOSE, "config", "-q"]
    secrets = {"POSTGRES_PASSWORD": "one", "STUDIO_ADMIN_PASSWORD": "two"}
    environ = {key: value for key, value in os.environ.items() if key not in secrets}
    assert subprocess.run(command, env={**environ, **secrets}, check=False).returncode == 0
    refused = subprocess.run(command, env=environ, check=False, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "set a password" in refused.stderr


@pytest.fixture
def studios(store_url: str, tmp_path: Path) -> Iterator[list[tuple[int, subprocess.Popen[bytes]]]]:
    """Two servers that take votes for one store."""
    with ExitStack() as stack:
        started = []
        for _ in range(2):
            port = free_port()
            process = subprocess.Popen([sys.executable, "-c", SERVER, store_url, str(port)], cwd=ROOT)
            stack.callback(process.wait, 30)
            stack.callback(process.kill)
            started.append((port, process))
        for port, process in started:
            wait_until(lambda port=port, process=process: answers(port, process), 180)
        yield started


def answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None
    try:
        return httpx.get(f"http://127.0.0.1:{port}/rate", timeout=30).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.timeout(600)
def test_the_proxy_keeps_a_page_on_its_server_and_a_vote_outlives_it(
    store_url: str, studios: list[tuple[int, subprocess.Popen[bytes]]]
) -> None:
    rating = RatingService(Settings(database_url=store_url))
    rating.add_pairs(new_pairs(6))
    with haproxy(*(port for port, _ in studios)) as url:
        wait_until(lambda: httpx.get(f"{url}/rate").status_code == 200, 60)
        homes = {httpx.get(f"{url}/rate").cookies["studio_server"] for _ in range(4)}
        assert homes == {"one", "two"}, "visitors of one address are spread"
        with httpx.Client(base_url=url, timeout=60) as browser:
            browser.get("/rate")
            home = browser.cookies["studio_server"]

            def ask(action: str, **body: Any) -> dict[str, Any]:
                for left in reversed(range(3)):  # what got no answer the page sends again
                    try:
                        answer = browser.post(f"/rate/api/{action}", json=body)
                        break
                    except httpx.RemoteProtocolError:
                        assert left
                assert answer.status_code == 200, answer.text
                return dict(answer.json())

            def vote(pair: dict[str, Any]) -> dict[str, Any]:
                sent = {"pair": pair["pair_id"], "proof": pair["token"], "press": "left", "seconds": 1}
                return ask("vote", token=token, **sent)

            token = ask("register", name="Anna")["token"]
            standing = vote(ask("next", token=token)["pair"])
            assert browser.cookies["studio_server"] == home
            # its server dies with the vote under way: nobody has to press again
            studios[("one", "two").index(home)][1].send_signal(signal.SIGKILL)
            while standing["pair"]:
                standing = vote(standing["pair"])
            assert browser.cookies["studio_server"] != home
    assert len(rating.ballots().votes) == len({vote.pair_id for vote in rating.ballots().votes}) == 6
    rating.close()
