"""Settings of a training. Each is declared once, here or in :mod:`studio.domain.detox`: its default, and what a form, a command
line and a check need to know of it. A field added with :func:`setting` has a widget, a flag and bounds; a subclass that gives a
field another default keeps the rest."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any

from studio.errors import RecipeError

SCHEDULERS = ("linear", "cosine", "constant", "constant_with_warmup")
OPTIMIZERS = ("adamw", "paged_adamw_8bit")
#: TRL's loss types that need nothing but the log-probabilities of a pair.
LOSS_TYPES = (
    "sigmoid",
    "ipo",
    "hinge",
    "robust",
    "exo_pair",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sigmoid_norm",
)
#: A reward run that is not told its epochs shows its pairs so many times, and about so many pairs in all.
PASSES, SHOWN = (1.0, 5.0), 600
_MODULES = re.compile(r"^(all-linear|[A-Za-z0-9_.]+(\s*,\s*[A-Za-z0-9_.]+)*)$")


@dataclass(frozen=True)
class Setting:
    """What is known of a setting beside its value. ``kind`` is bool, int, float or str; ``low`` and ``high`` bound a number,
    both included; a text with ``choices`` is one of them; ``step`` is what an arrow key adds in a form."""

    name: str
    kind: type
    label: str
    help: str
    low: float
    high: float
    choices: tuple[str, ...]
    step: float | None

    def check(self, value: Any) -> None:
        """Raises RecipeError for a value out of bounds, with label, name, value and bounds."""
        if self.choices and value not in self.choices:
            raise RecipeError(f"{self.label}: {self.name} is {value!r}; use one of {', '.join(self.choices)}.")
        if self.kind in (int, float) and not self.low <= value <= self.high:  # a NaN fails this too
            raise RecipeError(
                f"{self.label}: {self.name} is {value}; it must be between {self.low:g} and {self.high:g}."
            )


def setting(
    default: Any,
    label: str,
    help: str = "",
    *,
    low: float = -math.inf,
    high: float = math.inf,
    choices: tuple[str, ...] = (),
    step: float | None = None,
) -> Any:
    """A dataclass field that is a setting; see :class:`Setting`. ``help`` is one short sentence."""
    about = {"label": label, "help": help, "low": low, "high": high, "choices": choices, "step": step}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Declared:
    """A dataclass whose fields are settings."""

    @classmethod
    def declared(cls) -> dict[str, Setting]:
        """Its settings by name, those that the class itself declares first, then its parents'."""
        kinds = {f.name: type(f.default) for f in fields(cls)}
        settings: dict[str, Setting] = {}
        for parent in cls.__mro__:
            for name in inspect.get_annotations(parent):
                about = parent.__dict__["__dataclass_fields__"][name].metadata
                if about and name not in settings:
                    settings[name] = Setting(name=name, kind=kinds[name], **about)
        return settings

    def check(self) -> None:
        """Check every setting, then what must fit together.

        Raises:
            RecipeError: the first that is out of bounds, with its label, value and what is allowed.
        """
        for name, declared in self.declared().items():
            declared.check(getattr(self, name))


