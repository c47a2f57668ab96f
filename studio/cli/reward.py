"""``reward`` and ``reward-score``: train a reward model, and ask one."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from studio.cli.common import (
    Commands,
    add_room,
    add_training,
    command,
    dataset_id,
    follow,
    follow_and_tell,
    tell_outlook,
    training_form,
    warn,
    warn_of_long_rows,
)
from studio.domain.chat import BASE
from studio.domain.settings import LoraSettings, RewardSettings
from studio.domain.toxicity import RUN, reward_scorer
from studio.errors import InputError
from studio.services import Services
from studio.services.reward.best_of import BestOfForm, read_best_of

if TYPE_CHECKING:
    from studio.services.reward.service import RewardForm

VOTES, ALL_ROOMS = "votes", "*"


def add(commands: Commands) -> None:
    """Register the commands."""
    reward = command(commands, "reward", _reward, "Train a reward model in the foreground.")
    reward.add_argument(
        "--data",
        required=True,
        metavar="DATASET|FILE|votes",
        action="append",
        help="id of a dataset, a file of preference data, or votes: pairs decided by vote; give it twice for a dataset and votes",
    )
    add_room(reward, "whose votes to learn from", ALL_ROOMS)
    reward.add_argument(
        "--support-ratio", type=float, default=1.0, help="share of the pairs kept as labelled, 0..1 (default: 1)"
    )
    reward.add_argument(
        "--curve", action="store_true", help="train on 25, 50 and 100 %% of the pairs: do we need more votes?"
    )
    reward.add_argument("--data-size", type=int, help="pairs of the dataset to use (default: all)")
    add_training(reward, "embedded, real-small, encoder or hub-small", LoraSettings, RewardSettings)

    score = command(commands, "reward-score", _score, "Score one answer, or two against each other, with a reward run.")
    score.add_argument("--run", required=True, metavar="RUN", help="id of a reward run")
    score.add_argument("--prompt", required=True, help="the prompt that was answered")
    score.add_argument("--response", required=True, help="the answer to score")
    score.add_argument("--response2", help="another answer: gives a margin and a probability")
    score.add_argument("--json", action="store_true", help="print one JSON object")

    best = command(
        commands,
        "reward-best-of",
        _best_of,
        "Show whether a reward run is exploited: the best of n answers by its reward, judged by another scorer, over n.",
    )
    best.add_argument("--run", required=True, metavar="RUN", help="id of a reward run")
    best.add_argument("--judge", default="embedded", metavar="SCORER", help="who judges (default: %(default)s)")
    best.add_argument("--model", default=BASE, metavar="RUN", help="whose adapter answers (default: the base)")
    best.add_argument(
        "--prompts",
        type=int,
        default=BestOfForm.prompts,
        help="held-out prompts of the run's data (default: %(default)s)",
    )
    best.add_argument("--json", action="store_true", help="print one JSON object")


def _reward(services: Services, options: argparse.Namespace) -> int:
    form = _form(services, options)
    lost = services.reward.preview(form).left_out
    if lost is not None and lost.total:
        warn([f"{lost.total} pairs of the votes are left out: {lost}."])
    warn_of_long_rows(services.reward.fit(form))
    *parts, run_id = services.reward.start_curve(form) if options.curve else (services.reward.start(form),)
    tell_outlook(services.reward.outlook(form))
    for part in parts:
        follow(services, part)
    return follow_and_tell(services, run_id, options.json, services.reward.result, _summary)


def _form(services: Services, options: argparse.Namespace) -> RewardForm:
    from studio.services.reward.service import RewardForm

    named = [name for name in options.data if name != VOTES]
    if len(named) > 1:
        raise InputError(f"--data names {len(named)} datasets ({', '.join(named)}); name one, and votes beside it.")
    named = [dataset_id(services, name) for name in named]
    options.base = options.base or services.models.default_base()
    size = options.data_size
    if size is None:
        size = len(services.datasets.get(named[0]).pairs) if named else 0
    return training_form(
        RewardForm,
        options,
        options.preset or services.reward.preset_for(options.base),
        votes=VOTES in options.data,
        room=options.room if options.room == ALL_ROOMS else services.rooms.find(options.room).code,
        dataset_id=named[0] if named else "",
        support_ratio=options.support_ratio,
        data_size=size,
    )


def _summary(result: dict[str, Any]) -> list[str]:
    accuracy, baselines = result["accuracy"], result["baselines"]
    if accuracy is None:
        return ["accuracy was not measured"]
    claim = "better than both baselines" if result["learned"] else "not shown to be better than the baselines"
    curve = result["curve"] or {"points": (), "more_votes": ""}
    return [
        f"held-out accuracy {accuracy['k']} of {accuracy['n']} = {accuracy['k'] / accuracy['n']:.0%} [{accuracy['low']:.0%}, "
        f"{accuracy['high']:.0%}], always the majority side {baselines['majority']:.0%}, the longer answer "
        f"{baselines['longer']:.0%}: {claim}",
        *(
            f"  on {point['rows']} pairs: {point['k']} of {point['n']} = {point['k'] / point['n']:.0%} "
            f"[{point['low']:.0%}, {point['high']:.0%}]"
            for point in curve["points"]
        ),
        *filter(None, [curve["more_votes"]]),
    ]


def _score(services: Services, options: argparse.Namespace) -> int:
    scorer = reward_scorer(options.run)
    if options.response2 is None:
        one = services.scoring.score_checked(scorer, [options.response], [options.prompt], "Answer").scores[0]
        scores: dict[str, Any] = {"run": options.run, "reward": one.reward}
        line = f"reward {one.reward:+.3f}"
    else:
        verdict = services.scoring.compare(scorer, options.prompt, options.response, options.response2)
        scores = {
            "run": options.run,
            "reward": verdict.first.reward,
            "reward2": verdict.second.reward,
            "margin": verdict.margin,
            "probability": verdict.probability,
        }
        line = (
            f"rewards {verdict.first.reward:+.3f} and {verdict.second.reward:+.3f}, margin {verdict.margin:+.3f}: the first is "
            f"preferred with probability {verdict.probability:.0%}"
        )
    print(json.dumps(scores, ensure_ascii=False, allow_nan=False) if options.json else line)
    return 0


def _best_of(services: Services, options: argparse.Namespace) -> int:
    from tqdm import tqdm

    curve = None
    with tqdm(total=options.prompts, unit="prompt", file=sys.stderr) as bar:
        form = BestOfForm(options.run.removeprefix(RUN), options.judge, options.model, options.prompts)
        for now in services.best_of.measure(form):
            bar.total, bar.n, curve = now.total, now.done, now.curve
            bar.refresh()
    assert curve is not None  # nobody cancels it here
    if options.json:
        print(json.dumps({**asdict(curve), "says": read_best_of(curve)}, ensure_ascii=False, allow_nan=False))
        return 0
    for point in curve.points:
        print(
            f"best of {point.n:2}: reward {point.reward.value:+.3f}, toxicity {point.toxicity.value:.3f}, {point.words.value:.0f} words, "
            f"KL at most {point.kl:.2f} nats"
        )
    print(read_best_of(curve))
    return 0
