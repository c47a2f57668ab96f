"""``detox``: train the rudeness out of a model in the foreground, by reinforcement learning."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.cli.common import Commands, add_training, command, follow_and_tell, tell_outlook, training_form
from studio.domain.detox import DetoxSettings, RewardTerm
from studio.domain.settings import LoraSettings
from studio.errors import InputError
from studio.services import Services

if TYPE_CHECKING:
    from studio.services.detox.service import DetoxForm

AUTO = "auto"


def add(commands: Commands) -> None:
    """Register the command."""
    detox = command(commands, "detox", _detox, "Train the rudeness out of a model in the foreground.")
    detox.add_argument("--start", default="", metavar="RUN", help="go on from the adapter of this run")
    detox.add_argument("--data", default="", metavar="DATASET", help="id of a dataset whose prompts to use")
    detox.add_argument(
        "--prompts", action="append", default=[], metavar="SET", help="a prompt set to use; may be given again"
    )
    detox.add_argument(
        "--prompt-file",
        dest="own_prompts",
        metavar="FILE",
        help="prompts of your own: TXT with one a line; JSON, JSONL or CSV with a prompt column",
    )
    detox.add_argument(
        "--reward",
        action="append",
        default=[],
        metavar="SCORER[=WEIGHT]",
        help="what is rewarded (default: the preset's); may be given again for a weighted sum",
    )
    detox.add_argument(
        "--judge",
        default=AUTO,
        metavar="SCORER",
        help="scorer of the end that is not rewarded; none: '' (default: auto)",
    )
    detox.add_argument("--system-prompt", default="", help="put before every prompt")
    add_training(detox, "quick, real-small, course or hub-small", LoraSettings, DetoxSettings)


def _detox(services: Services, options: argparse.Namespace) -> int:
    form = _form(services, options)
    run = services.detox.start(form)
    tell_outlook(services.detox.outlook(form))
    return follow_and_tell(services, run.run_id, options.json, services.detox.result, _summary)


def _form(services: Services, options: argparse.Namespace) -> DetoxForm:
    from studio.services.data.prompts import prompts_from_file
    from studio.services.detox.service import DetoxForm

    options.base = options.base or services.models.default_base()
    own = Path(options.own_prompts) if options.own_prompts else None
    form = training_form(
        DetoxForm,
        options,
        options.preset or services.detox.preset_for(options.base),
        dataset_id=options.data,
        prompt_sets=tuple(options.prompts),
        start_run=options.start,
        judge=options.judge,
        system_prompt=options.system_prompt,
        prompt_file=own.name if own else "",
        own_prompts=prompts_from_file(own) if own else (),
    )
    if not options.reward:
        return form
    terms = tuple(_term(text) for text in options.reward)
    return dataclasses.replace(form, settings=dataclasses.replace(form.settings, rewards=terms))


def _term(text: str) -> RewardTerm:
    """``SCORER`` or ``SCORER=WEIGHT``."""
    name, equals, weight = text.rpartition("=")
    if not equals:
        return RewardTerm(text)
    try:
        return RewardTerm(name, float(weight))
    except ValueError:
        raise InputError(f"--reward is {text!r}; write SCORER or SCORER=WEIGHT with a number.") from None


def _summary(result: dict[str, Any]) -> list[str]:
    lines = []
    if result["reward"] is not None:
        toxicity = "" if result["toxicity"] is None else f", toxicity {result['toxicity']:.2f}"
        lines.append(f"last step: reward {result['reward']:+.2f}{toxicity}, KL {result['kl']:.2f} nats an answer")
    for rude in (result["report"] or {}).get("rude", ()):
        part = "the reward" if rude["was_reward"] else "not the reward"
        lines.append(
            f"rude answers by {rude['scorer']} ({part}): {_share(rude['before'])} before, {_share(rude['after'])} after"
        )
    for name, key in (("start", "start_support_share"), ("adapter", "support_share")):
        if (share := result[key]) and share["n"]:
            lines.append(
                f"measured support of the {name}: {share['share']:.0%} [{share['low']:.0%}, {share['high']:.0%}] (n {share['n']})"
            )
    return lines


def _share(count: dict[str, Any]) -> str:
    if not count["n"]:
        return "no answer covered"
    return f"{count['k']} of {count['n']} [{count['low']:.1%}, {count['high']:.1%}]"
