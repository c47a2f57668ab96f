"""What a second pane costs: answers of the base alone, an adapter alone, and both in one batch; interleaved runs.

Run: ``python tests/benchmarks/bench_chat.py`` (``--base 135m`` for a random-weight Llama of SmolLM2-135M's shape,
``--peft`` to see PEFT's own mixed batch beside it). Weights are random, so that every answer has full length. Prints
seconds (median), the median of the pairwise ratios to the mean of the two single answers, and the process's memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402

from studio.domain.chat import BASE, Sampling  # noqa: E402
from studio.domain.data import Message  # noqa: E402
from studio.ml.chat.engine import ChatEngine, GenRow  # noqa: E402
from tests.helpers.chat_models import LLAMA_135M, SMALL, make_adapter, make_base, source  # noqa: E402

#: About as many bytes, hence tokens here, as a question has tokens in a real vocabulary.
QUESTION = (Message("user", "Should it?"),)
#: As the embedded base.
EMBEDDED = {
    **SMALL,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "vocab_size": 4096,
    "max_position_embeddings": 1024,
}


def main() -> None:
    """Build base and adapters, run the cases in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", choices=("embedded", "135m"), default="embedded")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--peft", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = LLAMA_135M if args.base == "135m" else EMBEDDED
        make_base(folder / "base", dtype="bfloat16", **config)
        adapters = {run: folder / run for run in ("run-a", "run-b", "run-c")}
        for seed, path in enumerate(adapters.values()):
            make_adapter(path, folder / "base", seed, 0.01, r=args.rank, lora_alpha=2 * args.rank)
        engine = ChatEngine("cpu", lambda: args.threads)
        base = source(folder / "base")
        sampling = Sampling(args.temperature, 0.95, args.tokens)
        before = memory()
        engine.load(base)
        loaded = memory()

        def answer(*panes: str) -> Callable[[], float]:
            def run() -> float:
                started = clock()
                rows = [GenRow(QUESTION, pane) for pane in panes]
                updates = list(engine.generate(base, rows, adapters, sampling))[-1]
                assert [update.tokens for update in updates] == [args.tokens] * len(panes), updates
                return clock() - started

            return run

        cases = {
            "base alone": answer(BASE),
            "adapter alone": answer("run-a"),
            "two panes": answer(BASE, "run-a"),
            "four panes": answer(BASE, "run-a", "run-b", "run-c"),
        }
        if args.peft:
            cases |= peft_cases(folder / "base", adapters["run-a"], args.tokens, args.threads)
        times: dict[str, list[float]] = {case: [] for case in cases}
        cases["base alone"]()
        one = memory()
        cases["two panes"]()
        two = memory()
        for run in cases.values():
            run()
        for _ in range(args.runs):
            for case, run in cases.items():
                times[case].append(run())
        print(
            f"{args.base}, {args.tokens} tokens, {args.threads} threads, rank {args.rank}, {args.runs} interleaved runs"
        )
        for case, taken in times.items():
            alone = (
                ("peft base alone", "peft adapter alone")
                if case.startswith("peft")
                else ("base alone", "adapter alone")
            )
            ratios = [t / (a + b) * 2 for t, a, b in zip(taken, times[alone[0]], times[alone[1]], strict=True)]
            to_base = [t / a for t, a in zip(taken, times[alone[0]], strict=True)]
            print(
                f"{case:20s} {statistics.median(taken):7.3f} s   x {statistics.median(ratios):.2f} of one pane"
                f"   x {statistics.median(to_base):.2f} of the base alone"
            )
        print(
            f"memory MB: before {before:.0f}, base loaded {loaded:.0f}, after one pane {one:.0f}, after two {two:.0f}"
        )
        engine.close()


def peft_cases(base: Path, adapter: Path, tokens: int, threads: int) -> dict[str, Callable[[], float]]:
    """The same with PEFT's mixed batch and plain ``generate``."""
    import torch
    from peft import PeftModel

    from studio.ml.models.loading import load_model, load_tokenizer, render_chat

    torch.set_num_threads(threads)
    tokenizer = load_tokenizer(base)
    model = PeftModel.from_pretrained(load_model(base, device="cpu"), adapter, adapter_name="a").eval()
    ids = tokenizer(render_chat(tokenizer, QUESTION), add_special_tokens=False, return_tensors="pt")["input_ids"]

    def answer(*names: str) -> Callable[[], float]:
        def run() -> float:
            started = clock()
            batch = ids.expand(len(names), -1)
            with torch.inference_mode():
                model.generate(
                    input_ids=batch,
                    attention_mask=torch.ones_like(batch),
                    adapter_names=list(names),
                    max_new_tokens=tokens,
                    min_new_tokens=tokens,
                    do_sample=False,
                )
            return clock() - started

        return run

    return {
        "peft base alone": answer(BASE),
        "peft adapter alone": answer("a"),
        "peft two panes": answer(BASE, "a"),
    }


def clock() -> float:
    """Seconds of work of this process: beside other programs a steadier measure than the wall's, and on idle cores the
    same with one thread."""
    return time.process_time()


def memory() -> float:
    """Resident memory of this process in 10^6 bytes."""
    return psutil.Process().memory_info().rss / 1e6


if __name__ == "__main__":
    main()
