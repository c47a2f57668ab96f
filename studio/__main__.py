"""The command line: ``python -m studio align|compare|chat|runs|import``. The same services as the page, without it.

What a person can mend ends as one line on stderr and exit code 2; results go to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from studio.config import load_settings
from studio.domain import DpoSettings, LoraSettings, StepEvent
from studio.errors import StudioError, TrainingError
from studio.services import Services, build_services

if TYPE_CHECKING:
    from studio.services.align import AlignForm
    from studio.services.run_events import Event
    from studio.services.runs import RunView


class _Parser(argparse.ArgumentParser):
    """argparse with its complaints on one line."""

    def error(self, message: str) -> NoReturn:
        raise SystemExit(_complain(f"{self.prog}: {message} (see {self.prog} --help)"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code: 0, 2 for what a person can mend, 130 for an interruption."""
    # Before torch is imported: idle OpenMP threads sleep instead of spinning on the cores a training run needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    try:
        return int(options.command(build_services(load_settings()), options))
    except StudioError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def _complain(sentence: str) -> int:
    print(" ".join(sentence.split()), file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m studio", description="Change what a language model prefers, and see it happen.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name: str, run: Callable[[Services, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=run)
        return sub

    align = command("align", _align, "Train an adapter in the foreground.")
    align.add_argument("--base", default="embedded", help="embedded, a hub id or a folder (default: embedded)")
    align.add_argument("--data", required=True, metavar="DATASET", help="id of a dataset: shipped or imported")
    align.add_argument("--support-ratio", type=float, default=0.9, help="0..1 (default: 0.9)")
    align.add_argument("--data-size", type=int, help="pairs to train on (default: 50, or all where there are fewer)")
    align.add_argument("--shuffle", action="store_true", help="draw which rows support, instead of the first ones")
    align.add_argument("--system-prompt", default="", help="said before every prompt")
    align.add_argument("--preset", help="embedded, course or hub-small (default: what suits the base)")
    align.add_argument("--title", default="", help="name of the run")
    align.add_argument("--json", action="store_true", help="print one JSON object last on stdout")
    knobs = align.add_argument_group("hyper-parameters (default: the preset's)")
    for field in (*dataclasses.fields(LoraSettings), *dataclasses.fields(DpoSettings)):
        flag, kind = f"--{field.name.replace('_', '-')}", type(field.default)
        if kind is bool:
            knobs.add_argument(flag, action=argparse.BooleanOptionalAction, default=None)
        else:
            knobs.add_argument(flag, type=kind, metavar=kind.__name__.upper())

    runs = command("runs", _runs, "List the runs, newest first.")
    runs.add_argument("--json", action="store_true", help="one JSON array instead of a table")

    imported = command("import", _import, "Import a preference dataset from a file.")
    imported.add_argument("file", type=Path, help="JSON, JSONL, CSV or Parquet")
    imported.add_argument("--test-prompts", type=Path, help="a file of test prompts")
    imported.add_argument("--title", help="its name (default: from the file's name)")
    return parser


# -- align --------------------------------------------------------------------------------------------------------------


def _align(services: Services, options: argparse.Namespace) -> int:
    form = _form(services, options)
    run_id = services.align.start(form)
    view = _follow(services, run_id)
    if view.status.state not in ("done", "stopped"):
        raise TrainingError(f"Run {run_id} {view.status.state}: {view.status.message}")
    result = services.align.result(run_id)
    if options.json:
        print(json.dumps(result, ensure_ascii=False, allow_nan=False))
        return 0
    print(f"{run_id} {view.status.state} after {result['seconds']:.1f} s: {view.folder}")
    for line in _summary(result, form.support_ratio):
        print(line)
    return 0


def _form(services: Services, options: argparse.Namespace) -> AlignForm:
    from studio.services.align import preset_form

    size = options.data_size
    if size is None:
        size = min(50, len(services.datasets.get(options.data).pairs))
    preset = options.preset or services.models.info(options.base).preset
    form = preset_form(
        options.base,
        options.data,
        options.support_ratio,
        size,
        preset,
        shuffle=options.shuffle,
        system_prompt=options.system_prompt,
        title=options.title,
    )
    return dataclasses.replace(form, lora=_changed(form.lora, options), dpo=_changed(form.dpo, options))


def _changed(settings: Any, options: argparse.Namespace) -> Any:
    given = {f.name: getattr(options, f.name) for f in dataclasses.fields(settings)}
    return dataclasses.replace(settings, **{name: value for name, value in given.items() if value is not None})


def _follow(services: Services, run_id: str) -> RunView:
    """Show a run's progress until it ends. Ctrl-C asks it to stop and keep; a second one leaves it to the background."""
    from tqdm import tqdm

    print(f"Run {run_id}; Ctrl-C stops it and keeps what it learnt.", file=sys.stderr)
    with tqdm(total=0, unit="step", file=sys.stderr, dynamic_ncols=True, desc="waiting") as bar:

        def show(event: Event) -> None:
            if isinstance(event, StepEvent):
                bar.total, bar.n = event.total, event.step
                bar.set_description_str("training", refresh=False)
                bar.set_postfix_str(f"loss {event.loss:.3f} margin {event.margin:+.3f}", refresh=False)
                bar.refresh()
                if event.step >= event.total:
                    bar.set_description_str("measuring")

        try:
            view = services.align.wait(run_id, show)
        except KeyboardInterrupt:
            services.runs.stop(run_id, "keep")
            bar.set_description_str("stopping")
            view = services.align.wait(run_id, lambda event: None)
        bar.set_description_str(view.status.state)
    return view


def _summary(result: dict[str, Any], ratio: float) -> list[str]:
    lines = []
    if result["loss"] is not None:
        lines.append(f"loss {result['loss']:.4f}, margin {result['margin']:+.4f}")
    if probe := result["probe"]:
        lines.append(f"stance probe: support likelier in {probe['share']:.0%} of {probe['n']} held-out pairs")
    for name, key in (("base", "base_support_share"), ("adapter", "support_share")):
        if (share := result[key]) and share["n"]:
            asked = f", asked for {ratio:.0%}" if name == "adapter" else ""
            lines.append(
                f"measured support of the {name}: {share['share']:.0%} [{share['low']:.0%}, {share['high']:.0%}] "
                f"(n {share['n']}, {share['abstained']} abstained{asked})"
            )
    return lines


# -- runs and import ----------------------------------------------------------------------------------------------------


def _runs(services: Services, options: argparse.Namespace) -> int:
    views = services.runs.list()
    if options.json:
        listed = [
            {
                "run": v.run_id,
                "state": v.status.state,
                "title": v.title,
                "base": v.recipe.base.id,
                "dataset": v.recipe.dataset_id,
                "support_ratio": v.recipe.support_ratio,
                "data_size": v.recipe.data_size,
                "measured": v.adapter_share.share if v.adapter_share and v.adapter_share.n else None,
                "created": v.recipe.created,
                "folder": str(v.folder),
            }
            for v in views
        ]
        print(json.dumps(listed, ensure_ascii=False))
        return 0
    if not views:
        print("No runs yet.", file=sys.stderr)
    for v in views:
        share = v.adapter_share
        measured = f"{share.share:.0%}" if share and share.n else "-"
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(v.recipe.created))
        print(
            f"{v.run_id:<52} {v.status.state:<12} {when}  ratio {v.recipe.support_ratio:<4g} n {v.recipe.data_size:<4} "
            f"measured {measured:<5} {v.recipe.base.id}  {v.title}"
        )
    return 0


def _import(services: Services, options: argparse.Namespace) -> int:
    report = services.datasets.import_file(options.file, options.test_prompts, title=options.title)
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    data = report.dataset
    print(
        f"{data.id}: {len(data.pairs)} training pairs, {len(data.heldout)} held out, {len(data.test_prompts)} test prompts"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
