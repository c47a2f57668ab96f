"""What a base needs, told before anything is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from studio.domain.bases import QUESTION_ANSWER, KnownBase
from studio.domain.chat import Sampling
from studio.errors import ModelLoadError
from studio.ml.models.gguf import check_gguf
from studio.ml.models.memory import count_weights
from studio.ml.models.seq2seq import is_encoder_decoder
from studio.services.models.conversion import GROWTH, read_source


@dataclass(frozen=True)
class ModelInfo:
    """A base model to choose.

    Attributes:
        id: ``embedded``, the name of a known base, a Hub id, a folder, or a GGUF file.
        params: number of weights; 0 where unknown before downloading.
        download_mb: what is still to be downloaded (10^6 bytes); 0 when it is here.
        memory_mb: about what chatting takes, weights and working space; 0 where unknown.
        needs: one sentence that says both, fit to be shown before loading.
        cached: it can be loaded without a network.
        load_in_4bit: meant to be loaded in 4 bits.
        preset: training preset that suits it (``services/recipes/presets.py``).
        seq2seq: an encoder-decoder (T5 and its kin); unknown, thus false, for a Hub id that is not downloaded yet.
        licence, languages: empty where unknown; terms: address of terms to be accepted before it is fetched, else empty.
        sources: where it comes from, in the order in which they are tried.
        sampling: how its answers are drawn unless somebody says otherwise.
        frame: the frame in which it is asked for want of a chat template, else empty.
    """

    id: str
    title: str
    kind: Literal["embedded", "local", "hub"]
    params: int
    download_mb: int
    memory_mb: int
    needs: str
    cached: bool
    load_in_4bit: bool = False
    preset: str = "hub-small"
    seq2seq: bool = False
    licence: str = ""
    languages: str = ""
    terms: str = ""
    sources: tuple[str, ...] = ()
    frame: str = ""
    sampling: Sampling = field(default_factory=Sampling)


def folder_info(folder: Path, model_id: str, title: str) -> ModelInfo:
    """What the model in a folder needs.

    Raises:
        ModelLoadError: it is not a model folder, or has no safetensors.
    """
    if not (folder / "config.json").is_file():
        raise ModelLoadError(f"{folder} is not a model folder: it has no config.json.")
    if (folder / "adapter_config.json").exists():
        raise ModelLoadError(f"{folder} is an adapter, not a base model; import it in the Library.")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelLoadError(f"{folder} has no *.safetensors; other weight formats are not read, for safety.")
    params = sum(count_weights(path) for path in files)
    seq2seq = is_encoder_decoder(folder)
    licence = str((read_source(folder) or {}).get("licence", ""))
    return measured(
        ModelInfo(
            model_id,
            title,
            "local",
            params,
            0,
            0,
            "",
            True,
            seq2seq=seq2seq,
            licence=licence,
            sources=("this machine",),
            frame=frame_of(folder),
            sampling=sampling_of(folder),
        )
    )


def sampling_of(folder: Path) -> Sampling:
    """How a base's own ``generation_config.json`` draws; the studio's defaults for what it does not say."""
    try:
        config = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = {}
    own: dict[str, Any] = {
        name: float(config[name])
        for name in ("temperature", "top_p", "repetition_penalty")
        if isinstance(config, dict) and isinstance(config.get(name), int | float)
    }
    return replace(Sampling(), **own)


def with_known(info: ModelInfo, known: KnownBase) -> ModelInfo:
    """The same with what is known of the base beforehand."""
    here = ["this machine"] if info.cached else []
    elsewhere = [*(["Python package registry"] if known.package else []), "Hub"]
    return measured(
        replace(
            info,
            load_in_4bit=known.load_in_4bit,
            preset=known.preset,
            seq2seq=info.seq2seq or known.seq2seq,
            licence=known.licence,
            languages=known.languages,
            terms=known.terms,
            sources=(*here, *elsewhere),
            frame=info.frame if info.cached or known.chat else QUESTION_ANSWER,
            sampling=known.sampling or info.sampling,
        ),
        known,
    )


def measured(info: ModelInfo, known: KnownBase | None = None) -> ModelInfo:
    """The same with its memory and the sentence about it: 2 bytes a weight (0.7 in NF4 with its scales and the parts
    left in bfloat16), and a tenth for the working space, on top of the ~400 MB of the program itself."""
    memory = megabytes(info.params * (0.7 if info.load_in_4bit else 2) * 1.1) + 400
    size = f"{info.params / 1e9:.1f} B" if info.params >= 1e9 else f"{info.params / 1e6:.1f} M"
    first = "ready" if info.cached else f"download {info.download_mb:,} MB"
    if not info.cached and known and known.package:
        first = f"download {megabytes(known.package.download):,} MB from the package registry, or {info.download_mb:,} MB from the Hub"
    needs = f"{size} parameters · {first} · {memory:,} MB of memory{' in 4 bits' if info.load_in_4bit else ''}"
    if info.params >= 1e8 and not info.load_in_4bit:
        needs += ", double without bfloat16"
    needs += "."
    if known:
        needs += f" {known.languages[0].upper()}{known.languages[1:]}; {known.licence}."
        needs += "" if known.measured else " Not measured with this studio."
    if info.frame:
        needs += " It has no chat template: it is asked as “Question: … Answer:”."
    return replace(info, memory_mb=memory, needs=needs)


def gguf_info(file: Path) -> ModelInfo:
    """What a GGUF file needs that is not converted yet.

    Raises:
        ModelLoadError: it is none.
    """
    check_gguf(file)
    size = megabytes(file.stat().st_size)
    needs = f"A GGUF file of {size:,} MB. It is converted once, which takes about a minute and up to {GROWTH * size:,} MB of disk."
    return ModelInfo(str(file), file.name, "local", 0, 0, 0, needs, False, sources=("this machine",))


def frame_of(folder: Path) -> str:
    """The frame in which the base in a folder is asked: none where it has a chat template or reads no chats."""
    if is_encoder_decoder(folder) or any(
        (folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")
    ):
        return ""
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return "" if isinstance(config, dict) and config.get("chat_template") else QUESTION_ANSWER


def megabytes(size: float) -> int:
    """Bytes as 10^6 bytes."""
    return round(size / 1e6)
