"""Runs as a page gets them, without a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studio.domain.events import SupportShare
from studio.domain.runs import RunState, RunStatus
from studio.services.runs.store import RunView
from tests.helpers.runs import make_recipe
from tests.helpers.scripted_trainer import step_event

HOSTILE = "<img src=x onerror=alert(1)>'\"&"
SHARE = SupportShare(share=0.9, low=0.7, high=0.97, n=18, abstained=2, judge_accuracy=0.95, judge_n=100)


def view(state: RunState = "running", run_id: str = "toy-r50", **changes: Any) -> RunView:
    fields: dict[str, Any] = {
        "run_id": run_id,
        "folder": Path("/nowhere"),
        "recipe": make_recipe(run_id, created=1.0),
        "status": RunStatus(state, step=3, total=10, updated=1.0),
        "title": "Toy",
        "note": "",
        "last_step": step_event(3, 10),
        "probe": None,
        "base_share": None,
        "adapter_share": None,
        "has_adapter": False,
        "adapter_hash": "",
        "size_bytes": 0,
        "method": "dpo",
    }
    return RunView(**{**fields, **changes})
