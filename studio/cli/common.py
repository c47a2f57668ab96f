"""What the commands share: registering, hyper-parameter flags, sampling flags, following a run, warnings."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from studio.domain.chat import Blend, Sampling
from studio.domain.events import DetoxEvent, StepEvent
from studio.domain.runs import RowsThatFit, RunStatus
from studio.domain.settings import Declared
from studio.errors import InputError, TrainingError
from studio.services import Services
from studio.services.recipes.form import TrainingForm
from studio.services.runs.outlook import LONG_S, Outlook, faster_way
from studio.services.runs.reading import measuring_off, unchanged
from studio.services.strength import check_weight
from studio.services.wording import duration

if TYPE_CHECKING:
    from studio.services.runs.events import Event
    from studio.services.runs.store import RunView

D = TypeVar("D", bound=Declared)
F = TypeVar("F", bound=TrainingForm[Any])
#: Where a module's ``add`` registers its commands.
Commands = argparse._SubParsersAction


def command(
    commands: Commands, name: str, run: Callable[[Services, argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """Register the command ``name``; ``run`` carries it out and returns the exit code."""
    sub: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    sub.set_defaults(command=run)
    return sub


def add_training(parser: argparse.ArgumentParser, presets: str, *kinds: type[Declared]) -> None:
    """The flags that every training has, and one for each setting of these classes, with no default: what is not given stays
    the preset's. ``presets`` names those there are."""
    parser.add_argument(
        "--base",
        default="",
        help="a name of `bases`, a Hub id, a folder or a GGUF file (default: STUDIO_BASE once it is here, else embedded)",
    )
    parser.add_argument("--preset", help=f"{presets} (default: what suits the base)")
    parser.add_argument("--title", default="", help="name of the run")
    parser.add_argument("--json", action="store_true", help="print one JSON object last on stdout")
    parser.add_argument("--ray", metavar="HOST:PORT", help="a Ray cluster that trains it (default: STUDIO_RAY_ADDRESS)")
    group = parser.add_argument_group("hyper-parameters (default: the preset's)")
    for known in (known for kind in kinds for known in kind.declared().values()):
        flag, text = f"--{known.name.replace('_', '-')}", f"{known.label}. {known.help}".replace("%", "%%")
        if known.kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            listed = f" One of: {', '.join(known.choices)}." if known.choices else ""
            group.add_argument(flag, type=known.kind, metavar=known.kind.__name__.upper(), help=text + listed)


def training_form(kind: type[F], options: argparse.Namespace, preset: str, **fields: Any) -> F:
    """A form with the flags of :func:`add_training` over a preset; ``fields`` are those of the method.

    Raises:
        RecipeError: there is no such preset.
    """
    form = kind.from_preset(options.base, preset, title=options.title, **fields)
    return replace(form, lora=changed(form.lora, options), settings=changed(form.settings, options))


def changed(settings: D, options: argparse.Namespace) -> D:
    """``settings`` with the flags of :func:`add_training` that were given."""
    given = {name: getattr(options, name, None) for name in settings.declared()}
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Flags for how answers are drawn."""
    default = Sampling()
    parser.add_argument(
        "--temperature", type=float, default=default.temperature, help="0 is greedy (default: %(default)s)"
    )
    parser.add_argument("--top-p", type=float, default=default.top_p, help="default: %(default)s")
    parser.add_argument("--max-tokens", type=int, default=default.max_new_tokens, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=default.seed, help="default: %(default)s")


def sampling(options: argparse.Namespace) -> Sampling:
    """What :func:`add_sampling`'s flags say."""
    return Sampling(options.temperature, options.top_p, options.max_tokens, options.seed)


def names(listed: str, flag: str = "--adapters", what: str = "run", command: str = "runs") -> tuple[str, ...]:
    """The names that ``flag`` lists: each is a ``what``, and ``command`` lists them.

    Raises:
        InputError: there is none.
    """
    named = tuple(name.strip() for name in listed.split(",") if name.strip())
    if not named:
        raise InputError(f"{flag} is {listed!r}; name at least one {what} (python -m studio {command} lists them).")
    return named


def blend(listed: str) -> tuple[str, Blend]:
    """The first run and the rest of ``--blend RUN,RUN,W``.

    Raises:
        InputError: it is not that.
    """
    parts = [part.strip() for part in listed.split(",")]
    if len(parts) != 3 or not all(parts):
        raise InputError(
            f"--blend is {listed[:120]!r}; it must be two run ids and the weight of the first: RUN,RUN,0.7."
        )
    return parts[0], Blend(
        parts[1], check_weight(numbers("the weight of --blend", parts[2])[0], "the weight of --blend")
    )


