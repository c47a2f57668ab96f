"""``sweep``: one thing varied over many runs, in the foreground."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from studio.cli.align import add_align_flags, align_form
from studio.cli.common import Commands, command, numbers
from studio.errors import InputError, TrainingError
from studio.services import Services

if TYPE_CHECKING:
    from studio.services.sweeps.plan import SweepForm
    from studio.services.sweeps.service import SweepView

_POLL_S = 0.5


def add(commands: Commands) -> None:
    """Register the command."""
    sweep = command(
        commands,
        "sweep",
        _sweep,
        "Train one adapter for each of several values and measure them: a dose-response curve.",
    )
    sweep.add_argument(
        "--ratios", metavar="R,R", help="support ratios (default: 0,.25,.5,.75,1, unless another list is given)"
    )
    sweep.add_argument("--data-sizes", metavar="N,N", help="numbers of pairs")
    sweep.add_argument("--betas", metavar="B,B", help="values of beta")
    sweep.add_argument("--losses", metavar="NAME,NAME", help="losses, e.g. sigmoid,robust,ipo")
    sweep.add_argument(
        "--seeds", default="1", metavar="N|S,S", help="how many seeds, from --seed on, or which (default: 1)"
    )
    sweep.add_argument(
        "--robust",
        action="store_true",
        help="the ready sweep: 30 %% of the labels flipped; plain DPO, robust and ipo side by side",
    )
    sweep.add_argument("--blend", action="store_true", help="measure the blends of the two outer ratios too")
    add_align_flags(sweep)


def _sweep(services: Services, options: argparse.Namespace) -> int:
    from studio.services.sweeps import result as results

    form = _form(services, options)
    sweep_id = services.sweeps.start(form)
    view = _follow(services, sweep_id)
    if not any(run.has_adapter for run in view.here):
        raise TrainingError(f"No run of {sweep_id} came to an adapter; python -m studio runs says why.")
    if options.blend:
        services.blends.measure(sweep_id, tell=lambda text: print(text, file=sys.stderr))
        view = services.sweeps.get(sweep_id)
    if options.json:
        print(json.dumps(results.result(view), ensure_ascii=False, allow_nan=False))
        return 0
    for point in results.result(view)["points"]:
        share = (
            "not measured"
            if point["share"] is None
            else f"{point['share']:.0%} [{point['low']:.0%}, {point['high']:.0%}] n {point['n']}"
        )
        print(
            f"ratio {point['ratio']:g}, {point['loss']}, {point['data_size']} pairs, beta {point['beta']:g}, seed {point['seed']}: {share}  {point['run']} {point['state']}"
        )
    for sentence in results.sentences(view):
        print(sentence)
    return 0


def _form(services: Services, options: argparse.Namespace) -> SweepForm:
    from studio.services.sweeps.plan import SweepForm, robust_beside_plain, seeds_from

    form = align_form(services, options)
    listed = options.seeds.split(",")
    seeds = (
        tuple(_whole("--seeds", options.seeds))
        if len(listed) > 1
        else seeds_from(form.settings.seed, _whole("--seeds", options.seeds)[0])
    )
    if options.robust:
        return robust_beside_plain(form, seeds)
    return SweepForm(
        form,
        ratios=numbers("--ratios", options.ratios) if options.ratios else (),
        losses=tuple(name.strip() for name in options.losses.split(",")) if options.losses else (),
        data_sizes=tuple(_whole("--data-sizes", options.data_sizes)) if options.data_sizes else (),
        betas=numbers("--betas", options.betas) if options.betas else (),
        seeds=seeds,
    ).with_default()


def _whole(flag: str, listed: str) -> list[int]:
    values = numbers(flag, listed)
    if not all(value.is_integer() for value in values):
        raise InputError(f"{flag} is {listed[:60]!r}; it must be whole numbers.")
    return [int(value) for value in values]


def _follow(services: Services, sweep_id: str) -> SweepView:
    """Show the progress of the whole and of the run at work. Ctrl-C stops all of it and keeps what was learnt; a second one leaves it
    to the background."""
    from tqdm import tqdm

    from studio.services.recipes.queue import ensure_trainer

    print(f"Sweep {sweep_id}; Ctrl-C stops it and keeps what it learnt.", file=sys.stderr)
    view = services.sweeps.get(sweep_id)
    ensured = time.monotonic()
    with tqdm(total=len(view.runs), unit="run", file=sys.stderr, dynamic_ncols=True) as bar:
        while view.moving:
            bar.n = view.ended
            working = next((run for run in view.here if run.status.state in ("running", "stopping")), None)
            status = working.status if working else None
            doing = f"{working.title}, step {status.step}/{status.total}" if working and status else "waiting"
            if doing != bar.postfix:
                bar.set_postfix_str(doing)
            try:
                time.sleep(_POLL_S)
            except KeyboardInterrupt:
                services.sweeps.stop(sweep_id)
            if time.monotonic() - ensured > 5:
                ensure_trainer(services.settings)
                ensured = time.monotonic()
            view = services.sweeps.get(sweep_id)
        bar.n = view.ended
        bar.refresh()
    return view
