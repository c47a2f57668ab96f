"""One copy of each base model, many answers.

One worker thread owns the models; everybody else hands it work and waits. A request is a list of rows of one base, each naming
its adapter or the base; all rows run in one ``generate`` call and stream together. A few bases are held; the one unused for longest goes
where there are more, or where memory is short. The base pane is checked: see :class:`studio.domain.chat.BaseCheck`.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from studio.domain.chat import BASE, BaseCheck, BaseRoom, PaneUpdate, Sampling
from studio.domain.words import Token
from studio.errors import ModelLoadError
from studio.ml.chat.bases import Bases, Loaded
from studio.ml.chat.decoding import RowSampler, RowStreamer, StopRows, less_repetition
from studio.ml.chat.kept_turns import Row
from studio.ml.chat.request import BaseSource, GenRow, check_rows
from studio.ml.chat.stream import PaneStream
from studio.ml.chat.words import moved_tokens
from studio.ml.lora.mixed import Adapter, attached, grouped
from studio.ml.models.loading import Progress, prepare_torch, release_memory
from studio.ml.models.prompts import fit_prompt, next_turn

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)
Result = TypeVar("Result")


class ChatEngine:
    """Answers chats with a model in this process (an :class:`studio.ml.chat.answerer.Answerer`). Building it costs nothing; torch is
    imported by its thread at the first request or warm-up.

    Args:
        threads: CPU threads of the model's arithmetic, asked anew for each request.
    """

    def __init__(
        self,
        device: str = "auto",
        threads: Callable[[], int] = lambda: 0,
        trust_remote_code: bool = False,
        dtype: str = "auto",
    ) -> None:
        self._threads = threads
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._bases = Bases(device, dtype, trust_remote_code)

    # -- for every thread ---------------------------------------------------------------------------------------------

    def warm_up(self, source: BaseSource | None = None) -> Future[None]:
        """Import torch and transformers, and load a base if one is named, in the background."""

        def work() -> None:
            prepare_torch(self._threads())
            if source is not None:
                self._bases.ensure(source, None)

        return self._submit(work)

    def load(self, source: BaseSource, progress: Progress | None = None) -> None:
        """Load a base, where it is not in memory; others are put out for it where they have to be."""
        self._with(source, lambda loaded: None, progress)

    def ensure_adapter(self, source: BaseSource, name: str, folder: Path) -> None:
        """Load an adapter beside its base, so that its first answer need not wait for that.

        Raises:
            ModelLoadError: see :func:`studio.ml.lora.mixed.read_adapter`.
        """
        self._with(source, lambda loaded: loaded.adapter(name, folder, set()))

    def generate(
        self,
        source: BaseSource,
        rows: Sequence[GenRow],
        adapters: Mapping[str, Path],
        sampling: Sampling,
        cancel: threading.Event | None = None,
    ) -> Iterator[list[PaneUpdate]]:
        """All rows in one batch; see :meth:`studio.ml.chat.answerer.Answerer.generate`."""
        check_rows(rows, adapters)
        closed = threading.Event()
        stream = PaneStream(len(rows))
        if self._waiting:
            stream.note(f"Waiting for {self._waiting} other answer{'s' if self._waiting > 1 else ''}.")
        signals = (closed, cancel) if cancel is not None else (closed,)
        job = self._submit(lambda: self._answer(stream, source, rows, adapters, sampling, signals))
        job.add_done_callback(lambda done: stream.finish(done.exception()))
        try:
            yield from stream
        finally:
            closed.set()

    def with_base(
        self, source: BaseSource, work: Callable[[PreTrainedModel, PreTrainedTokenizerBase], Result]
    ) -> Result:
        """What ``work`` makes of the base with nothing attached and its tokenizer, in the thread that owns them.

        Raises:
            ModelLoadError: the base cannot be loaded; and what ``work`` raises.
        """
        return self._with(source, lambda loaded: work(loaded.model, loaded.tokenizer))

    def moved(self, source: BaseSource, row: GenRow, adapters: Mapping[str, Path], answer: str) -> tuple[Token, ...]:
        """See :meth:`studio.ml.chat.answerer.Answerer.moved`."""

        def work(loaded: Loaded) -> tuple[Token, ...]:
            voice = loaded.voices([row], adapters)[1][row.name]
            return moved_tokens(loaded.model, loaded.tokenizer, voice, row.messages, answer, row.strength)

        return self._with(source, work)

    def base_check(self, base: str = "") -> BaseCheck | None:
        """See :meth:`studio.ml.chat.answerer.Answerer.base_check`."""
        checks = [held.check for source, held in self._bases.now() if base in ("", source.ref.id)]
        return checks[-1] if checks else None

    def held(self) -> tuple[str, ...]:
        """See :meth:`studio.ml.chat.answerer.Answerer.held`."""
        return tuple(source.ref.id for source, _ in self._bases.now())

    def room(self, source: BaseSource) -> BaseRoom | None:
        """See :meth:`studio.ml.chat.answerer.Answerer.room`; None, too, while torch is not imported."""
        if "torch" not in sys.modules or source in self.bases:
            return None
        return self._bases.room(source)

    @property
    def bases(self) -> tuple[BaseSource, ...]:
        """The bases in memory, the last used one last."""
        return tuple(source for source, _ in self._bases.now())

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters in memory, base after base, the last used one last."""
        return tuple(name for _, held in self._bases.now() for name in held.adapters)

    def release(self, name: str) -> None:
        """Forget a run's adapter and its snapshots (the run is deleted) once the answers before are given; does not wait."""
        if self._thread is not None:
            self._submit(lambda: self._bases.release(name))

    def close(self) -> None:
        """Free everything and end the worker thread."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(self._bases.drop)
            self._jobs.put(None)
            thread.join()

    def _with(self, source: BaseSource, work: Callable[[Loaded], Result], progress: Progress | None = None) -> Result:
        def job() -> Result:
            prepare_torch(self._threads())
            return work(self._bases.ensure(source, progress))

        return self._submit(job).result()

    def _submit(self, work: Callable[[], Result]) -> Future[Result]:
        future: Future[Result] = Future()

        def job() -> None:
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)
            finally:
                with self._lock:
                    self._waiting -= 1

        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="chat-engine", daemon=True)
                self._thread.start()
            self._waiting += 1
            self._jobs.put(job)
        return future

    # -- in the worker thread only --------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _answer(
        self,
        stream: PaneStream,
        source: BaseSource,
        rows: Sequence[GenRow],
        folders: Mapping[str, Path],
        sampling: Sampling,
        signals: Sequence[threading.Event],
    ) -> None:
        import torch

        if any(signal.is_set() for signal in signals):
            stream.publish([PaneUpdate(done=True, note="Stopped.") for _ in rows])
            return
        prepare_torch(self._threads())
        loaded = self._bases.ensure(source, lambda fraction, text: stream.note(f"{text}…"))
        if loaded.small:
            torch.set_num_threads(1)
        plain, adapters = loaded.voices(rows, folders)
        try:
            if any(row.adapter == BASE for row in rows):
                loaded.check = loaded.checker.check(list(plain.values()))
            self._generate(stream, loaded, rows, adapters, sampling, signals)
        except torch.cuda.OutOfMemoryError as error:
            release_memory()
            raise ModelLoadError(
                "The accelerator has no memory left for this answer; use fewer panes, a shorter chat or a smaller base."
            ) from error

    def _generate(
        self,
        stream: PaneStream,
        loaded: Loaded,
        rows: Sequence[GenRow],
        adapters: Mapping[str, Adapter],
        sampling: Sampling,
        signals: Sequence[threading.Event],
    ) -> None:
        import torch

        order, groups = grouped([row.voice for row in rows], adapters)  # `order[i]` is the pane of batch row i
        prompts = [
            fit_prompt(loaded.tokenizer, rows[index].messages, loaded.limit, sampling.max_new_tokens, loaded.seq2seq)
            for index in order
        ]
        conversations = [
            Row((voice := rows[index].voice, voice and adapters[voice[0]].stamp), ids)
            for index, (ids, _) in zip(order, prompts, strict=True)
        ]
        # a decoder's answer follows its start token
        used = 1 if loaded.seq2seq else max(len(ids) for ids, _ in prompts)
        room = max(1, min(sampling.max_new_tokens, loaded.limit - used))
        batch: Mapping[str, Any]
        if loaded.seq2seq:  # an encoder counts its positions from the left
            batch = loaded.tokenizer.pad(
                {"input_ids": [ids for ids, _ in prompts]}, padding=True, padding_side="right", return_tensors="pt"
            ).to(loaded.model.device)
        else:
            known = loaded.turns.prefill(loaded.model, conversations, loaded.tokenizer.pad_token_id, room)
            batch = {
                "input_ids": known.input_ids,
                "attention_mask": known.attention_mask,
                "past_key_values": known.cache,
            }
        seeds = [sampling.seed if (seed := rows[index].seed) is None else seed for index in order]
        sampler = RowSampler(sampling, seeds)
        repetition = less_repetition(sampling.repetition_penalty, 1 if loaded.seq2seq else batch["input_ids"].shape[1])
        ended = [False] * len(rows)

        def publish(over: bool = False) -> None:
            shown: list[PaneUpdate] = [PaneUpdate()] * len(rows)
            for line, pane in enumerate(order):
                count, seconds = len(streamer.tokens[line]), streamer.seconds[line]
                note = prompts[line][1]
                if over and not ended[line]:
                    note = "Stopped." if any(s.is_set() for s in signals) else f"Cut after {count} tokens."
                shown[pane] = PaneUpdate(
                    text=streamer.text(line),
                    done=over or ended[line],
                    tokens=count,
                    tokens_per_second=count / seconds if seconds else 0.0,
                    note=note,
                    verified=loaded.check.ok if loaded.check and rows[pane].adapter == BASE else None,
                    cut=over and not ended[line],
                )
            stream.publish(shown)

        cut_at = "" if loaded.seq2seq else next_turn(loaded.tokenizer)
        streamer = RowStreamer(loaded.tokenizer, ended, loaded.eos, publish, cut_at)
        generate: Any = loaded.model.generate
        with torch.inference_mode(), attached(loaded.model, groups):
            out = generate(
                **batch,
                max_new_tokens=room,
                repetition_penalty=1.0,  # of the whole text; the base's own settings may have another
                logits_processor=[*repetition, sampler],
                stopping_criteria=[StopRows(sampler, ended, signals)],
                streamer=streamer,
                return_dict_in_generate=True,
            )
            if not loaded.seq2seq and not sampler.broken:
                loaded.turns.keep(conversations, batch["attention_mask"], streamer.tokens, out.past_key_values)
        if sampler.broken:
            raise ModelLoadError(
                f"A model of this request ({', '.join((BASE, *adapters))}) gives no numbers (NaN); its weights are broken."
            )
        publish(over=True)
