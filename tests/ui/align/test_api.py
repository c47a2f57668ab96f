"""Align for programs, and what visitors may not do: the real page over HTTP, the real trainer, the embedded base."""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import psutil
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from studio.config import Settings
from studio.domain.runs import FINAL_STATES
from studio.services import Services
from studio.services.access import SESSION
from studio.services.align.form import AlignForm
from studio.services.reward.service import RewardForm
from studio.ui.align.form import preview_rows
from studio.ui.page.access import Visitor
from studio.ui.reward.preview import preview as reward_preview
from studio.ui.shell import build_app
from tests.helpers.services import opened, settings_in
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.timeout(400)
PASSWORD = "open sesame"


@dataclass
class Studio:
    services: Services
    app: gr.Blocks
    url: str
    client: Client

    def press(self, elem_id: str, **typed: Any) -> str:
        """Press a button as any program on the network could, without the page; the error it answers with, or ''.

        ``typed`` are values of components by ``elem_id`` (``_`` for ``-``); all others are sent as the page draws them.
        """
        config = self.app.config
        parts = {c["id"]: c["props"] for c in config["components"]}
        dep = next(
            d
            for d in config["dependencies"]
            if any(parts.get(t[0], {}).get("elem_id") == elem_id for t in d["targets"])
        )
        values = [parts[i].get("value") for i in dep["inputs"]]
        named = {str(parts[i].get("elem_id")).replace("-", "_"): n for n, i in enumerate(dep["inputs"])}
        for name, value in typed.items():
            values[named[name]] = value
        session = uuid.uuid4().hex
        api = f"{self.url}gradio_api/queue"
        body = {"data": values, "fn_index": dep["id"], "session_hash": session, "trigger_id": dep["targets"][0][0]}
        httpx.post(f"{api}/join", json=body).raise_for_status()
        with httpx.stream("GET", f"{api}/data", params={"session_hash": session}, timeout=60) as answer:
            for line in answer.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if message.get("msg") == "process_completed":
                    return "" if message["success"] else str(message["output"]["error"])
        raise AssertionError("the page did not answer")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """One page with an operator's password, for all tests of this file."""
    settings = settings_in(tmp_path_factory.mktemp("studio"), admin_password=PASSWORD)
    with opened(settings) as services:
        app = build_app(services)
        app.queue()
        _, url, _ = app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, show_error=True)
        yield Studio(services, app, url, Client(url, verbose=False, httpx_kwargs={"timeout": 60}))
        app.close()
    end_trainer(settings)


def end_trainer(settings: Settings) -> None:
    """End the trainer of these settings now, rather than when it has found nothing to do for a while."""
    for process in psutil.process_iter(["pid", "cmdline"]):
        with contextlib.suppress(psutil.Error, OSError):
            if "studio.services.worker.trainer" in (process.info["cmdline"] or []) and process.environ().get(
                "STUDIO_ADAPTERS_DIR"
            ) == str(settings.adapters_dir):
                os.kill(process.pid, 9)


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.name.startswith("."))


