"""Conversations at once, through the chat engine and through a server (vLLM) that ``STUDIO_CHAT_URL`` and ``STUDIO_CHAT_KEY`` name.

Run: ``STUDIO_CHAT_URL=http://127.0.0.1:8000/v1 python tests/benchmarks/bench_served.py``. Each visitor asks one question of the base or of a
shipped adapter, greedy. Prints tokens a second of all together, and median and 95th percentile of the seconds to the first token. Start
the server with the engine's arithmetic (``--dtype float32``, or ``bfloat16`` with ``--dtype bfloat16`` here).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from studio.config import load_settings  # noqa: E402
from studio.domain.chat import BASE, Sampling  # noqa: E402
from studio.domain.data import Message  # noqa: E402
from studio.ml.chat.answerer import Answerer  # noqa: E402
from studio.ml.chat.engine import ChatEngine  # noqa: E402
from studio.ml.chat.request import BaseSource, GenRow  # noqa: E402
from studio.ml.chat.served import ServedAnswerer  # noqa: E402
from studio.ml.chat.server import ChatServer  # noqa: E402
from studio.services.models.service import ModelService  # noqa: E402

ADAPTERS = {name: ROOT / "adapters" / name for name in ("demo-smollm2-10", "demo-smollm2-90")}


def main() -> None:
    """Ask both in turn, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    settings = load_settings()
    source = BaseSource(*ModelService(settings).resolve("smollm2-135m"))
    for name, answerer in (
        ("server", ServedAnswerer(ChatServer(settings.chat_url, settings.chat_key))),
        ("engine", ChatEngine("cpu", lambda: args.threads, dtype=args.dtype)),
    ):
        measure(name, answerer, source, args.visitors, Sampling(0.0, max_new_tokens=args.tokens))
        answerer.close()


def measure(name: str, answerer: Answerer, source: BaseSource, visitors: int, sampling: Sampling) -> None:
    """One line of what ``visitors`` at once are given."""
    voices = [BASE, *ADAPTERS]

    def ask(number: int) -> tuple[float, int]:
        began, first, tokens = time.monotonic(), 0.0, 0
        question = Message("user", f"Should story number {number} be made into a film with real actors?")
        for (update,) in answerer.generate(source, [GenRow((question,), voices[number % 3])], ADAPTERS, sampling):
            tokens = update.tokens
            first = first or (time.monotonic() - began if tokens else 0.0)
        return first, tokens

    for number in range(3):  # what is loaded once is loaded before
        ask(number)
    began = time.monotonic()
    with ThreadPoolExecutor(visitors) as pool:
        answers = list(pool.map(ask, range(3, 3 + visitors)))
    seconds = time.monotonic() - began
    firsts, tokens = sorted(first for first, _ in answers), sum(count for _, count in answers)
    p95 = firsts[max(0, round(0.95 * len(firsts)) - 1)]
    print(
        f"{name}: {tokens} tokens in {seconds:.1f} s, {tokens / seconds:.1f} tokens/s; first token median "
        f"{statistics.median(firsts):.1f} s, p95 {p95:.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
