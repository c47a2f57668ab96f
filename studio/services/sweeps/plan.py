"""What a sweep trains: the forms of its runs, from one form and lists of what varies."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from studio.domain.sweeps import Axis
from studio.errors import InputError
from studio.services.align.form import AlignForm

#: Runs of a sweep at most: an hour or two on a small base.
MAX_RUNS = 60
RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)
#: *Robust beside plain*: the losses compared, and the share of the labels that is flipped on purpose.
ROBUST_LOSSES, ROBUST_FLIPS = ("sigmoid", "robust", "ipo"), 0.3
#: What is drawn from left to right is the first of these that varies.
AXES: tuple[Axis, ...] = ("ratio", "loss", "data_size", "beta")


@dataclass(frozen=True)
class SweepForm:
    """What a person chose for a sweep, unchecked: a form, and the values that take turns in it. An empty list leaves what the form has.
    Every combination is a run."""

    form: AlignForm
    ratios: tuple[float, ...] = ()
    losses: tuple[str, ...] = ()
    data_sizes: tuple[int, ...] = ()
    betas: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()

    @property
    def axis(self) -> Axis:
        """What is drawn from left to right."""
        lists: tuple[Sequence[Any], ...] = (self.ratios, self.losses, self.data_sizes, self.betas)
        return next((axis for axis, values in zip(AXES, lists, strict=True) if len(values) > 1), "ratio")

    def with_default(self) -> SweepForm:
        """This form, over :data:`RATIOS` where nothing but seeds takes turns."""
        varies = self.ratios or self.losses or self.data_sizes or self.betas
        return self if varies else replace(self, ratios=RATIOS)

    def forms(self) -> list[AlignForm]:
        """The forms of the runs, in the order they are trained; those of one seed follow each other.

        Between its start and its end a run of a sweep answers nothing and probes nothing: what is drawn is its end.

        Raises:
            InputError: there are too many, or they would not start from the base.
        """
        if self.form.start_run:
            raise InputError(
                f"start_run is {self.form.start_run}; the runs of a sweep start from the base: choose the base itself under Start from."
            )
        dpo = self.form.settings
        lists: list[Sequence[Any]] = [
            self.seeds or [dpo.seed],
            self.ratios or [self.form.support_ratio],
            self.losses or [dpo.loss_type],
            self.data_sizes or [self.form.data_size],
            self.betas or [dpo.beta],
        ]
        made = list(dict.fromkeys(itertools.product(*lists)))
        if not 1 < len(made) <= MAX_RUNS:
            raise InputError(
                f"A sweep has 2 to {MAX_RUNS} runs and this one {len(made)}: every combination of the lists, once for each seed."
            )
        return [self._form(*values) for values in made]

    def _form(self, seed: int, ratio: float, loss: str, data_size: int, beta: float) -> AlignForm:
        form, dpo = self.form, self.form.settings
        smoothing = dpo.label_smoothing
        if loss == "robust" and not smoothing:
            smoothing = min(dpo.flip_share, 0.49)
        elif len(self.losses) > 1 and loss != "robust":
            smoothing = 0.0  # it would make another loss of the plain one
        settings = replace(
            dpo, seed=seed, loss_type=loss, beta=beta, label_smoothing=smoothing, sample_every=0, probe_every=0
        )
        varied = {
            "ratio": f"ratio {ratio:g}",
            "loss": loss,
            "data_size": f"{data_size} pairs",
            "beta": f"beta {beta:g}",
        }
        name = [varied[self.axis], *([f"seed {seed}"] if len(self.seeds) > 1 else [])]
        title = f"{form.title or 'Sweep'}: {', '.join(name)}"
        return replace(form, support_ratio=ratio, data_size=data_size, settings=settings, title=title)


def robust_beside_plain(form: AlignForm, seeds: tuple[int, ...] = ()) -> SweepForm:
    """The ready sweep: all pairs prefer support, a share of the labels is flipped on purpose, and plain DPO, the robust loss told of that
    share, and IPO stand side by side."""
    settings = replace(form.settings, flip_share=ROBUST_FLIPS, label_smoothing=0.0)
    title = form.title or "Robust beside plain"
    return SweepForm(
        replace(form, support_ratio=1.0, settings=settings, title=title), losses=ROBUST_LOSSES, seeds=seeds
    )


def seeds_from(first: int, count: int) -> tuple[int, ...]:
    """``count`` seeds from ``first`` on.

    Raises:
        InputError: fewer than one, or too many.
    """
    if not 1 <= count <= MAX_RUNS:
        raise InputError(f"seeds is {count}; it must be between 1 and {MAX_RUNS}.")
    return tuple(range(first, first + count))
