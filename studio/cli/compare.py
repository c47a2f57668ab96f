"""``compare`` and ``chat``: the base and adapters side by side."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from studio.cli.common import Commands, add_sampling, blend, command, names, numbers, sampling, warn
from studio.domain.chat import BASE, Blend, PaneUpdate, base_pane, is_base, named_base
from studio.domain.data import Message
from studio.errors import InputError
from studio.services import Services
from studio.services.compare.panes import PaneChat, behind
from studio.services.strength import blended_name
from studio.services.wording import counted

_BLEND = "answer through a blend of two adapters too: the first with weight W (0 to 1), the second with the rest"

_BASE = (
    "bases that answer, separated by commas: names of `bases`, Hub ids, folders or GGUF files (default: that of the first adapter, else "
    "STUDIO_BASE)"
)
_STRENGTH = (
    "how strongly the adapters answer, one value or one for each: 0 is the base, 1 as trained, from -1 to 2 (--strength=-1 for values "
    "below 0; default: %(default)s)"
)
_STEP = "RUN@STEP is one as it was at a step of its training"
_ASK = "said to the base instead: what asking for it does, beside what training did"


def add(commands: Commands) -> None:
    """Register the commands."""
    compare = command(
        commands, "compare", _compare, "Answer test prompts with bases and adapters, before beside after."
    )
    compare.add_argument("--adapters", metavar="RUN[,RUN]", help=f"run ids, separated by commas; {_STEP}")
    compare.add_argument("--base", metavar="BASE[,BASE]", help=_BASE)
    compare.add_argument("--blend", metavar="RUN,RUN,W", help=_BLEND)
    compare.add_argument(
        "--prompts", required=True, type=Path, metavar="FILE", help="test prompts: JSON, JSONL, CSV, text"
    )
    compare.add_argument("--out", required=True, type=Path, metavar="FILE", help="where to write: *.csv or *.json")
    compare.add_argument(
        "--system-prompt", help="said before every prompt (default: what the first run was trained with)"
    )
    compare.add_argument("--base-system-prompt", default="", metavar="TEXT", help=_ASK)
    compare.add_argument("--strength", default="1", metavar="S[,S]", help=_STRENGTH)
    add_sampling(compare)

    explain = command(
        commands,
        "explain",
        _explain,
        "Show which words of an answer an adapter made likelier or less likely than its base.",
    )
    looked_at = explain.add_mutually_exclusive_group(required=True)
    looked_at.add_argument("--run", help=f"the run whose adapter is looked at; {_STEP}")
    looked_at.add_argument("--blend", metavar="RUN,RUN,W", help="a blend of two adapters instead")
    explain.add_argument("--prompt", required=True, metavar="TEXT", help="the question")
    explain.add_argument("--answer", required=True, metavar="TEXT", help="the answer, whoever gave it")
    explain.add_argument("--system-prompt", help="said before the prompt (default: what the run was trained with)")
    explain.add_argument(
        "--strength", type=float, default=1.0, help="from -1 to 2 (default: 1, the adapter as trained)"
    )
    explain.add_argument("--json", action="store_true", help="print one JSON object")

    steer = command(
        commands,
        "measure-vector",
        _measure_vector,
        "Measure the steering vector of a DPO or KTO run's answers as the run was measured, and keep that with the run.",
    )
    steer.add_argument("--run", required=True, metavar="RUN", help="the run; `runs` lists them")
    steer.add_argument("--strength", default="1,2", metavar="S[,S]", help="from -1 to 2 (default: 1,2)")
    steer.add_argument("--json", action="store_true", help="print one JSON object")

    chat = command(commands, "chat", _chat, "Talk to bases and adapters in the terminal; they answer side by side.")
    chat.add_argument("--adapters", metavar="RUN[,RUN]", help=f"run ids (default: the newest adapter); {_STEP}")
    chat.add_argument("--blend", metavar="RUN,RUN,W", help=_BLEND)
    chat.add_argument("--strength", default="1", metavar="S[,S]", help=_STRENGTH)
    chat.add_argument("--base", metavar="BASE[,BASE]", help=_BASE)
    chat.add_argument("--system-prompt", default="", help="said before the conversation")
    chat.add_argument("--base-system-prompt", default="", metavar="TEXT", help=_ASK)
    add_sampling(chat)

    kept = command(commands, "save-blend", _save_blend, "Save a blend of two adapters as an adapter of its own.")
    kept.add_argument(
        "--blend", required=True, metavar="RUN,RUN,W", help="the first with weight W (0 to 1), the second with the rest"
    )


def _measure_vector(services: Services, options: argparse.Namespace) -> int:
    strengths = numbers("--strength", options.strength)
    services.steering.measure(options.run, strengths, lambda share, text: print(text, file=sys.stderr))
    result = services.align.result(options.run)
    if options.json:
        print(json.dumps(result, ensure_ascii=False, allow_nan=False))
        return 0
    measured = [(f"steering vector at {one['strength']:g}", one) for one in result["vector_shares"]]
    for name, share in (
        ("base", result["base_support_share"]),
        *measured,
        ("adapter", result["support_share"]),
    ):
        if share and share["n"]:
            print(
                f"{name}: {share['share']:.0%} [{share['low']:.0%}, {share['high']:.0%}] n {share['n']}, {share['abstained']} abstained"
            )
    return 0


def _compare(services: Services, options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from studio.services.compare.table import table_records
    from studio.services.data.formats import read_prompts
    from studio.services.files.folders import check_file
    from studio.services.lineage.steps import run_of
    from studio.services.texts import check_text

    if options.out.suffix.lower() not in (".csv", ".json"):
        raise InputError(f"--out is {str(options.out)!r}; its name must end in .csv or .json.")
    check_file("--out", options.out)
    bases, adapters, blends = _voices(options)
    if not adapters and len(bases) < 2:
        raise InputError(
            "There is nothing to compare; name adapters with --adapters, two with --blend, or two bases with --base."
        )
    strengths = _strengths(options, len(adapters))
    system_prompt = options.system_prompt
    if system_prompt is None and adapters:
        system_prompt = services.runs.get(run_of(adapters[0])).recipe.system_prompt
    asked = read_prompts(options.prompts, services.settings.max_upload_mb * 1_000_000)
    warn(asked.warnings)
    table = None
    with tqdm(total=len(asked.prompts), unit="prompt", file=sys.stderr, dynamic_ncols=True) as bar:
        for table in services.compare.table(
            asked.prompts,
            (*bases, *adapters),
            sampling(options),
            system_prompt or "",
            ids=asked.ids,
            strengths=(*[1.0] * len(bases), *strengths),
            blends=(*[None] * len(bases), *blends),
            own_prompts=(
                *[check_text("--base-system-prompt", options.base_system_prompt, empty=True)] * len(bases),
                *[""] * len(adapters),
            ),
        ):
            bar.n = table.done
            bar.set_postfix_str(table.note)
    assert table is not None  # a table yields at least its empty self
    _write_table(options.out, table_records(table))
    sides = [counted(len(bases), "base"), *([counted(len(adapters), "adapter")] if adapters else [])]
    print(f"{options.out}: {table.done} prompts, {' and '.join(sides)}")
    return 0


def _voices(options: argparse.Namespace) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Blend | None, ...]]:
    """The bases; the runs of ``--adapters`` and the first one of ``--blend``, and what each is blended with."""
    bases: tuple[str, ...] = (BASE,)
    if options.base is not None:
        bases = tuple(map(base_pane, names(options.base, "--base", "base", "bases")))
    adapters = names(options.adapters) if options.adapters else ()
    blends: tuple[Blend | None, ...] = (None,) * len(adapters)
    if not options.blend:
        return bases, adapters, blends
    first, mixed = blend(options.blend)
    return bases, (*adapters, first), (*blends, mixed)


def _strengths(options: argparse.Namespace, adapters: int) -> tuple[float, ...]:
    """That of each adapter."""
    from studio.services.strength import one_each

    given = numbers("--strength", options.strength)
    return one_each(given, adapters, "--strength", "adapters") if adapters else ()


def _save_blend(services: Services, options: argparse.Namespace) -> int:
    first, mixed = blend(options.blend)
    print(services.library.save_blend(first, mixed.weight, mixed.run_id))
    return 0


def _explain(services: Services, options: argparse.Namespace) -> int:
    from studio.services.strength import check_strength
    from studio.services.texts import check_text
    from studio.services.words import explain

    prompt, answer = check_text("--prompt", options.prompt), check_text("--answer", options.answer)
    strength = check_strength(options.strength, "--strength")
    run, mixed = blend(options.blend) if options.blend else (options.run, None)
    moved = explain(services.compare, services.runs, run, prompt, answer, options.system_prompt, strength, mixed)
    if options.json:
        print(json.dumps(moved.record(), ensure_ascii=False, allow_nan=False))
        return 0
    for token in moved.tokens:
        print(f"{token.difference:+8.3f}  {token.text!r}")
    print(f"{moved.sum:+8.3f}  sum of log pi_adapter - log pi_base, in nats")
    if moved.reward is not None:
        print(f"{moved.reward:+8.3f}  beta x sum, the implicit reward of DPO")
    return 0


def _write_table(path: Path, records: list[dict[str, str]]) -> None:
    if path.suffix.lower() == ".json":
        path.write_text(json.dumps(records, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        return
    from studio.services.files.tables import csv_text

    path.write_text(csv_text(list(records[0]), records), encoding="utf-8-sig", newline="")


def _chat(services: Services, options: argparse.Namespace) -> int:
    bases, adapters, mixed = _voices(options)
    if not adapters and options.base is None:
        adapters = services.compare.default_panes()[1:]
        mixed = (None,) * len(adapters)
    panes, blends = (*bases, *adapters), (*[None] * len(bases), *mixed)
    strengths = (*[1.0] * len(bases), *_strengths(options, len(adapters)))
    prompts = [options.base_system_prompt * is_base(pane) or options.system_prompt for pane in panes]
    fresh = [
        PaneChat(pane, behind(system), strength=strength, blend=blend)
        for pane, system, strength, blend in zip(panes, prompts, strengths, blends, strict=True)
    ]
    chats = fresh
    print("An empty line or Ctrl-D ends, /reset starts the conversation over.", file=sys.stderr)
    while question := _ask():
        if question == "/reset":
            chats = fresh
            continue
        chats = [replace(chat, messages=(*chat.messages, Message("user", question))) for chat in chats]
        answers = _answer(services, chats, options)
        chats = [
            replace(chat, messages=(*chat.messages, Message("assistant", answer)))
            for chat, answer in zip(chats, answers, strict=True)
        ]
    return 0


def _ask() -> str:
    try:
        return input("you> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


def _answer(services: Services, chats: list[PaneChat], options: argparse.Namespace) -> list[str]:
    """Print the panes' answers: the first as it is written, the others, written at the same time, after it."""
    labels = {choice.id: choice.label for choice in services.compare.panes()}
    named = [
        blended_name(labels.get(chat.pane_id, named_base(chat.pane_id) or chat.pane_id), chat.blend) for chat in chats
    ]
    updates: list[PaneUpdate] = []
    print(f"[{named[0]}] ", end="", flush=True)
    shown = 0
    for updates in services.compare.stream(chats, sampling(options)):
        print(updates[0].text[shown:], end="", flush=True)
        shown = len(updates[0].text)
    print()
    for name, update in zip(named[1:], updates[1:], strict=True):
        print(f"[{name}] {update.text}")
    return [update.text for update in updates]
