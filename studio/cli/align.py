"""``align``: train an adapter in the foreground."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from studio.cli.common import (
    Commands,
    add_training,
    command,
    dataset_id,
    follow_and_tell,
    tell_outlook,
    training_form,
    warn_of_long_rows,
)
from studio.domain.settings import DpoSettings, LoraSettings
from studio.services import Services

if TYPE_CHECKING:
    from studio.services.align.service import AlignForm


def add(commands: Commands) -> None:
    """Register the command."""
    align = command(commands, "align", _align, "Train an adapter in the foreground.")
    align.add_argument("--start", default="", metavar="RUN", help="go on from the adapter of this run")
    add_align_flags(align)


def add_align_flags(align: argparse.ArgumentParser) -> None:
    """The flags of a DPO run, for :func:`align_form`."""
    align.add_argument(
        "--data", required=True, metavar="DATASET|FILE", help="id of a dataset, or a file of preference data"
    )
    align.add_argument("--support-ratio", type=float, default=0.9, help="0..1 (default: 0.9)")
    align.add_argument("--data-size", type=int, help="pairs to train on (default: 50, or all where there are fewer)")
    align.add_argument("--shuffle", action="store_true", help="draw which rows support, instead of the first ones")
    align.add_argument("--system-prompt", help="put before every prompt (default: the preset's)")
    add_training(align, "embedded, real-small, course or hub-small", LoraSettings, DpoSettings)


def _align(services: Services, options: argparse.Namespace) -> int:
    form = replace(align_form(services, options), start_run=options.start)
    warn_of_long_rows(services.align.fit(form))
    run_id = services.align.start(form)
    tell_outlook(services.align.outlook(form))
    return follow_and_tell(
        services,
        run_id,
        options.json,
        services.align.result,
        lambda result: _summary(result, form.support_ratio),
    )


def align_form(services: Services, options: argparse.Namespace) -> AlignForm:
    """The form that :func:`add_align_flags`' flags make.

    Raises:
        StudioError: there is no such base, preset or dataset, or a file breaks its format.
    """
    from studio.services.align.service import AlignForm

    options.data = dataset_id(services, options.data)
    options.base, preset, prompt = services.align.suited(options.base, options.preset or "", options.data)
    size = options.data_size
    return training_form(
        AlignForm,
        options,
        preset,
        dataset_id=options.data,
        support_ratio=options.support_ratio,
        data_size=min(50, len(services.datasets.get(options.data).pairs)) if size is None else size,
        shuffle=options.shuffle,
        system_prompt=prompt if options.system_prompt is None else options.system_prompt,
    )


def _summary(result: dict[str, Any], ratio: float) -> list[str]:
    lines = []
    if result["loss"] is not None:
        lines.append(f"loss {result['loss']:.4f}, margin {result['margin']:+.4f}")
    if probe := result["probe"]:
        lines.append(f"stance probe: support likelier in {probe['share']:.0%} of {probe['n']} held-out pairs")
    shares = (("base", "base_support_share"), ("start", "start_support_share"), ("adapter", "support_share"))
    for name, key in shares:
        if (share := result.get(key)) and share["n"]:
            requested = f", asked for {ratio:.0%}" if name == "adapter" else ""
            lines.append(
                f"measured support of the {name}: {share['share']:.0%} [{share['low']:.0%}, {share['high']:.0%}] "
                f"(n {share['n']}, {share['abstained']} abstained{requested})"
            )
    return lines
