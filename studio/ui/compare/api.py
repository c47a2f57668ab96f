"""The named endpoint ``/generate`` for programs: one question to several panes."""

from __future__ import annotations

from collections import deque
from typing import Any

import gradio as gr

from studio.domain.chat import BASE, PaneUpdate, Sampling
from studio.domain.data import Message
from studio.errors import InputError
from studio.services import Services, words
from studio.services.compare import PaneChat, check_sampling
from studio.services.strength import one_each
from studio.services.texts import check_text
from studio.ui.compare.talk import MAX_PANES, MAX_QUESTION
from studio.ui.page.arguments import checked
from studio.ui.page.guard import guarded
from studio.ui.page.lines import MODEL
from studio.ui.parts.base_needs import require_ready


def add_api(services: Services) -> None:
    """Add the endpoint to the Blocks being built."""

    def generate(
        prompt: str,
        panes: list[str],
        system_prompt: str = "",
        temperature: float = 0.8,
        top_p: float = 0.95,
        max_new_tokens: int = 128,
        seed: int = 1,
        base: str = "embedded",
        strengths: list[float] | None = None,
    ) -> list[dict[str, Any]]:
        """Answer a question with the base (``base``) and adapters (run ids), all in one batch and in the order given. No
        pane at all means the base and the newest adapter. ``base`` counts where no pane is an adapter. ``strengths`` are the
        panes', or one for all: 0 is the base, 1 the adapter as trained, from -1 to 2."""
        if len(panes) > MAX_PANES:
            raise InputError(f"panes names {len(panes):,} models; at most {MAX_PANES} answer side by side.")
        check_text("prompt", prompt, limit=MAX_QUESTION)
        check_text("system_prompt", system_prompt, limit=MAX_QUESTION, empty=True)
        sampling = Sampling(temperature, top_p, max_new_tokens, seed)
        check_sampling(sampling)
        require_ready(services, base)
        choices = [BASE if pane == "base" else pane for pane in panes] or list(services.compare.default_panes())
        system = (Message("system", system_prompt.strip()),) if system_prompt.strip() else ()
        factors = one_each(strengths or (), len(choices), of="panes")
        chats = [
            PaneChat(pane, (*system, Message("user", prompt)), strength=strength)
            for pane, strength in zip(choices, factors, strict=True)
        ]
        hashes = {choice.id: choice.adapter_hash for choice in services.compare.panes()}
        updates: list[PaneUpdate] = deque(services.compare.stream(chats, sampling, base=base), maxlen=1).pop()
        return [
            {
                "pane": "base" if pane == BASE else pane,
                "adapter_hash": hashes.get(pane, ""),
                "strength": None if pane == BASE else strength,
                "answer": update.text,
                "tokens": update.tokens,
                "tokens_per_second": round(update.tokens_per_second, 1),
                "base_verified": update.verified,
                "note": update.note,
            }
            for pane, strength, update in zip(choices, factors, updates, strict=True)
        ]

    def explain(
        run: str, prompt: str, answer: str, system_prompt: str | None = None, strength: float = 1.0
    ) -> dict[str, Any]:
        """How much likelier a run's adapter makes each token of an answer than its base does: log-probabilities in nats, their
        differences and their sum; ``reward`` is beta times the sum, the implicit reward of DPO (null for other methods). Without a
        system prompt the one the run was trained with is taken."""
        check_text("prompt", prompt, limit=MAX_QUESTION)
        check_text("answer", answer, limit=MAX_QUESTION)
        check_text("system_prompt", system_prompt or "", limit=MAX_QUESTION, empty=True)
        return words.explain(services.compare, services.runs, run, prompt, answer, system_prompt, strength).record()

    gr.api(guarded(checked(generate)), api_name="generate", **MODEL)
    gr.api(guarded(checked(explain)), api_name="explain", **MODEL)
