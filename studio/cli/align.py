"""``align``: train an adapter in the foreground."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from studio.cli.common import (
    Commands,
    add_training,
    changed,
    command,
    dataset_id,
    follow_and_tell,
    tell_outlook,
    training_form,
    warn_of_long_rows,
)
from studio.domain.data import PreferenceDataset
from studio.domain.settings import AnswerSettings, DpoSettings, LoraSettings, ThumbWeights
from studio.errors import InputError
from studio.services import Services

if TYPE_CHECKING:
    from studio.services.align.form import AlignForm


def add(commands: Commands) -> None:
    """Register the command."""
    align = command(
        commands, "align", _align, "Train an adapter in the foreground: with DPO on pairs, with KTO on rated answers."
    )
    align.add_argument("--start", default="", metavar="RUN", help="go on from the adapter of this run")
    add_align_flags(align)


def add_align_flags(align: argparse.ArgumentParser) -> None:
    """The flags of a DPO or KTO run, for :func:`align_form`."""
    align.add_argument(
        "--data", required=True, metavar="DATASET|FILE", help="id of a dataset, or a file of preference data"
    )
    align.add_argument("--support-ratio", type=float, help="0..1, of pairs (default: 0.9)")
    align.add_argument(
        "--data-size", type=int, help="pairs or rated answers to train on (default: 50 pairs, all rated answers)"
    )
    align.add_argument("--shuffle", action="store_true", help="draw which rows support, instead of the first ones")
    align.add_argument("--system-prompt", help="put before every prompt (default: the preset's)")
    add_training(align, "embedded, real-small, course or hub-small", LoraSettings, DpoSettings, ThumbWeights)


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
        lambda result: _summary(result, None if services.align.preview_rated(form) else form.support_ratio),
    )


def align_form(services: Services, options: argparse.Namespace) -> AlignForm:
    """The form that :func:`add_align_flags`' flags make.

    Raises:
        StudioError: there is no such base, preset or dataset, or a file breaks its format.
    """
    from studio.services.align.form import AlignForm

    options.data = dataset_id(services, options.data)
    options.base, preset, prompt = services.align.suited(options.base, options.preset or "", options.data)
    data = services.datasets.get(options.data)
    _check_method(data, options)
    size = options.data_size
    form = training_form(
        AlignForm,
        options,
        preset,
        dataset_id=options.data,
        support_ratio=0.9 if options.support_ratio is None else options.support_ratio,
        data_size=(len(data.rated) or min(50, len(data.pairs))) if size is None else size,
        shuffle=options.shuffle,
        system_prompt=prompt if options.system_prompt is None else options.system_prompt,
    )
    return replace(form, thumbs=changed(form.thumbs, options))


def _check_method(data: PreferenceDataset, options: argparse.Namespace) -> None:
    """Raises InputError for a flag of the method that this data is not for."""
    dpo = ["support_ratio", *(DpoSettings.declared().keys() - AnswerSettings.declared().keys())]
    other, why = (dpo, "rated answers, which KTO trains on") if data.rated else (ThumbWeights.declared(), "pairs")
    for name in other:
        if getattr(options, name, None) is not None:
            method = "DPO" if data.rated else "KTO"
            raise InputError(
                f"--{name.replace('_', '-')} is a setting of {method}, and {data.title} holds {why}; leave it out."
            )


def _summary(result: dict[str, Any], ratio: float | None) -> list[str]:
    lines = []
    if result["loss"] is not None:
        lines.append(f"loss {result['loss']:.4f}, margin {result['margin']:+.4f}")
    if probe := result["probe"]:
        lines.append(f"stance probe: support likelier in {probe['share']:.0%} of {probe['n']} held-out pairs")
    shares = (("base", "base_support_share"), ("start", "start_support_share"), ("adapter", "support_share"))
    for name, key in shares:
        if (share := result.get(key)) and share["n"]:
            requested = f", asked for {ratio:.0%}" if name == "adapter" and ratio is not None else ""
            lines.append(
                f"measured support of the {name}: {share['share']:.0%} [{share['low']:.0%}, {share['high']:.0%}] "
                f"(n {share['n']}, {share['abstained']} abstained{requested})"
            )
    return lines
