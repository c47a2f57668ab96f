"""Typed, named endpoints for programs: ``/align`` and ``/status``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from studio.services import Services
from studio.ui.page.access import require_password
from studio.ui.page.arguments import checked
from studio.ui.page.guard import guarded


def add_api(services: Services) -> None:
    """Add the endpoints to the Blocks being built."""

    def align(
        request: gr.Request,
        base: str = "",
        dataset: str = "live-action-en",
        support_ratio: float = 0.9,
        data_size: int = 50,
        preset: str = "",
        seed: int = 42,
        epochs: float = 0.0,
        operator_password: str = "",
        start_run: str = "",
    ) -> str:
        """Queue a DPO run and return its run id. An empty base is the default one, an empty preset the one made for the base;
        ``epochs`` 0 takes the preset's; ``start_run`` names a run whose adapter to go on from. Needs the operator's password where one is set."""
        require_password(services.gate, request, operator_password, "training")
        form = services.align.form(base, preset, dataset, support_ratio, data_size, seed, epochs)
        return services.align.start(replace(form, start_run=start_run.strip()))

    def status(run_id: str) -> dict[str, Any]:
        """State, step counts and, once measured, the result of a run: the keys of ``align --json``, of a reward run those of
        ``reward --json``, of a detox run those of ``detox --json``."""
        others = {"reward": services.reward.status, "detox": services.detox.status}
        return others.get(services.runs.get(run_id).method, services.align.status)(run_id)

    # a try at the password may wait here
    gr.api(guarded(checked(align)), api_name="align", concurrency_limit=4)
    gr.api(guarded(checked(status)), api_name="status")
