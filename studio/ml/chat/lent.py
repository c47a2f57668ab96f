"""Answers on a GPU of ZeroGPU: each batch is one GPU call. Where none is lent, the engine of this process answers on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from studio.domain.chat import BaseCheck, PaneUpdate, Sampling
from studio.errors import GpuRefusedError, StudioError
from studio.ml.chat.engine import ChatEngine
from studio.ml.chat.request import BaseSource, GenRow, check_rows
from studio.ml.zerogpu import gpu_call, gpu_refusals

#: Seconds that a call is asked for: to fork, begin CUDA and load a base, and for each token of a batch. Guesses, on the long side: the quota
#: is charged by what is used.
START_S, TOKEN_S = 20, 0.06

Given = tuple[list[PaneUpdate], BaseCheck | None] | StudioError


class LentEngine(ChatEngine):
    """A chat engine on the CPU whose batches of answers are computed on a lent GPU. Vectors and single log-probabilities are not: they take
    less than a call takes to begin."""

    def __init__(self, threads: Callable[[], int], trust_remote_code: bool) -> None:
        super().__init__("cpu", threads, trust_remote_code)
        # Not used in this process: a GPU call has a copy, whose thread begins there and keeps the base for the next call.
        there = ChatEngine("auto", threads, trust_remote_code)

        def answer(
            seconds: int, source: BaseSource, rows: Sequence[GenRow], adapters: Mapping[str, Path], sampling: Sampling
        ) -> Iterator[Given]:
            try:
                for updates in there.generate(source, rows, adapters, sampling):
                    yield updates, there.base_check()
            except StudioError as error:
                yield error

        self._on_gpu = gpu_call(answer)

    def generate(
        self,
        source: BaseSource,
        rows: Sequence[GenRow],
        adapters: Mapping[str, Path],
        sampling: Sampling,
        cancel: threading.Event | None = None,
    ) -> Iterator[list[PaneUpdate]]:
        """See :meth:`studio.ml.chat.answerer.Answerer.generate`."""
        check_rows(rows, adapters)
        yield [PaneUpdate(note="Waiting for a GPU.") for _ in rows]
        try:
            yield from self._lent(source, rows, adapters, sampling, cancel)
        except GpuRefusedError as refused:
            note = f"{refused} Answered on the CPU."
            for updates in super().generate(source, rows, adapters, sampling, cancel):
                yield [replace(update, note=f"{update.note} {note}".strip()) for update in updates]

    def _lent(
        self,
        source: BaseSource,
        rows: Sequence[GenRow],
        adapters: Mapping[str, Path],
        sampling: Sampling,
        cancel: threading.Event | None,
    ) -> Iterator[list[PaneUpdate]]:
        # here first: a fork while a thread of ours imports what it needs would wait for that for ever
        self.load(source)
        answers = self._on_gpu(call_seconds(sampling), source, tuple(rows), dict(adapters), sampling)
        while True:
            with gpu_refusals():
                given: Given | None = next(answers, None)
            if given is None:
                return
            if isinstance(given, StudioError):
                raise given
            updates, check = given
            for base, loaded in self._bases.now():
                if base == source:
                    loaded.check = check
            if cancel is not None and cancel.is_set():
                answers.close()
                yield [u if u.done else replace(u, done=True, cut=True, note="Stopped.") for u in updates]
                return
            yield updates


def call_seconds(sampling: Sampling) -> int:
    """Seconds that a GPU is asked for, for one batch of any number of rows."""
    return START_S + round(sampling.max_new_tokens * TOKEN_S)
