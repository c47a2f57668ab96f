"""Tiny random classifiers, and a Hub cache that holds them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from studio.domain.toxicity import ScorerInfo, ScorerSpec
from tests.helpers.reward import make_encoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def make_classifier(
    folder: Path,
    labels: Sequence[str] | None = ("nothate", "hate"),
    *,
    kind: Literal["roberta", "bert", "causal"] = "roberta",
    positions: int = 130,
    seed: int = 1,
    **config: Any,
) -> Path:
    """Write a tiny random classifier; ``labels`` None leaves ``id2label`` out of its config (two labels then)."""
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        LlamaConfig,
        LlamaForSequenceClassification,
        RobertaConfig,
        RobertaForSequenceClassification,
    )

    make_encoder(folder, positions=positions)  # for its tokenizer; its weights are replaced below
    sizes: dict[str, Any] = {
        **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64},
        **{"vocab_size": 400, "pad_token_id": 1, "initializer_range": 0.2, "max_position_embeddings": positions},
        **config,
    }
    names = dict(enumerate(labels or ("LABEL_0", "LABEL_1")))
    named = {"id2label": names, "label2id": {name: index for index, name in names.items()}}
    torch.manual_seed(seed)
    model: Any
    if kind == "roberta":
        model = RobertaForSequenceClassification(RobertaConfig(**sizes, **named, type_vocab_size=1))
    elif kind == "bert":
        model = BertForSequenceClassification(BertConfig(**sizes, **named))
    else:
        model = LlamaForSequenceClassification(
            LlamaConfig(**sizes, **named, num_key_value_heads=2, bos_token_id=0, eos_token_id=2)
        )
    model.save_pretrained(folder)
    if labels is None:
        edit_config(folder, id2label=None, label2id=None)
    return folder


def edit_config(folder: Path, **changes: Any) -> None:
    """Change entries of a model's config; None takes one out."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}), encoding="utf-8")


def classifier_spec(folder: Path, labels: Sequence[str], toxic: str, name: str = "org/model") -> ScorerSpec:
    """The spec of a classifier in a folder."""
    info = ScorerInfo(name, "classifier", name, COMMIT, "what it measures", labels=tuple(labels), toxic_label=toxic)
    return ScorerSpec(info, path=str(folder))


def put_in_cache(cache: Path, model_id: str, folder: Path) -> Path:
    """Lay a model folder into a Hub cache, as a download of commit ``COMMIT`` leaves it."""
    home = cache / f"models--{model_id.replace('/', '--')}"
    snapshot = home / "snapshots" / COMMIT
    (home / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    for path in folder.iterdir():
        blob = home / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(blob)
    return snapshot