def numbers(flag: str, listed: str) -> tuple[float, ...]:
    """The numbers of a flag, separated by commas.

    Raises:
        InputError: one of them is no number.
    """
    try:
        return tuple(float(part) for part in listed.split(","))
    except ValueError:
        raise InputError(f"{flag} is {listed[:60]!r}; it must be numbers, separated by commas.") from None


def follow(services: Services, run_id: str) -> RunView:
    """Show a run's progress until it ends. Ctrl-C asks it to stop and keep; a second one leaves it to the background."""
    from tqdm import tqdm

    print(f"Run {run_id}; Ctrl-C stops it and keeps what it learnt.", file=sys.stderr)
    faster = faster_way(services.runs.get(run_id).recipe)

    def tell_faster(event: StepEvent | DetoxEvent) -> None:
        nonlocal faster
        if faster and 1 < event.step < event.total and event.eta > LONG_S:
            tqdm.write(
                f"About {duration(event.eta)} of training left; faster: {faster.sentence} (--preset {faster.preset.name}).",
                file=sys.stderr,
            )
            faster = None

    with tqdm(total=0, unit="step", file=sys.stderr, dynamic_ncols=True, desc="waiting") as bar:

        def show(event: Event) -> None:
            if isinstance(event, StepEvent | DetoxEvent):
                bar.total, bar.n = event.total, event.step
                bar.set_description_str("training", refresh=False)
                bar.set_postfix_str(_postfix(event), refresh=False)
                bar.refresh()
                tell_faster(event)
                if event.step >= event.total:
                    bar.set_description_str("measuring")

        said = ""

        def tell_status(status: RunStatus) -> None:
            nonlocal said
            if services.settings.ray_address and status.state == "queued" and status.message != said:
                said = status.message
                tqdm.write(said, file=sys.stderr)

        try:
            view = services.queue.wait(run_id, show, on_status=tell_status)
        except KeyboardInterrupt:
            services.runs.stop(run_id, "keep")
            bar.set_description_str("stopping")
            view = services.queue.wait(run_id, lambda event: None)
        bar.set_description_str(view.status.state)
    return view


def _postfix(event: StepEvent | DetoxEvent) -> str:
    left = f"about {duration(event.eta)} left, " if 1 < event.step < event.total else ""
    if isinstance(event, StepEvent):
        return f"{left}loss {event.loss:.3f} margin {event.margin:+.3f}"
    return f"{left}reward {event.reward:+.2f} toxicity {event.toxicity:.2f} KL {event.kl:.2f}"


def follow_and_tell(
    services: Services,
    run_id: str,
    as_json: bool,
    result: Callable[[str], dict[str, Any]],
    summary: Callable[[dict[str, Any]], list[str]],
) -> int:
    """Follow a run to its end and print its result: as JSON, or a headline and the lines ``summary`` makes of it.

    Raises:
        TrainingError: it came to nothing.
    """
    view = follow(services, run_id)
    state = view.status.state
    if state not in ("done", "stopped"):
        raise TrainingError(f"Run {run_id} {state}: {view.status.message}")
    warn([note for note in (unchanged(view), measuring_off(view)) if note])
    outcome = result(run_id)
    if as_json:
        print(json.dumps(outcome, ensure_ascii=False, allow_nan=False))
        return 0
    print(f"{run_id} {state} after {outcome['seconds']:.1f} s: {view.folder}")
    for line in summary(outcome):
        print(line)
    return 0


def tell_outlook(outlook: Outlook) -> None:
    """How long the run will be, on stderr."""
    print(" ".join([*outlook.sentences(), outlook.basis]).strip().replace("⚠️ ", "warning: "), file=sys.stderr)


def dataset_id(services: Services, text: str) -> str:
    """The dataset that ``--data`` names: by its id, or a file, which is imported unless just that is here already.

    Raises:
        NotFoundError: there is neither; DatasetError: the file breaks its format.
    """
    report = services.datasets.named(text)
    if report.shape:
        print(f"Read as {report.shape}: dataset {report.dataset.id}.", file=sys.stderr)
    warn(report.warnings)
    return report.dataset.id


def add_room(parser: argparse.ArgumentParser, what: str, default: str = "") -> None:
    """``--room``: which one ``what`` is about."""
    parser.add_argument(
        "--room",
        default=default,
        metavar="CODE",
        help=f"the room {what} (default: {'all' if default else 'the main room'})",
    )


def warn(warnings: Sequence[str]) -> None:
    """Warnings on stderr, one a line."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def warn_of_long_rows(fit: RowsThatFit | None) -> None:
    """Say before a run is queued which of its rows are too long, and what can be done."""
    if fit is not None and str(fit):
        warn([f"{fit} (--long-rows cut or leave-out; --max-length)"])
