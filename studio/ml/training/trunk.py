"""Training the upper layers alone, over kept hidden states of the layers below.

Where LoRA sits in the last layers only, nothing below the first of them changes during a run: what comes out of those layers
(the *trunk*) is computed once for each prompt and answer and kept, in memory or in memory-mapped files, and each step runs the
layers above (the *tail*) alone. The decoder is called as it is, with the kept states as its ``inputs_embeds`` and the tail as
its ``layers``, so that rotary embeddings and masks stay the model's own affair. Families that change ``inputs_embeds`` on the
way in (Gemma 2 scales them) give other numbers that way: :meth:`Trunk.difference` compares with the full forward pass first.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.ml.training.pairs import EncodedAnswer, pad_answers
from studio.ml.training.shared_prompts import Below, Layout, batches, causal_of, layout

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

#: Rows compared with the full forward pass before a run relies on kept states.
CHECKED_ROWS = 4
#: Relative difference of a hidden state beyond which the two ways are not the same arithmetic: some steps of bfloat16.
TOLERANCE = 0.02
#: Hidden states held in memory, and kept on disk for all bases and runs together (bytes).
MEMORY_BYTES, DISK_BYTES = 2**29, 2**32
#: Tokens of a batch while the states are computed.
_BATCH_TOKENS = 4096


def open_trunk(
    model: Any,
    first: int,
    answers: Sequence[EncodedAnswer],
    pad_id: int,
    folder: Path | None,
    memory_bytes: int = MEMORY_BYTES,
    disk_bytes: int = DISK_BYTES,
) -> Trunk | None:
    """The trunk of ``model`` below layer ``first`` with the states of ``answers`` in it; None where a run has to go through all
    layers, which the log says: the states would take more than ``disk_bytes``, or give other numbers than the full forward
    pass (:data:`CHECKED_ROWS` rows are compared).

    Args:
        folder: ``<cache>/<base and layer>``; None where the base has no name to keep states under.
    """
    if first == 0:
        return None
    trunk = Trunk(model, first, folder, memory_bytes)
    size = trunk.size_of({answer.key: answer for answer in answers}.values())
    if size > (disk_bytes if folder else memory_bytes):
        _log.warning("Hidden states of this run would take %.1f GB; it goes through all layers instead.", size / 1e9)
        return None
    if not trunk.exact(answers, pad_id):
        return None
    if folder:
        prune(folder.parent, disk_bytes - size)
    trunk.add(answers, pad_id)
    return trunk


class Trunk:
    """The kept states of one base below layer ``first``.

    Args:
        model: a causal language model or a PEFT model around one.
        first: index of the first layer that is trained; layers ``0 … first - 1`` are the trunk.
        folder: where states are kept between runs; None keeps them in memory only.
        memory_bytes: states beyond this are read from their files at each step instead of being held in memory.
    """

    def __init__(self, model: Any, first: int, folder: Path | None, memory_bytes: int) -> None:
        self.first = first
        self._causal, self._decoder = causal_of(model), decoder_of(model)
        self._width = int(self._decoder.config.get_text_config().hidden_size)
        self._folder, self._memory_bytes = folder, memory_bytes
        self._kept: dict[str, torch.Tensor] = {}
        self._held = 0
        self._last: tuple[torch.Tensor, torch.Tensor] | None = None

    def add(self, answers: Sequence[EncodedAnswer], pad_id: int) -> None:
        """Compute and keep the states of those ``answers`` that are not known yet.

        Raises:
            OSError: the folder cannot be written.
        """
        import torch

        missing = list({a.key: a for a in answers if a.key not in self._kept and not self._read(a)}.values())
        for chosen in batches(self._causal, missing, _BATCH_TOKENS):
            some = [missing[index] for index in chosen]
            batch = pad_answers(some, pad_id, self._decoder.device)
            rows = layout(self._causal, batch.input_ids, batch.completion_mask)
            with torch.no_grad():
                states = rows.taken_apart(self._below(rows.ids, **rows.options)).cpu()
            for row, answer in enumerate(some):
                self._keep(answer, states[row, : len(answer)].clone())

    def size_of(self, answers: Iterable[EncodedAnswer]) -> int:
        """Bytes that the states of ``answers`` take."""
        weights = next(self._decoder.parameters())
        return sum(map(len, answers)) * self._width * weights.element_size()

    def states(self, answers: Sequence[EncodedAnswer]) -> torch.Tensor:
        """The kept states of ``answers`` as one batch ``[rows, tokens, hidden]``, zero where shorter rows end."""
        import torch

        device = next(self._decoder.parameters()).device
        return torch.nn.utils.rnn.pad_sequence([self._kept[a.key] for a in answers], batch_first=True).to(device)

    @contextlib.contextmanager
    def reading(self, answers: Sequence[EncodedAnswer]) -> Iterator[None]:
        """Within the block a model called with the right-padded ids of ``answers`` goes on from their kept states, through the
        layers above the trunk alone."""
        with self._above(self.states(answers)) as given:

            def begin(_: Any, args: Any, kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
                return (), {**kwargs, "input_ids": None, **given}

            handle = self._decoder.register_forward_pre_hook(begin, with_kwargs=True)
            try:
                yield
            finally:
                handle.remove()

    def kept(self, answers: Sequence[EncodedAnswer]) -> Below:
        """What the decoder is given for a batch of ``answers``: their kept states."""
        return lambda layout: self._above(layout.laid_out(self.states(answers)))

    def fresh(self, layout: Layout) -> contextlib.AbstractContextManager[dict[str, torch.Tensor]]:
        """As :meth:`kept`, of states that are computed here and held until other ones come: for answers that are new in each step and
        read more than once in it."""
        import torch

        if self._last is None or not torch.equal(self._last[0], layout.ids):
            with torch.no_grad():
                self._last = layout.ids, self._below(layout.ids, **layout.options)
        return self._above(self._last[1])

    @contextlib.contextmanager
    def _above(self, states: torch.Tensor) -> Iterator[dict[str, torch.Tensor]]:
        """Within the block the decoder consists of the layers above the trunk; gives what it begins with: ``states``
        ``[rows, tokens, hidden]``."""
        with _layers(self._decoder, slice(self.first, None)):
            yield {"inputs_embeds": states}

    def exact(self, answers: Sequence[EncodedAnswer], pad_id: int) -> bool:
        """Whether the tail over kept states gives the numbers of all layers, within :data:`TOLERANCE`; the log says so if not."""
        difference = self.difference(answers, pad_id)
        if difference > TOLERANCE:
            _log.warning(
                "On this base the upper layers alone give other numbers than all layers (relative difference %.2g); "
                "the run goes through all layers.",
                difference,
            )
        return difference <= TOLERANCE

    def difference(self, answers: Sequence[EncodedAnswer], pad_id: int) -> float:
        """Largest difference of a last hidden state between tail over kept states and the full forward pass, relative to the
        largest value there (the adapter, if any, is in both); infinite where the layers cannot be called apart."""
        import torch

        rows = answers[:CHECKED_ROWS]
        ids = pad_answers(rows, pad_id, self._decoder.device).input_ids
        with torch.no_grad():
            full = self._decoder(input_ids=ids, use_cache=False).last_hidden_state.float()
            states = self._below(ids)
            try:
                with self._above(states) as given:
                    upper = self._decoder(**given, use_cache=False).last_hidden_state.float()
            except (TypeError, ValueError, IndexError, RuntimeError) as error:
                _log.warning("The layers of this base cannot be called apart: %s", error)
                return math.inf
        worst = 0.0
        for row, answer in enumerate(rows):
            real = slice(0, len(answer))
            apart = float((full[row, real] - upper[row, real]).abs().max() / full[row, real].abs().max())
            worst = max(worst, apart if math.isfinite(apart) else math.inf)
        return worst

    def _below(self, ids: torch.Tensor, **options: torch.Tensor) -> torch.Tensor:
        """Output of the last trunk layer ``[rows, tokens, hidden]`` for right-padded ``ids`` ``[rows, tokens]``; ``options`` go to the
        decoder."""
        seen: list[torch.Tensor] = []

        def record(_: Any, __: Any, output: Any) -> None:
            seen.append(output[0] if isinstance(output, tuple) else output)

        handle = self._decoder.layers[self.first - 1].register_forward_hook(record)
        try:
            with _layers(self._decoder, slice(0, self.first)):
                self._decoder(input_ids=ids, use_cache=False, **options)
        finally:
            handle.remove()
        return seen[0]

    def _path(self, answer: EncodedAnswer) -> Path | None:
        return self._folder / f"{answer.key[:40]}.bin" if self._folder else None

    def _read(self, answer: EncodedAnswer) -> bool:
        """Take the states of ``answer`` from their file; whether they are there whole."""
        import torch

        path = self._path(answer)
        weights = next(self._decoder.parameters())
        size = len(answer) * self._width
        if path is None or not path.is_file() or path.stat().st_size != size * weights.element_size():
            return False
        os.utime(path)
        mapped = torch.from_file(str(path), shared=False, size=size, dtype=weights.dtype).view(len(answer), -1)
        self._hold(answer, mapped)
        return True

    def _keep(self, answer: EncodedAnswer, states: torch.Tensor) -> None:
        path = self._path(answer)
        if path is None:
            self._kept[answer.key] = states
            return
        import torch

        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(states.contiguous().view(torch.uint8).numpy().tobytes())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        self._read(answer)

    def _hold(self, answer: EncodedAnswer, mapped: torch.Tensor) -> None:
        """Keep the states in memory while there is room, else as the mapped file they are."""
        size = mapped.numel() * mapped.element_size()
        if self._held + size <= self._memory_bytes:
            mapped, self._held = mapped.clone(), self._held + size
        self._kept[answer.key] = mapped


def decoder_of(model: Any) -> Any:
    """The decoder of a causal language model or of a PEFT model around one."""
    return causal_of(model).base_model


def decoder_layers(model: Any) -> Any:
    """The layers of a decoder, lowest first; None for a family that keeps them under another name than ``layers``."""
    return getattr(decoder_of(model), "layers", None)


def prune(folder: Path, limit: int = DISK_BYTES) -> None:
    """Delete the states unused for longest until those below ``folder`` take at most ``limit`` bytes."""
    files = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob("*/*.bin"))
    total = sum(size for _, size, _ in files)
    for _, size, path in files:
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size


@contextlib.contextmanager
def _layers(decoder: Any, part: slice) -> Iterator[None]:
    """Within the block ``decoder`` has only these of its layers; their kinds (sliding or full attention), which some families
    look up by place, move along."""
    from torch import nn

    layers, config = decoder.layers, decoder.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    decoder.layers = nn.ModuleList(list(layers)[part])
    if kinds:
        config.layer_types = list(kinds)[part]
    try:
        yield
    finally:
        decoder.layers = layers
        if kinds:
            config.layer_types = kinds
