"""Chat: sampling, what a pane shows, the check of the base."""

from __future__ import annotations

from dataclasses import dataclass

#: Pane and adapter name of the untouched base model (PEFT's own name for "no adapter on this row").
BASE = "__base__"
#: What stands behind the @ in the name of the steering vector of a run's pairs.
VECTOR = "vector"
_OTHER = "base:"


def base_pane(base: str) -> str:
    """The name of a pane that shows a base by its id, whatever base the other panes are of."""
    return _OTHER + base


def is_base(pane: str) -> bool:
    """Whether a pane shows a base without an adapter: :data:`BASE` or a :func:`base_pane`."""
    return pane == BASE or pane.startswith(_OTHER)


def named_base(pane: str) -> str:
    """The base that a :func:`base_pane` names; empty for every other pane."""
    return pane[len(_OTHER) :] if pane.startswith(_OTHER) else ""


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn. ``temperature`` 0 is greedy; ``repetition_penalty`` counts what the answer itself has said, 1 is off; with
    equal ``seed``, prompt and adapter an answer repeats, whatever the other panes hold (up to rounding, see ``ml/chat/decoding.py``)."""

    temperature: float = 0.8
    top_p: float = 0.95
    max_new_tokens: int = 128
    seed: int = 0
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class Blend:
    """A second adapter in a pane: the pane's own one answers with ``weight`` (0 to 1), that of ``run_id`` with the rest."""

    run_id: str
    weight: float


@dataclass(frozen=True)
class PaneUpdate:
    """What one pane shows now.

    Attributes:
        text: the whole answer so far, never ending in half a character.
        tokens: answer tokens so far; ``tokens_per_second`` counts from the start of the answer, prompt included.
        note: one sentence to show below: waiting, loading, stopped, cut, old turns left out; empty mostly.
        verified: for a base pane, whether the base was checked to be untouched; None for adapters and before the check.
        cut: whether the answer was stopped, or cut at the longest answer.
    """

    text: str = ""
    done: bool = False
    tokens: int = 0
    tokens_per_second: float = 0.0
    note: str = ""
    verified: bool | None = None
    cut: bool = False


@dataclass(frozen=True)
class BaseRoom:
    """What loading a base takes (MB) beside what is ``free_mb``, the ids of the bases that are put out of memory for it (``goes``, the one
    unused for longest first), and whether it ``fits`` then."""

    needs_mb: int
    free_mb: int
    goes: tuple[str, ...]
    fits: bool


@dataclass(frozen=True)
class BaseCheck:
    """Whether the base pane really is the base: its logits for a fixed prompt, compared with those taken when it was
    loaded, and its row in a batch mixed with adapters, compared with a batch without any.

    Attributes:
        difference: the largest absolute difference of a logit found; ``tolerance`` what rounding may explain.
        moved: for each adapter in the batch, how far it moves a logit from the base's (0 would be an adapter that does
            nothing).
        at: when, in Unix seconds.
    """

    ok: bool
    difference: float
    tolerance: float
    moved: tuple[tuple[str, float], ...]
    at: float
