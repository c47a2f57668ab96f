"""The adapters that a server has loaded for this process: a run's own folder where the server answers with it as it was trained, else a
copy of the adapter, scaled or blended, in the temporary folder. The server must see both under the same paths.

The base is asked through an adapter of zeros: vLLM on a CPU (0.32) answers rows without an adapter with the one in its last slot.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from studio.domain.chat import BASE
from studio.errors import ChatServerError, ModelLoadError
from studio.ml.chat.bases import MAX_ADAPTERS
from studio.ml.chat.request import BaseSource, GenRow
from studio.ml.chat.server import ChatServer, RefusedError, Say
from studio.ml.lora.blend import write_sum
from studio.ml.lora.mixed import WEIGHTS, adapter_stamp, adapter_tensors
from studio.ml.lora.weights import not_finite, write_zeros

log = logging.getLogger(__name__)


class Share(NamedTuple):
    """How much of an adapter's update is in an answer; another ``stamp`` is another adapter. The base is its own folder, by 0."""

    run_id: str
    folder: Path
    stamp: tuple[int, int] = (0, 0)
    factor: float = 0.0


@dataclass
class _Held:
    """What the server knows as ``name``: an adapter; ``copy`` is its folder where it was written for it. Not ``loaded``: the base itself."""

    name: str
    copy: Path | None = None
    loaded: bool = True
    uses: int = 0


class ServedAdapters:
    """For the event loop of its server."""

    def __init__(self, server: ChatServer) -> None:
        self._server = server
        self._held: OrderedDict[tuple[Share, ...], _Held] = OrderedDict()
        self._lock = asyncio.Lock()
        # another studio may use the same server
        self._mark = secrets.token_hex(3)
        self._numbers = itertools.count(1)

    @contextlib.asynccontextmanager
    async def serving(
        self, source: BaseSource, served: str, row: GenRow, folders: Mapping[str, Path], say: Say
    ) -> AsyncIterator[str]:
        """The name under which the server answers as ``row`` does; loaded if it has to be, and kept within the block. ``served`` is
        that of the base.

        Raises:
            ModelLoadError: an adapter is missing, broken, or of a kind that cannot be blended or scaled.
            ChatServerError: the server refuses it.
        """
        key = shares_of(row, folders) or (Share(BASE, source.path),)
        async with self._lock:
            if key not in self._held:
                say("The server loads the adapter.")
                bare = key[0].run_id == BASE
                self._held[key] = await (self._load_zeros(source.path, served) if bare else self._load(key))
            held = self._held[key]
            self._held.move_to_end(key)
            held.uses += 1
            unused = [other for other, one in self._held.items() if not one.uses]
            for other in unused[: max(0, len(self._held) - MAX_ADAPTERS)]:
                await self._drop(other)
        try:
            yield held.name
        finally:
            held.uses -= 1

    async def forget(self, name: str) -> None:
        """The server does not know ``name`` any more."""
        async with self._lock:
            for key in [key for key, held in self._held.items() if held.name == name]:
                _remove(self._held.pop(key))

    async def release(self, run_id: str) -> None:
        """Have the server forget what was made of a run's adapter."""
        async with self._lock:
            for key in [key for key in self._held if run_id in {share.run_id for share in key}]:
                await self._drop(key)

    async def close(self) -> None:
        """Have the server forget all of them; what was written for it goes."""
        async with self._lock:
            try:
                for key in list(self._held):
                    await self._drop(key)
            finally:  # whoever waits for this may give up
                for held in self._held.values():
                    _remove(held)
                self._held.clear()

    # -- with the lock held -------------------------------------------------------------------------------------------

    async def _load(self, shares: tuple[Share, ...]) -> _Held:
        plain = [await asyncio.to_thread(_checked, share) for share in shares]
        as_it_is = len(shares) == 1 and shares[0].factor == 1 and plain[0]
        parts = [(share.folder, share.factor) for share in shares]
        copy = None if as_it_is else await asyncio.to_thread(_written, lambda folder: write_sum(parts, folder))
        return await self._loaded(shares[0].run_id, shares[0].folder, copy)

    async def _load_zeros(self, base: Path, served: str) -> _Held:
        copy = await asyncio.to_thread(_written, lambda folder: write_zeros(base, folder))
        try:
            return await self._loaded("base", base, copy)
        except RefusedError as error:  # it takes no adapters, so that none can be mistaken for the base
            log.warning("the base is asked by its own name: %s", error)
            return _Held(served, loaded=False)

    async def _loaded(self, name: str, folder: Path, copy: Path | None) -> _Held:
        held = _Held(f"{name}-{self._mark}-{next(self._numbers)}", copy)
        try:
            await self._server.load_adapter(held.name, str((copy or folder).resolve()))
        except BaseException:
            _remove(held)
            raise
        return held

    async def _drop(self, key: tuple[Share, ...]) -> None:
        held = self._held.pop(key)
        try:
            if held.loaded:
                await self._server.unload_adapter(held.name)
        except ChatServerError as error:  # it is down, or was started anew
            log.info("adapter %s was not unloaded: %s", held.name, error)
        finally:
            _remove(held)


def shares_of(row: GenRow, folders: Mapping[str, Path]) -> tuple[Share, ...]:
    """What ``row`` answers through; empty where that is the base.

    Raises:
        ModelLoadError: an adapter has no weights.
    """
    parts = {row.adapter: 1.0} if row.blend is None else {row.adapter: row.blend.weight}
    if row.blend is not None:
        parts[row.blend.run_id] = 1 - row.blend.weight
    if row.voice is None:
        return ()
    return tuple(
        Share(run_id, folders[run_id], adapter_stamp(folders[run_id]), weight * row.strength)
        for run_id, weight in parts.items()
        if weight
    )


def _checked(share: Share) -> bool:
    """Whether a server reads this adapter as PEFT does: vLLM knows one rank and one scaling an adapter.

    Raises:
        ModelLoadError: it cannot be read, is no plain LoRA, or holds no numbers.
    """
    config, _ = adapter_tensors(share.run_id, share.folder)
    if not_finite(share.folder / WEIGHTS):
        raise ModelLoadError(f"The adapter {share.run_id} gives no numbers (NaN); its weights are broken.")
    return not (config.get("rank_pattern") or config.get("alpha_pattern"))


def _written(write: Callable[[Path], object]) -> Path:
    """A new folder with what ``write`` puts into it."""
    folder = Path(tempfile.mkdtemp(prefix="studio-adapter-"))
    try:
        write(folder)
        folder.chmod(0o755)  # the server may be another user's
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _remove(held: _Held) -> None:
    if held.copy is not None:
        shutil.rmtree(held.copy, ignore_errors=True)
