"""Which label of a text classifier is the toxic one, and how its logits become probabilities: read from its ``config.json``.

The activation is chosen as transformers' text-classification pipeline does it: by ``problem_type``, else by the number of
labels.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from studio.errors import InputError, ModelLoadError

Activation = Literal["softmax", "sigmoid"]

#: Classifiers whose toxic label is known.
KNOWN = {"facebook/roberta-hate-speech-dynabench-r4-target": "hate", "unitary/toxic-bert": "toxic"}
#: Names of toxic labels, without signs and in small letters: where several kinds are told apart, the first kind wins.
_NAMES = (
    {"toxic", "toxicity"},
    {
        *("hate", "hateful", "hatespeech", "offensive", "offensivelanguage", "abuse", "abusive"),
        *("profane", "profanity", "rude", "harmful"),
    },
)
_UNNAMED = re.compile(r"label_?\d+", re.IGNORECASE)
#: What comes of transformers for a config without ``id2label``.
_DEFAULT_LABELS = 2


@dataclass(frozen=True)
class Labels:
    """A classifier's ``names`` in the order of its logits, the index of the ``toxic`` one, and the activation."""

    names: tuple[str, ...]
    toxic: int
    activation: Activation


def read_labels(folder: Path, model_id: str, picked: str = "") -> Labels:
    """The labels of the classifier in ``folder``; ``picked`` is the toxic one where somebody chose it by hand.

    Raises:
        ModelLoadError: no config that can be read, no text classifier, or one that gives no probabilities.
        InputError: its labels have no names, none or several of them name toxicity, or it has no label ``picked``.
    """
    names, activation = read_names(folder, model_id)
    return Labels(names, _toxic(names, model_id, picked), activation)


def read_names(folder: Path, model_id: str) -> tuple[tuple[str, ...], Activation]:
    """The labels of a classifier and its activation, whichever of them is toxic.

    Raises:
        ModelLoadError: as :func:`read_labels`.
    """
    config = _config(folder, model_id)
    kinds = [str(kind) for kind in config.get("architectures") or []]
    if kinds and not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        raise ModelLoadError(
            f"{model_id} is no text classifier ({', '.join(kinds)[:80]}); choose a model of the Hub's text-classification task."
        )
    names = _names(config)
    problem = config.get("problem_type")
    if problem == "regression":
        raise ModelLoadError(
            f"{model_id} is a regression model, whose output is no probability; choose a text classifier."
        )
    sigmoid = problem == "multi_label_classification" or len(names) == 1
    return names, "sigmoid" if sigmoid else "softmax"


def _config(folder: Path, model_id: str) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{model_id} has no config.json that can be read.") from error
    if not isinstance(config, dict):
        raise ModelLoadError(f"{model_id} has no config.json that can be read.")
    return config


def _names(config: dict[str, Any]) -> tuple[str, ...]:
    names = config.get("id2label")
    if isinstance(names, dict) and names and all(str(key).isdigit() for key in names):
        return tuple(str(names[key]) for key in sorted(names, key=int))
    count = config.get("num_labels") or config.get("_num_labels") or _DEFAULT_LABELS
    return tuple(f"LABEL_{index}" for index in range(count if isinstance(count, int) else _DEFAULT_LABELS))


def _toxic(names: tuple[str, ...], model_id: str, picked: str) -> int:
    listed = ", ".join(names[:20])[:300]
    if picked:
        toxic = [index for index, name in enumerate(names) if name == picked] or [
            index for index, name in enumerate(names) if name.casefold() == picked.casefold()
        ]
        if len(toxic) != 1:
            raise InputError(f"{model_id} has no label {picked[:60]!r}; its labels are {listed}.")
        return toxic[0]
    if (known := KNOWN.get(model_id)) in names:
        return names.index(known)
    if all(_UNNAMED.fullmatch(name) for name in names):
        raise InputError(
            f"{model_id} does not name its labels ({listed}: no id2label in its config), so which one is toxic cannot be told: look "
            f"it up on the model's page and write {model_id}#{names[-1]}."
        )
    for kind in _NAMES:
        toxic = [i for i, name in enumerate(names) if re.sub(r"[\W_]+", "", name).casefold() in kind]
        if len(toxic) == 1:
            return toxic[0]
        if toxic:
            break
    why = "several labels that may be the toxic one" if toxic else "no label that names toxicity"
    raise InputError(f"{model_id} has {why}; pick one of {listed} and write {model_id}#LABEL with it.")
