"""The bases that the chat engine holds, one copy of each, with their adapters. The one unused for longest goes where there are too many,
or where memory is short. Only :meth:`Bases.now` and :meth:`Bases.room` are for other threads than the owner's."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from studio.domain.chat import BaseCheck, BaseRoom
from studio.errors import ModelLoadError
from studio.ml.chat.base_check import BaseChecker
from studio.ml.chat.kept_turns import KeptTurns
from studio.ml.chat.request import BaseSource, GenRow
from studio.ml.lora.blend import blended
from studio.ml.lora.mixed import Adapter, adapter_stamp, read_adapter
from studio.ml.models.loading import (
    SMALL_MODEL,
    Progress,
    choose_dtype,
    load_model,
    load_tokenizer,
    release_memory,
    resolve_device,
)
from studio.ml.models.memory import base_mb, free_mb
from studio.ml.models.prompts import end_tokens, plain_generation

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: Bases kept in memory; adapters kept of each, beyond which the one unused for longest goes.
MAX_BASES, MAX_ADAPTERS = 3, 16


@dataclass
class Loaded:
    """A base in memory: the model with nothing attached, its logits as it was loaded, their newest check, and adapters by last use."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    eos: set[int]
    limit: int
    small: bool
    seq2seq: bool
    checker: BaseChecker
    check: BaseCheck | None = None
    adapters: OrderedDict[str, Adapter] = field(default_factory=OrderedDict)
    turns: KeptTurns = field(default_factory=KeptTurns)

    def adapter(self, name: str, folder: Path, wanted: set[str]) -> Adapter:
        """An adapter by its name, read from ``folder`` where it is not in memory or has changed; those ``wanted`` stay.

        Raises:
            ModelLoadError: see :func:`studio.ml.lora.mixed.read_adapter`.
        """
        stamp = adapter_stamp(folder)
        adapter = self.adapters.get(name)
        if adapter is None or adapter.stamp != stamp:
            adapter = self.adapters[name] = read_adapter(name, folder, self.model)
        self.adapters.move_to_end(name)
        for other in list(self.adapters):
            if len(self.adapters) <= MAX_ADAPTERS:
                break
            if other not in wanted | {name}:
                del self.adapters[other]
        return adapter

    def voices(
        self, rows: Sequence[GenRow], folders: Mapping[str, Path]
    ) -> tuple[dict[str, Adapter], dict[str, Adapter]]:
        """The adapters that rows need by run id, and these with the blends of rows by their names."""
        names = list(dict.fromkeys(name for row in rows for name in row.needs))
        plain = {name: self.adapter(name, folders[name], set(names)) for name in names}
        voices = dict(plain)
        for row in rows:
            if row.blend is not None and row.name not in voices:
                voices[row.name] = blended(row.name, plain[row.adapter], plain[row.blend.run_id], row.blend.weight)
        return plain, voices


def no_room(base: str, room: BaseRoom) -> str:
    """What is said of a base that does not fit."""
    return f"{base} takes about {room.needs_mb:,} MB of memory and {room.free_mb:,} MB are free; choose a smaller base, or end other programs."


class Bases:
    """See the module."""

    def __init__(self, device: str, dtype: str, trust_remote_code: bool) -> None:
        self._device = device
        self._dtype = dtype
        self._trust = trust_remote_code
        self._lock = threading.Lock()
        self._held: OrderedDict[BaseSource, Loaded] = OrderedDict()

    def now(self) -> list[tuple[BaseSource, Loaded]]:
        """What is held just now, the last used one last."""
        with self._lock:
            return list(self._held.items())

    def room(self, source: BaseSource) -> BaseRoom:
        """What loading ``source`` takes. Another state of it, or it in 4 bits, goes first. torch is imported by now."""
        held = [one for one, _ in self.now()]
        place = resolve_device(self._device)
        dtype = choose_dtype(place) if self._dtype == "auto" else self._dtype
        free = free_mb(place)

        def size(base: BaseSource) -> int:
            return base_mb(base.path, dtype, base.load_in_4bit)

        going = [one for one in held if one.path == source.path]
        others = [one for one in held if one not in going]
        needs, room = size(source), free + sum(map(size, going))
        while others and (len(others) >= MAX_BASES or room < needs):
            going.append(others.pop(0))
            room += size(going[-1])
        return BaseRoom(needs, free, tuple(one.ref.id for one in going), room >= needs)

    def ensure(self, source: BaseSource, progress: Progress | None) -> Loaded:
        """A base, loaded where it is not in memory; where it cannot be loaded, what was put out for it stays out.

        Raises:
            ModelLoadError: it cannot be loaded, or does not fit even without the others.
        """
        held = dict(self.now())
        if source not in held:
            self._make_room(source)
            held[source] = self._load(source, progress)
        with self._lock:
            self._held[source] = held[source]
            self._held.move_to_end(source)
        return held[source]

    def release(self, run_id: str) -> None:
        """Forget a run's adapter and its snapshots."""
        gone = False
        for _, loaded in self.now():
            for name in [name for name in loaded.adapters if name.partition("@")[0] == run_id]:
                del loaded.adapters[name]
                gone = True
        if gone:
            release_memory()

    def drop(self) -> None:
        """Free everything."""
        with self._lock:
            self._held.clear()
        release_memory()

    def _make_room(self, source: BaseSource) -> None:
        room = self.room(source)
        if not room.fits:
            raise ModelLoadError(no_room(source.ref.id, room))
        with self._lock:
            for one in [one for one in self._held if one.ref.id in room.goes]:
                del self._held[one]
        release_memory()

    def _load(self, source: BaseSource, progress: Progress | None) -> Loaded:
        if progress:
            progress(0.0, f"Loading {source.ref.id}")
        tokenizer = load_tokenizer(source.path, trust_remote_code=self._trust)
        model = load_model(
            source.path,
            device=self._device,
            dtype=self._dtype,
            load_in_4bit=source.load_in_4bit,
            trust_remote_code=self._trust,
            progress=progress,
        ).requires_grad_(False)
        eos = end_tokens(model, tokenizer)
        model.generation_config = plain_generation(model, tokenizer, eos)
        limits = [getattr(model.config, "max_position_embeddings", None) or 4096, tokenizer.model_max_length]
        small = sum(weights.numel() for weights in model.parameters()) < SMALL_MODEL
        seq2seq = bool(model.config.is_encoder_decoder)
        return Loaded(model, tokenizer, eos, min(limits), small, seq2seq, BaseChecker(model, tokenizer))
