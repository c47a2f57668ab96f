"""The named endpoint ``/generate`` for programs: one question to several panes."""

from __future__ import annotations

from collections import deque
from typing import Any

import gradio as gr

from studio.domain.chat import BASE, PaneUpdate, Sampling
from studio.domain.data import Message
from studio.services import Services
from studio.services.compare import PaneChat
from studio.ui.page.guard import guarded
from studio.ui.parts.base_needs import require_ready

#: Answers wait in the engine's own line, first in first out; this bounds how many threads wait there.
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 16}


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
    ) -> list[dict[str, Any]]:
        """Answer a question with the base (``base``) and adapters (run ids), all in one batch and in the order given. No
        pane at all means the base and the newest adapter. ``base`` counts where no pane is an adapter."""
        require_ready(services, base)
        choices = [BASE if pane == "base" else pane for pane in panes] or list(services.compare.default_panes())
        system = (Message("system", system_prompt.strip()),) if system_prompt.strip() else ()
        chats = [PaneChat(pane, (*system, Message("user", prompt))) for pane in choices]
        hashes = {choice.id: choice.adapter_hash for choice in services.compare.panes()}
        sampling = Sampling(temperature, top_p, max_new_tokens, seed)
        updates: list[PaneUpdate] = deque(services.compare.stream(chats, sampling, base=base), maxlen=1).pop()
        return [
            {
                "pane": "base" if pane == BASE else pane,
                "adapter_hash": hashes.get(pane, ""),
                "answer": update.text,
                "tokens": update.tokens,
                "tokens_per_second": round(update.tokens_per_second, 1),
                "base_verified": update.verified,
                "note": update.note,
            }
            for pane, update in zip(choices, updates, strict=True)
        ]

    gr.api(guarded(generate), api_name="generate", **MODEL)
