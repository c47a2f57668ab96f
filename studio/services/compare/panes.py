"""What a pane is asked, and how its answers are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from studio.domain.chat import Blend, Sampling
from studio.domain.data import Message
from studio.errors import InputError


@dataclass(frozen=True)
class PaneChat:
    """A pane (the base, a :func:`studio.domain.chat.base_pane`, a run or RUN@STEP) and its own conversation, the new question last (a system message may come first). ``seed`` None takes that
    of the sampling; ``strength`` is how strongly its adapter answers, alone or in a ``blend`` (see :mod:`studio.services.strength`)."""

    pane_id: str
    messages: tuple[Message, ...]
    seed: int | None = None
    strength: float = 1.0
    blend: Blend | None = None

    @property
    def adapters(self) -> tuple[str, ...]:
        """The base, or the runs whose adapters answer."""
        return (self.pane_id,) if self.blend is None else (self.pane_id, self.blend.run_id)


def check_sampling(sampling: Sampling) -> None:
    """Raises InputError, naming the value, where a sampling setting is out of range."""
    ranges = {
        "temperature": (0, 5),
        "max_new_tokens": (1, 4096),
        "seed": (0, 2**63 - 1),
        "repetition_penalty": (0.5, 2),
    }
    for name, (low, high) in ranges.items():
        value = getattr(sampling, name)
        if not low <= value <= high:
            raise InputError(f"{name} is {value}; it must be between {low} and {high}.")
    if not 0 < sampling.top_p <= 1:
        raise InputError(f"top_p is {sampling.top_p}; it must be above 0 and at most 1.")


def behind(system_prompt: str, messages: Sequence[Message] = ()) -> tuple[Message, ...]:
    """``messages`` behind a system prompt; alone where that is empty."""
    said = system_prompt.strip()
    return (*([Message("system", said)] if said else []), *messages)


def row_seed(seed: int, index: int) -> int:
    """Another seed for each prompt, so that two prompts do not share their noise."""
    return (seed + 1_000_003 * (index + 1)) % 2**63