def test_align_trains_and_status_tells_what_came_of_it(studio: Studio) -> None:
    run_id = studio.client.predict(
        support_ratio=1.0, data_size=8, epochs=1.0, operator_password=PASSWORD, api_name="/align"
    )
    first = studio.client.predict(run_id, api_name="/status")
    assert first["state"] in ("queued", "running", *FINAL_STATES)
    recipe = studio.services.runs.get(run_id).recipe
    assert (recipe.data_size, recipe.support_ratio, recipe.settings.epochs) == (8, 1.0, 1.0)
    assert recipe.rows_support == (True,) * 8

    wait_until(lambda: studio.services.runs.ended(run_id), timeout=300, every=0.5)
    last = studio.client.predict(run_id, api_name="/status")
    assert last["state"] == "done", last["message"]
    assert last["step"] == last["total"] == 1
    assert last["support_share"]["n"] + last["support_share"]["abstained"] > 0
    assert last["base_support_share"]["judge_accuracy"] > 0.8
    assert last["probe"]["n"] == 20
    assert (Path(last["folder"]) / "adapter_model.safetensors").is_file()
    # the trainer's last act on a run
    wait_until(lambda: not (Path(last["folder"]) / "job.json").exists(), timeout=60)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"support_ratio": 1.5}, "1.5"),
        ({"data_size": 61}, "61"),
        ({"dataset": "nothing-like-it"}, "nothing-like-it"),
        ({"preset": "best"}, "preset is 'best'"),
        ({"epochs": -1.0}, "epochs is -1.0"),
        ({"base": "../secrets"}, "../secrets"),
        ({"seed": -1}, "seed is -1"),
        ({"start_run": "no-such-run"}, "no-such-run"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(studio: Studio, changes: dict[str, Any], words: str) -> None:
    before = files(studio.services.settings.adapters_dir)
    with pytest.raises(AppError, match=words.replace(".", r"\.")):
        studio.client.predict(**changes, operator_password=PASSWORD, api_name="/align")
    assert files(studio.services.settings.adapters_dir) == before


@pytest.mark.parametrize("run_id", ["no-such-run", "../../etc", "", "A"])
def test_the_status_of_what_is_not_a_run(studio: Studio, run_id: str) -> None:
    with pytest.raises(AppError, match="run"):
        studio.client.predict(run_id, api_name="/status")


@pytest.mark.parametrize(
    ("button", "action"),
    [
        ("train", "training"),
        ("stop-keep", "stopping a run"),
        ("stop-discard", "stopping a run"),
        ("discard-sure", "stopping a run"),
        ("resume", "resuming a run"),
        ("delete", "deleting a run"),
        ("sure", "deleting a run"),
        ("import", "importing"),
        ("library-sure", "deleting"),
        ("library-take", "importing adapters"),
        ("library-save-note", "needs"),
        ("library-push", "needs"),
        ("library-merge", "exporting"),
    ],
)
def test_the_server_refuses_visitors_whatever_their_page_shows(studio: Studio, button: str, action: str) -> None:
    before = files(studio.services.settings.adapters_dir)
    refused = studio.press(button)
    assert action in refused
    assert "needs the operator's password" in refused
    assert files(studio.services.settings.adapters_dir) == before


def test_a_visitor_is_not_told_what_lies_in_a_folder_of_this_machine(studio: Studio, tmp_path: Path) -> None:
    told = [d for d in studio.app.fns.values() if d.name == "tell_needs"]
    assert told
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert "The operator may use any base" in told[0].fn(Visitor(), str(folder))
    assert f"There is no folder {tmp_path / 'nowhere'}" in told[0].fn(Visitor(operator=True), str(tmp_path / "nowhere"))
    assert "parameters" in told[0].fn(Visitor(), "embedded")


def test_rows_of_imported_data_are_the_operators(studio: Studio, tmp_path: Path) -> None:
    services = studio.services
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([{"prompt": f"Secret {n}?", "chosen": "Yes.", "rejected": "No."} for n in range(4)]))
    mine = services.datasets.import_file(path).dataset.id
    align = AlignForm.from_preset("embedded", "embedded", dataset_id=mine, support_ratio=0.5, data_size=4)
    reward = RewardForm.from_preset("embedded", "embedded", dataset_id=mine, data_size=4)
    rows, sentence = preview_rows(services, align)
    assert rows == []
    assert "4 pairs" in sentence
    assert "only shown to the operator" in sentence
    counts, rows = reward_preview(services, reward)
    assert rows == []
    assert "only shown to the operator" in counts
    assert preview_rows(services, replace(align, dataset_id="live-action-en"))[0]
    services.datasets.delete(mine)


def test_only_what_was_made_for_programs_is_offered_to_them(studio: Studio) -> None:
    """Whatever a tab adds: no event of the page, and no maker of a fresh ``gr.State`` (Gradio would call it /lambda)."""
    offered = studio.client.view_api(return_format="dict")
    assert offered["unnamed_endpoints"] == {}
    assert set(offered["named_endpoints"]) >= {"/align", "/status", "/generate"}
    public = [fn for fn in studio.app.fns.values() if fn.api_visibility != "private"]
    assert {f"/{fn.api_name}" for fn in public} == set(offered["named_endpoints"])
    leaked = [fn.api_name for fn in public if fn.targets or "lambda" in str(fn.api_name)]
    assert leaked == [], (
        "these belong to the page: give their event **PRIVATE, their gr.State a value instead of a maker"
    )


def test_guessing_the_password_is_slow_and_the_right_one_is_taken_after_it(studio: Studio) -> None:
    before = files(studio.services.settings.adapters_dir)
    guesses = 2  # each is answered later than the one before; tests/services/test_access.py has the whole table
    for _ in range(guesses):
        with pytest.raises(AppError, match="operator's password"):
            studio.client.predict(operator_password="guess", api_name="/align")
    started = time.monotonic()
    with pytest.raises(AppError, match="data_size"):
        studio.client.predict(operator_password=PASSWORD, data_size=10_000, api_name="/align")
    assert time.monotonic() - started >= SESSION.delay(guesses)
    assert files(studio.services.settings.adapters_dir) == before
