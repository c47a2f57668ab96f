"""Named endpoints for programs: ``/generate`` and ``/stream`` put one question to several panes, ``/explain`` tells the words that
moved."""

from __future__ import annotations

import functools
import inspect
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, TypeVar

import gradio as gr

from studio.domain.chat import BASE, Blend, Sampling, is_base, named_base
from studio.domain.data import Message
from studio.errors import InputError
from studio.services import Services, words
from studio.services.compare.panes import PaneChat, behind, check_sampling
from studio.services.strength import one_each
from studio.services.texts import check_text
from studio.ui.compare.talk import MAX_PANES, MAX_QUESTION
from studio.ui.page.arguments import checked
from studio.ui.page.guard import guarded
from studio.ui.page.lines import MODEL
from studio.ui.parts.base_needs import require_ready

Value = TypeVar("Value")
#: Seconds between two states of answers that stream.
EVERY_S = 0.08


def add_api(services: Services) -> None:
    """Add the endpoints to the Blocks being built."""

    def stream(
        prompt: str,
        panes: list[str],
        system_prompt: str = "",
        temperature: float = 0.8,
        top_p: float = 0.95,
        max_new_tokens: int = 128,
        seed: int = 1,
        base: str = "embedded",
        strengths: list[float] | None = None,
        blend_with: list[str] | None = None,
        weights: list[float] | None = None,
        system_prompts: list[str] | None = None,
    ) -> Iterator[list[dict[str, Any]]]:
        """The answers of ``/generate`` as far as they are, again and again until they are whole; the same parameters."""
        if len(panes) > MAX_PANES:
            raise InputError(f"panes names {len(panes):,} models; at most {MAX_PANES} answer side by side.")
        check_text("prompt", prompt, limit=MAX_QUESTION)
        check_text("system_prompt", system_prompt, limit=MAX_QUESTION, empty=True)
        sampling = Sampling(temperature, top_p, max_new_tokens, seed)
        check_sampling(sampling)
        choices = [BASE if pane == "base" else pane for pane in panes] or list(services.compare.default_panes())
        for name in (base, *filter(None, map(named_base, choices))):
            require_ready(services, name)
        own = _one_a_pane("system_prompts", system_prompts or [], len(choices)) or [""] * len(choices)
        systems = [check_text("system_prompts", text, limit=MAX_QUESTION, empty=True).strip() for text in own]
        factors = one_each(strengths or (), len(choices), of="panes")
        blends = _blends(blend_with or [], weights or [], len(choices))
        chats = [
            PaneChat(pane, behind(said or system_prompt, [Message("user", prompt)]), strength=strength, blend=blend)
            for pane, said, strength, blend in zip(choices, systems, factors, blends, strict=True)
        ]
        hashes = {pane: services.compare.adapter_hash(pane) for pane in choices if not is_base(pane)}
        bases = services.compare.bases_of(choices, base)
        shown = 0.0
        for updates in services.compare.stream(chats, sampling, base=base):
            if not all(update.done for update in updates) and time.monotonic() - shown < EVERY_S:
                continue
            shown = time.monotonic()
            yield [
                {
                    "pane": "base" if pane == BASE else pane,
                    "adapter_hash": hashes.get(pane, ""),
                    "base": bases[pane].id,
                    "strength": None if is_base(pane) else strength,
                    "blend_with": blend.run_id if blend else None,
                    "weight": blend.weight if blend else None,
                    "own_system_prompt": said or None,
                    "answer": update.text,
                    "tokens": update.tokens,
                    "tokens_per_second": round(update.tokens_per_second, 1),
                    "base_verified": update.verified,
                    "note": update.note,
                }
                for pane, said, strength, blend, update in zip(choices, systems, factors, blends, updates, strict=True)
            ]

    @functools.wraps(stream, assigned=("__annotations__",))
    def generate(*args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """Answer a question with bases and adapters (run ids, or RUN@STEP), in the order given, those of one base in one batch. No pane at
        all means the base and the newest adapter. The pane ``base`` is the base of the first adapter, the parameter ``base`` where there
        is none; ``base:NAME`` is another base. ``strengths`` are the
        panes', or one for all: 0 is the base, 1 the adapter as trained, from -1 to 2. ``blend_with`` names for each pane a second adapter to
        blend its own with (empty: none), ``weights`` the own one's weight from 0 to 1 (.5 where it is not given). ``system_prompts``
        are the panes' own (empty: ``system_prompt``)."""
        return deque(stream(*args, **kwargs), maxlen=1).pop()

    generate.__signature__ = inspect.signature(stream).replace(return_annotation="list[dict[str, Any]]")  # type: ignore[attr-defined]

    def explain(
        run: str,
        prompt: str,
        answer: str,
        system_prompt: str | None = None,
        strength: float = 1.0,
        blend_with: str = "",
        weight: float = 0.5,
    ) -> dict[str, Any]:
        """How much likelier a run's adapter makes each token of an answer than its base does: log-probabilities in nats, their
        differences and their sum; ``reward`` is beta times the sum, the implicit reward of DPO (null for other methods). Without a
        system prompt the one the run was trained with is taken. ``blend_with`` names a second adapter, which answers with 1 -
        ``weight``: see ``/generate``."""
        check_text("prompt", prompt, limit=MAX_QUESTION)
        check_text("answer", answer, limit=MAX_QUESTION)
        check_text("system_prompt", system_prompt or "", limit=MAX_QUESTION, empty=True)
        blend = Blend(blend_with, weight) if blend_with else None
        return words.explain(
            services.compare, services.runs, run, prompt, answer, system_prompt, strength, blend
        ).record()

    gr.api(guarded(checked(generate)), api_name="generate", **MODEL)
    gr.api(guarded(checked(stream)), api_name="stream", **MODEL)
    gr.api(guarded(checked(explain)), api_name="explain", **MODEL)


def _one_a_pane(name: str, given: list[Value], panes: int) -> list[Value]:
    if given and len(given) != panes:
        raise InputError(f"{name} has {len(given)} values for {panes} panes; give one for each.")
    return given


def _blends(blend_with: list[str], weights: list[float], panes: int) -> list[Blend | None]:
    """The blend of each pane; None where it has none."""
    _one_a_pane("blend_with", blend_with, panes)
    _one_a_pane("weights", weights, panes)
    if weights and not blend_with:
        raise InputError("weights are given without blend_with; name the second adapters.")
    seconds, shares = blend_with or [""] * panes, weights or [0.5] * panes
    return [Blend(run_id, weight) if run_id else None for run_id, weight in zip(seconds, shares, strict=True)]
