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
from studio.domain import BASE, DpoSettings, LoraSettings, Message, PaneUpdate, Sampling, StepEvent
from studio.errors import InputError, NotFoundError, StudioError, TrainingError
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


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


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

    compare = command("compare", _compare, "Answer test prompts with the base and adapters, before beside after.")
    compare.add_argument("--adapters", required=True, metavar="RUN[,RUN]", help="run ids, separated by commas")
    compare.add_argument(
        "--prompts", required=True, type=Path, metavar="FILE", help="test prompts: JSON, JSONL, CSV, text"
    )
    compare.add_argument("--out", required=True, type=Path, metavar="FILE", help="where to write: *.csv or *.json")
    compare.add_argument(
        "--system-prompt", help="said before every prompt (default: what the first run was trained with)"
    )
    _add_sampling(compare)

    chat = command("chat", _chat, "Talk to the base and adapters in the terminal; they answer side by side.")
    chat.add_argument("--adapters", metavar="RUN[,RUN]", help="run ids (default: the newest adapter)")
    chat.add_argument("--base", default="", help="another base model, without adapters")
    chat.add_argument("--system-prompt", default="", help="said before the conversation")
    _add_sampling(chat)

    runs = command("runs", _runs, "List the runs, newest first.")
    runs.add_argument("--json", action="store_true", help="one JSON array instead of a table")

    imported = command(
        "import", _import, "Import a preference dataset from a file, or an adapter from a zip or folder."
    )
    imported.add_argument("file", type=Path, help="JSON, JSONL, CSV or Parquet; for an adapter a zip or a folder")
    imported.add_argument("--base", default="", help="base model of an adapter that does not say it")
    imported.add_argument("--test-prompts", type=Path, help="a file of test prompts")
    imported.add_argument("--title", help="its name (default: from the file's name)")
    return parser


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    default = Sampling()
    parser.add_argument(
        "--temperature", type=float, default=default.temperature, help="0 is greedy (default: %(default)s)"
    )
    parser.add_argument("--top-p", type=float, default=default.top_p, help="default: %(default)s")
    parser.add_argument("--max-tokens", type=int, default=default.max_new_tokens, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=default.seed, help="default: %(default)s")


def _sampling(options: argparse.Namespace) -> Sampling:
    return Sampling(options.temperature, options.top_p, options.max_tokens, options.seed)


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


# -- compare and chat ---------------------------------------------------------------------------------------------------


def _compare(services: Services, options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from studio.services.compare import table_records
    from studio.services.formats import read_prompts

    if options.out.suffix.lower() not in (".csv", ".json"):
        raise InputError(f"--out is {str(options.out)!r}; its name must end in .csv or .json.")
    if not options.out.parent.is_dir():
        raise NotFoundError(f"There is no folder {options.out.parent} to write into.")
    adapters = _names(options.adapters)
    system_prompt = options.system_prompt
    if system_prompt is None:
        system_prompt = services.runs.get(adapters[0]).recipe.system_prompt
    prompts, warnings = read_prompts(options.prompts, services.settings.max_upload_mb * 1_000_000)
    _warn(warnings)
    table = None
    with tqdm(total=len(prompts), unit="prompt", file=sys.stderr, dynamic_ncols=True) as bar:
        for table in services.compare.table(prompts, (BASE, *adapters), _sampling(options), system_prompt):
            bar.n = table.done
            bar.set_postfix_str(table.note)
    assert table is not None  # a table yields at least its empty self
    _write_table(options.out, table_records(table))
    print(f"{options.out}: {table.done} prompts, base and {len(adapters)} adapter{'s' * (len(adapters) > 1)}")
    return 0


def _write_table(path: Path, records: list[dict[str, str]]) -> None:
    if path.suffix.lower() == ".json":
        path.write_text(json.dumps(records, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        return
    from studio.services.csv_text import csv_text

    path.write_text(csv_text(list(records[0]), records), encoding="utf-8", newline="")


def _chat(services: Services, options: argparse.Namespace) -> int:
    if options.base:
        panes: tuple[str, ...] = (BASE,)
    elif options.adapters:
        panes = (BASE, *_names(options.adapters))
    else:
        panes = services.compare.default_panes()
    labels = {choice.id: choice.label for choice in services.compare.panes()}
    system = (Message("system", options.system_prompt),) if options.system_prompt else ()
    told: dict[str, tuple[Message, ...]] = dict.fromkeys(panes, system)
    print("An empty line or Ctrl-D ends, /reset starts the conversation over.", file=sys.stderr)
    while question := _ask():
        if question == "/reset":
            told = dict.fromkeys(panes, system)
            continue
        told = {pane: (*messages, Message("user", question)) for pane, messages in told.items()}
        answers = _answer(services, told, labels, options)
        told = {pane: (*messages, Message("assistant", answers[pane])) for pane, messages in told.items()}
    return 0


def _ask() -> str:
    try:
        return input("you> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


def _answer(
    services: Services, told: dict[str, tuple[Message, ...]], labels: dict[str, str], options: argparse.Namespace
) -> dict[str, str]:
    """Print the panes' answers: the first as it is written, the others, written at the same time, after it."""
    from studio.services.compare import PaneChat

    panes = list(told)
    chats = [PaneChat(pane, messages) for pane, messages in told.items()]
    updates: list[PaneUpdate] = []
    print(f"[{labels.get(panes[0], panes[0])}] ", end="", flush=True)
    shown = 0
    for updates in services.compare.stream(chats, _sampling(options), base=options.base):
        print(updates[0].text[shown:], end="", flush=True)
        shown = len(updates[0].text)
    print()
    for pane, update in zip(panes[1:], updates[1:], strict=True):
        print(f"[{labels.get(pane, pane)}] {update.text}")
    return {pane: update.text for pane, update in zip(panes, updates, strict=True)}


def _names(listed: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in listed.split(",") if name.strip())
    if not names:
        raise InputError(f"--adapters is {listed!r}; name at least one run (python -m studio runs lists them).")
    return names


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
                "support_ratio": v.recipe.support_ratio if v.recipe.method == "dpo" else None,
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
    if options.file.suffix.lower() == ".zip" or options.file.is_dir():
        take_in = services.library.import_folder if options.file.is_dir() else services.library.import_zip
        done = take_in(options.file, options.base)
        _warn(done.warnings)
        print(f"{done.run_id}: adapter of {done.base.id}")
        return 0
    report = services.datasets.import_file(options.file, options.test_prompts, title=options.title)
    _warn(report.warnings)
    data = report.dataset
    print(
        f"{data.id}: {len(data.pairs)} training pairs, {len(data.heldout)} held out, {len(data.test_prompts)} test prompts"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
