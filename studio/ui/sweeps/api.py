"""Typed, named endpoints for programs: ``/sweep`` and ``/sweep_result``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from studio.errors import InputError
from studio.services import Services
from studio.services.sweeps.plan import SweepForm, seeds_from
from studio.services.sweeps.result import result
from studio.ui.page.access import require_password
from studio.ui.page.arguments import checked
from studio.ui.page.guard import guarded


def add_api(services: Services) -> None:
    """Add the endpoints to the Blocks being built."""

    def sweep(
        request: gr.Request,
        base: str = "",
        dataset: str = "live-action-en",
        ratios: list[float] | None = None,
        losses: list[str] | None = None,
        data_sizes: list[float] | None = None,
        betas: list[float] | None = None,
        seeds: int = 1,
        support_ratio: float = 0.9,
        data_size: int = 50,
        flip_share: float = 0.0,
        preset: str = "",
        seed: int = 42,
        epochs: float = 0.0,
        operator_password: str = "",
    ) -> str:
        """Queue a DPO run for every combination of the lists and of ``seeds`` seeds from ``seed`` on; returns the sweep's id. Without any
        list the ratios 0, .25, .5, .75 and 1. ``flip_share`` of the labels are flipped on purpose. Needs the operator's password where
        one is set."""
        require_password(services.gate, request, operator_password, "training")
        sizes = tuple(data_sizes or ())
        if not all(size.is_integer() for size in sizes):
            raise InputError("data_sizes must be whole numbers.")
        form = services.align.form(base, preset, dataset, support_ratio, data_size, seed, epochs)
        asked = SweepForm(
            replace(form, settings=replace(form.settings, flip_share=flip_share)),
            ratios=tuple(ratios or ()),
            losses=tuple(losses or ()),
            data_sizes=tuple(map(int, sizes)),
            betas=tuple(betas or ()),
            seeds=seeds_from(seed, seeds),
        )
        return services.sweeps.start(asked.with_default())

    def sweep_result(sweep_id: str) -> dict[str, Any]:
        """What a sweep has come to so far: the keys of ``sweep --json``."""
        return result(services.sweeps.get(sweep_id))

    # a try at the password may wait here
    gr.api(guarded(checked(sweep)), api_name="sweep", concurrency_limit=4)
    gr.api(guarded(checked(sweep_result)), api_name="sweep_result")
