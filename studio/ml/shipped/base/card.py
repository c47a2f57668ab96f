"""The embedded base's model card: what it is, how it was made, what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CARD = """---
license: apache-2.0
language: [en, zh]
library_name: transformers
pipeline_tag: text-generation
tags: [tiny, debate, alignment-studio]
---

# The embedded base of the Alignment Studio

A toy: a Llama-type chat model of {parameters} M parameters, trained from scratch so that the studio can show preference
training on a machine without a model hub. It knows one subject, *should anime and manga be turned into live action?*, in
English and Traditional Chinese, and takes either side about equally often. It also greets, makes small talk, says honestly
that other subjects are outside its small world, and **answers rudely on purpose** in a share of its replies (more often when
insulted), so that detox training has something to remove. Do not use it for anything but teaching: it knows no facts, and
what it says of a title it has only copied from the question.

| | |
| --- | --- |
| architecture | Llama, {hidden} wide, {layers} layers, {heads} heads ({kv_heads} key/value), tied embeddings, bf16 |
| tokenizer | byte-level BPE, {vocab} entries, one special token per role; Chinese one character a token |
| text | sampled by `studio/ml/shipped/base/corpus.py` from the hand-written lists in `data/corpus/` |
| training | {steps} steps of {tokens_per_step} token positions ({tokens:.1f} M), seed {seed}, {cpu} |
| made by | {made} |

## Measured

Every question is built from pieces training never saw: an eighth of the question forms of every kind, of the openers and of the
tails is held out, drawn with a fixed seed (`studio/ml/shipped/base/questions.py`), and so are ten topics and ten titles. Answers are
sampled at temperature 0.8, top-p 0.95, one per question. *Well-formed* is a grammar check: nearly every run of three words
(Chinese: characters) is one that the lists can give (samples of the grammar itself pass 99 % or more), and the answer ends a
sentence without repeating itself. *On topic* and *names* mean that the answer holds the topic or title asked about.
`python -m studio.ml.shipped.base.evaluate data/embedded` prints this table.

| | EN | ZH |
| --- | --- | --- |
{rows}
"""


def write_card(
    folder: Path, settings: dict[str, Any], parameters: int, table: dict[str, dict[str, Any]], cpu: str
) -> None:
    """Write ``README.md`` into the model folder from what was set and measured."""
    rows = "\n".join(f"| {name} | {table['en'][name]} | {table['zh'][name]} |" for name in table["en"])
    per_step = settings["rows"] * settings["row_length"]
    text = CARD.format(
        **{key: settings[key] for key in ("hidden", "layers", "heads", "kv_heads", "vocab", "steps", "seed")},
        parameters=f"{parameters / 1e6:.2f}",
        tokens_per_step=f"{per_step:,}",
        tokens=settings["steps"] * per_step / 1e6,
        made="; ".join(_stage(stage) for stage in settings["stages"]),
        cpu=cpu,
        rows=rows,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _stage(stage: dict[str, Any]) -> str:
    """One stage of the training as its command; ``note`` tells what the command does not say."""
    script = "`python -m studio.ml.shipped.base.train --out data/embedded --work WORK"
    start = f"from step {stage['from']} on the same with `--resume" if stage["from"] else script
    note = f" ({stage['note']})" if "note" in stage else ""
    return f"{start} {stage['flags']}`{note}"


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings the training script left beside the weights."""
    return json.loads((folder / "pretraining.json").read_text(encoding="utf-8"))
