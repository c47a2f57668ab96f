"""One copy of a base model, many answers.

One worker thread owns the model; everybody else hands it work and waits. A request is a list of rows, each naming its
adapter or the base; all rows run in one ``generate`` call and stream together. The base pane is checked: see
:class:`studio.domain.chat.BaseCheck`.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from studio.domain.chat import BASE, BaseCheck, PaneUpdate, Sampling
from studio.domain.words import Token
from studio.errors import ModelLoadError
from studio.ml.chat.base_check import BaseChecker
from studio.ml.chat.decoding import RowSampler, RowStreamer, StopRows, less_repetition
from studio.ml.chat.kept_turns import KeptTurns, Row
from studio.ml.chat.request import BaseSource, GenRow, check_rows
from studio.ml.chat.stream import PaneStream
from studio.ml.chat.words import moved_tokens
from studio.ml.lora.blend import blended
from studio.ml.lora.mixed import Adapter, adapter_stamp, attached, grouped, read_adapter
from studio.ml.models.loading import SMALL_MODEL, Progress, load_model, load_tokenizer, prepare_torch, release_memory
from studio.ml.models.prompts import end_tokens, fit_prompt, next_turn, plain_generation

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)
Result = TypeVar("Result")

#: Adapters kept in memory; beyond that the one unused for longest goes.
MAX_ADAPTERS = 16


@dataclass
class _Loaded:
    """What the worker holds: the model with nothing attached, its logits as it was loaded, and adapters by last use."""

    source: BaseSource
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    eos: set[int]
    limit: int
    small: bool
    seq2seq: bool
    checker: BaseChecker
    adapters: OrderedDict[str, Adapter] = field(default_factory=OrderedDict)
    turns: KeptTurns = field(default_factory=KeptTurns)


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
        self._device = device
        self._dtype = dtype
        self._threads = threads
        self._trust = trust_remote_code
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loaded: _Loaded | None = None
        self._check: BaseCheck | None = None

    # -- for every thread ---------------------------------------------------------------------------------------------

    def warm_up(self, source: BaseSource | None = None) -> Future[None]:
        """Import torch, and load a base if one is named, in the background."""

        def work() -> None:
            prepare_torch(self._threads())
            import transformers  # noqa: F401

            if source is not None:
                self._ensure_base(source, None)

        return self._submit(work)

    def load(self, source: BaseSource, progress: Progress | None = None) -> None:
        """Load a base; another one is freed first. Where it cannot be loaded no base is held."""
        self._submit(lambda: self._ensure_base(source, progress)).result()

    def ensure_adapter(self, source: BaseSource, name: str, folder: Path) -> None:
        """Load an adapter beside its base, so that its first answer need not wait for that.

        Raises:
            ModelLoadError: see :func:`studio.ml.lora.mixed.read_adapter`.
        """
        self._submit(lambda: self._ensure_adapter(self._ensure_base(source, None), name, folder, set())).result()

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

        def work(loaded: _Loaded) -> tuple[Token, ...]:
            voice = self._voices(loaded, [row], adapters)[1][row.name]
            return moved_tokens(loaded.model, loaded.tokenizer, voice, row.messages, answer, row.strength)

        return self._with(source, work)

    def base_check(self) -> BaseCheck | None:
        """The newest check of the base."""
        return self._check

    @property
    def base(self) -> BaseSource | None:
        """The base in memory."""
        loaded = self._loaded
        return loaded.source if loaded else None

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters in memory, the last used one last."""
        loaded = self._loaded
        return tuple(loaded.adapters) if loaded else ()

    def release(self, name: str) -> None:
        """Forget a run's adapter and its snapshots (the run is deleted) once the answers before are given; does not wait."""

        def work() -> None:
            held = self._loaded.adapters if self._loaded is not None else {}
            gone = [known for known in held if known.partition("@")[0] == name]
            for known in gone:
                del held[known]
            if gone:
                release_memory()

        if self._thread is not None:
            self._submit(work)

    def close(self) -> None:
        """Free everything and end the worker thread."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(self._drop)
            self._jobs.put(None)
            thread.join()

    def _with(self, source: BaseSource, work: Callable[[_Loaded], Result]) -> Result:
        def job() -> Result:
            prepare_torch(self._threads())
            return work(self._ensure_base(source, None))

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

    def _drop(self) -> None:
        self._loaded = None
        self._check = None
        release_memory()

    def _ensure_base(self, source: BaseSource, progress: Progress | None) -> _Loaded:
        if self._loaded is not None and self._loaded.source == source:
            return self._loaded
        prepare_torch(self._threads())
        self._drop()
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
        checker = BaseChecker(model, tokenizer)
        self._loaded = _Loaded(source, model, tokenizer, eos, min(limits), small, seq2seq, checker)
        return self._loaded

    def _ensure_adapter(self, loaded: _Loaded, name: str, folder: Path, wanted: set[str]) -> Adapter:
        stamp = adapter_stamp(folder)
        adapter = loaded.adapters.get(name)
        if adapter is None or adapter.stamp != stamp:
            adapter = loaded.adapters[name] = read_adapter(name, folder, loaded.model)
        loaded.adapters.move_to_end(name)
        for other in list(loaded.adapters):
            if len(loaded.adapters) <= MAX_ADAPTERS:
                break
            if other not in wanted | {name}:
                del loaded.adapters[other]
        return adapter

    def _voices(
        self, loaded: _Loaded, rows: Sequence[GenRow], folders: Mapping[str, Path]
    ) -> tuple[dict[str, Adapter], dict[str, Adapter]]:
        """The adapters that rows need by run id, and these with the blends of rows by their names."""
        names = list(dict.fromkeys(name for row in rows for name in row.needs))
        plain = {name: self._ensure_adapter(loaded, name, folders[name], set(names)) for name in names}
        voices = dict(plain)
        for row in rows:
            if row.blend is not None and row.name not in voices:
                voices[row.name] = blended(row.name, plain[row.adapter], plain[row.blend.run_id], row.blend.weight)
        return plain, voices

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
        loaded = self._ensure_base(source, lambda fraction, text: stream.note(f"{text}…"))
        if loaded.small:
            torch.set_num_threads(1)
        plain, adapters = self._voices(loaded, rows, folders)
        try:
            if any(row.adapter == BASE for row in rows):
                self._check = loaded.checker.check(list(plain.values()))
            self._generate(stream, loaded, rows, adapters, sampling, signals)
        except torch.cuda.OutOfMemoryError as error:
            release_memory()
            raise ModelLoadError(
                "The accelerator has no memory left for this answer; use fewer panes, a shorter chat or a smaller base."
            ) from error

    def _generate(
        self,
        stream: PaneStream,
        loaded: _Loaded,
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
                    verified=self._check.ok if self._check and rows[pane].adapter == BASE else None,
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
