"""Texts scored a second: our classifier scorer against a plain ``pipeline("text-classification", batch_size=16)``.

Same random model, same texts of mixed lengths (log-uniform from 3 words to the model's limit), same threads; interleaved runs,
each in the other order than the one before. Run: ``python tests/benchmarks/bench_scoring.py --runs 7``. Prints the medians and the
median of the pairwise ratios; ends with 1 below ``--wanted``, or where the two do not give the same probabilities.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from studio.domain.toxicity import ScorerInfo, ScorerSpec  # noqa: E402
from studio.ml.scorers.classifier import ClassifierScorer  # noqa: E402
from tests.helpers.scorers import make_classifier  # noqa: E402

#: A quarter of RoBERTa base in depth and a third in width: large enough that arithmetic counts, small enough to be made here.
SIZE = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
WORDS = ["river", "stone", "cloud", "lamp", "garden", "window", "paper", "silver", "morning", "bread"]


def mixed_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of 3 to 300 words, short ones as frequent as long ones on a log scale."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=round(3 * 100 ** draw.random()))) for _ in range(count)]


def main() -> int:
    """Interleave the two and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--wanted", type=float, default=1.5)
    options = parser.parse_args()

    import torch
    from transformers import pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    texts = mixed_texts(options.texts)
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_classifier(Path(scratch) / "model", ("nothate", "hate"), positions=514, **SIZE)
        info = ScorerInfo("bench", "classifier", "bench", "0", "", labels=("nothate", "hate"), toxic_label="hate")
        ours = ClassifierScorer(ScorerSpec(info, path=str(folder)), device="cpu")
        theirs = pipeline("text-classification", model=str(folder), device="cpu", top_k=None, batch_size=16)
        seconds: dict[str, list[float]] = {"ours": [], "pipeline": []}
        found: dict[str, Any] = {}

        def timed(name: str) -> None:
            began = time.perf_counter()
            found[name] = ours.score(texts) if name == "ours" else theirs(texts, truncation=True)
            seconds[name].append(time.perf_counter() - began)

        ours.score(texts[:16])
        theirs(texts[:16], truncation=True)
        for run in range(options.runs):
            for name in ("ours", "pipeline")[:: 1 if run % 2 else -1]:
                timed(name)
    off = max(
        abs(score.toxicity - next(one["score"] for one in listed if one["label"] == "hate"))
        for score, listed in zip(found["ours"], found["pipeline"], strict=True)
    )
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["pipeline"], strict=True)]
    ratio = statistics.median(ratios)
    for name, values in seconds.items():
        print(f"{name:<10}{len(texts) / statistics.median(values):8.1f} texts/s (median of {len(values)})")
    print(
        f"ratio {ratio:.2f} [{min(ratios):.2f}, {max(ratios):.2f}], n {len(ratios)}, {len(texts)} texts, {options.threads} thread(s); "
        f"largest difference of a probability {off:.1e}"
    )
    return 0 if ratio >= options.wanted and off < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