@dataclass(frozen=True)
class LoraSettings(Declared):
    """LoRA (Hu et al. 2021). ``target_modules`` is ``all-linear`` or comma-separated module names; ``layers`` is ``all``, a number of
    layers counted from the top, or a share of them (``1/3``)."""

    rank: int = setting(8, "Rank r", "How much an update can express.", low=1, high=1024)
    alpha: int = setting(16, "Alpha", "Scales the update by alpha / rank.", low=1, high=4096)
    dropout: float = setting(0.0, "Dropout", "Share of the adapter's inputs dropped.", low=0, high=0.95, step=0.05)
    target_modules: str = setting(
        "all-linear", "Target modules", "Layers that get an adapter: all-linear, or names such as q_proj,v_proj."
    )

    layers: str = setting(
        "all", "Layers", "all, or only the upper ones: a number or a share such as 1/2. Fewer train faster."
    )

    def first_layer(self, count: int) -> int:
        """Index of the lowest of ``count`` layers that is trained; at least the last one is.

        Raises:
            RecipeError: ``layers`` is none of what it may be.
        """
        if self.layers.strip() == "all":
            return 0
        value = self._amount()
        if value is None:
            raise RecipeError(
                f"Layers: layers is {self.layers!r}; write all, a number of layers counted from the top, or a share such as 1/2."
            )
        trained = round(value * count) if value < 1 else int(value)
        return max(0, count - max(1, trained))

    @property
    def share(self) -> Fraction | None:
        """The share of the layers that is trained, above 0 and below 1; None where they are given in another way."""
        value = self._amount()
        return value if value is not None and value < 1 else None

    def _amount(self) -> Fraction | None:
        try:
            value = Fraction(self.layers.strip())
        except (ValueError, ZeroDivisionError):
            return None
        return value if value > 0 else None

    def check(self) -> None:
        """As :meth:`Declared.check`."""
        super().check()
        self.first_layer(1)
        if not _MODULES.match(self.target_modules.strip()):
            raise RecipeError(
                f"target_modules is {self.target_modules!r}; use all-linear or module names such as q_proj,v_proj."
            )


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Declared):
    """What every method of training has: optimiser, schedule, length.

    ``max_seconds`` > 0 ends the run after that many seconds of training instead of after its epochs or steps.
    ``optimizer`` is ``adamw`` or ``paged_adamw_8bit`` (CUDA only; ``adamw`` is taken elsewhere and the run says so).
    """

    learning_rate: float = setting(1e-3, "Learning rate", "Size of a step.", low=1e-9, high=1, step=1e-5)
    max_seconds: float = setting(
        0.0, "Or train for seconds", "Ends the run by the clock; 0: never.", low=0, high=7 * 24 * 3600
    )
    batch_size: int = setting(8, "Batch size", "Pairs through the model at once.", low=1, high=1024)
    warmup_ratio: float = setting(0.1, "Warm-up", "Share of steps with a rising rate.", low=0, high=1, step=0.05)
    scheduler: str = setting("linear", "Schedule", "How the rate falls.", choices=SCHEDULERS)
    optimizer: str = setting("adamw", "Optimizer", "8 bit: CUDA only.", choices=OPTIMIZERS)
    weight_decay: float = setting(0.0, "Weight decay", "Pulls weights to 0.", low=0, high=10, step=0.01)
    max_grad_norm: float = setting(
        1.0, "Gradient clip", "Longer gradients are cut to this.", low=0, high=1000, step=0.1
    )
    max_length: int = setting(512, "Max length", "Prompt and answer together, in tokens.", low=16, high=131072)
    seed: int = setting(42, "Seed", "Of the order of rows and of sampling.", low=0, high=2**32 - 1)
    load_in_4bit: bool = setting(False, "4-bit base", "The frozen base in 4 bits; CUDA only.")

    def warmup_steps(self, steps: int) -> int:
        """Steps of ``steps`` whose rate still rises from 0; never the last one, which may be the only one."""
        return min(math.ceil(steps * self.warmup_ratio), steps - 1)


@dataclass(frozen=True, kw_only=True)
class PairSettings(TrainingSettings):
    """What every training on preference pairs has. ``probe_every`` is steps between two looks at the held-out pairs."""

    epochs: float = setting(5.0, "Epochs", "Passes over the pairs.", low=0, high=1000, step=0.5)
    gradient_accumulation: int = setting(1, "Accumulation", "Batches a step.", low=1, high=1024)
    long_rows: str = setting(
        "cut",
        "Answers too long",
        "Cut at max length, or their rows left out. A prompt that fills it alone is always left out.",
        choices=("cut", "leave-out"),
    )
    probe_every: int = setting(5, "Probe every", "Steps between probes; 0: never.", low=0, high=100_000)

    def steps(self, rows: int) -> int:
        """Optimiser steps of a run over ``rows`` pairs that no time limit ends."""
        batches = math.ceil(rows / self.batch_size)
        return math.ceil(self.passes(rows) * max(1, math.ceil(batches / self.gradient_accumulation)))

    def passes(self, rows: int) -> float:
        """Epochs of a run over ``rows`` pairs."""
        return self.epochs

    @property
    def cuts_answers(self) -> bool:
        """Whether an answer beyond ``max_length`` is cut at its end; else its row is left out."""
        return self.long_rows == "cut"

    def check(self) -> None:
        """As :meth:`Declared.check`."""
        super().check()
        if self.max_seconds <= 0 and self.passes(1) < 0.01:
            raise RecipeError(f"Epochs: epochs is {self.epochs}; it must be at least 0.01, or set max_seconds.")


@dataclass(frozen=True, kw_only=True)
class AnswerSettings(PairSettings):
    """What DPO and KTO have in common: both pull a model that answers away from its reference.

    ``sft_weight`` > 0 adds that multiple of the negative log-likelihood of the preferred answer (TRL's ``sft`` loss; Pang et al.
    2024), without which a high learning rate on few pairs ends in repetition. ``replay_weight`` > 0 adds that multiple of a language-model loss on the base's own answers (see ``ml/dpo/replay.py``).
    """

    beta: float = setting(0.5, "Beta", "Strength of the KL penalty to the base.", low=1e-6, high=1000, step=0.05)
    sft_weight: float = setting(
        0.0,
        "Likelihood term",
        "Weight of the preferred answer's own likelihood beside the loss.",
        low=0,
        high=100,
        step=0.1,
    )
    replay_weight: float = setting(
        0.0, "Replay", "Weight of a loss on the base's own answers.", low=0, high=100, step=0.1
    )
    learning_rate: float = 2e-3
    sample_every: int = setting(5, "Answers every", "Steps between sampled answers; 0: never.", low=0, high=100_000)
    measured_answers: int = setting(
        96,
        "Answers measured",
        "Sampled at the end from base and adapter for the support share; 0: none.",
        low=0,
        high=10_000,
    )


@dataclass(frozen=True, kw_only=True)
class DpoSettings(AnswerSettings):
    """Hyper-parameters of a DPO run (Rafailov et al. 2023).

    ``label_smoothing`` is the assumed flip rate of the ``robust`` loss (Chowdhury et al. 2024).
    ``flip_share`` of the rows are trained on the wrong way round, to see what wrong labels do (see ``services/data/dial.py``).
    ``stance_prefix``: answers of support/oppose data begin with their stance (see ``services/data/stance_prefix.py``).
    """

    loss_type: str = setting("sigmoid", "Loss", "TRL's name of the DPO loss.", choices=LOSS_TYPES)
    label_smoothing: float = setting(
        0.0, "Label smoothing", "Assumed share of wrong labels, for robust.", low=0, high=0.49, step=0.05
    )
    flip_share: float = setting(
        0.0,
        "Labels flipped",
        "Share of the rows whose answers change places on purpose, drawn by lot.",
        low=0,
        high=1,
        step=0.05,
    )
    stance_prefix: bool = setting(
        False,
        "Prefix answers with their stance",
        "Start each answer with its stance (two-sided data, English or Chinese).",
    )

    def check(self) -> None:
        """As :meth:`Declared.check`."""
        super().check()
        if self.loss_type == "exo_pair" and self.label_smoothing == 0:
            raise RecipeError("label_smoothing is 0.0; the loss exo_pair needs it above 0 (0.001 is usual).")


@dataclass(frozen=True, kw_only=True)
class ThumbWeights(Declared):
    """What KTO's loss of an answer with a thumb up or down is multiplied by: both kinds should count alike where one is rarer."""

    desirable_weight: float = setting(
        1.0, "Weight of thumbs up", "Of the loss of liked answers; more where they are rare.", low=0, high=100, step=0.1
    )
    undesirable_weight: float = setting(
        1.0, "Weight of thumbs down", "Of the loss of disliked answers; likewise.", low=0, high=100, step=0.1
    )


@dataclass(frozen=True, kw_only=True)
class KtoSettings(AnswerSettings, ThumbWeights):
    """Hyper-parameters of a KTO run (Ethayarajh et al. 2024, arXiv:2402.01306)."""

    def check(self) -> None:
        """As :meth:`Declared.check`."""
        super().check()
        if self.batch_size < 2:
            raise RecipeError(
                f"Batch size: batch_size is {self.batch_size}; KTO compares the answers of a batch, so use at least 2."
            )


@dataclass(frozen=True, kw_only=True)
class RewardSettings(PairSettings):
    """Hyper-parameters of a reward run: a scalar head on the base, trained with the Bradley-Terry loss
    ``-log sigmoid(reward(chosen) - reward(rejected))`` (Ouyang et al. 2022).

    ``center_rewards`` > 0 adds that multiple of the squared sum of the two rewards (Eisenstein et al. 2023), which keeps
    them around zero. An answer is scored as a whole, so rows with one that is too long are left out unless it may be cut.
    """

    long_rows: str = "leave-out"
    epochs: float = setting(
        5.0, "Epochs", "Passes over the pairs; 0: by their number, 5 for few, 1 for many.", low=0, high=1000, step=0.5
    )
    center_rewards: float = setting(
        0.01, "Centre rewards", "Weight of a pull of rewards to 0.", low=0, high=100, step=0.01
    )

    def passes(self, rows: int) -> float:
        """As :meth:`PairSettings.passes`; where ``epochs`` is 0, as many as show :data:`SHOWN` pairs, within :data:`PASSES`."""
        low, high = PASSES
        return self.epochs or min(high, max(low, round(SHOWN / max(1, rows))))
