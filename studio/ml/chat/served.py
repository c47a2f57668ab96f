"""Answers from an OpenAI-compatible server that loads adapters at run time (vLLM).

The conversation goes there as the token ids that the engine in this process would read, so that templates, frames and contexts are the
same. Each row is a request of its own with its own seed; the server computes them together. One thread with an event loop asks.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from studio.domain.bases import known_base
from studio.domain.chat import BaseCheck, BaseRoom, PaneUpdate, Sampling
from studio.domain.words import Token
from studio.errors import ChatServerError, InputError
from studio.ml.chat.decoding import PUBLISH_EVERY_S
from studio.ml.chat.request import BaseSource, GenRow, check_rows
from studio.ml.chat.served_adapters import ServedAdapters
from studio.ml.chat.server import NAME, ChatServer, Say, UnknownModelError
from studio.ml.chat.stream import PaneStream
from studio.ml.chat.words import LIKELIEST, Scored, as_tokens, encode_within
from studio.ml.models.loading import Progress, load_tokenizer, prepare_torch
from studio.ml.models.prompts import cut_answer, fit_prompt, named_ends, next_turn
from studio.ml.models.seq2seq import is_encoder_decoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Result = TypeVar("Result")
#: The largest presence penalty of the protocol.
_MOST_PRESENCE = 2.0
#: Seconds for the server to forget the adapters when this process ends.
_CLOSE_S = 10.0


@dataclass(frozen=True)
class _Reader:
    """How a base is asked: the name it is served by, and what its folder says of prompts and ends."""

    name: str
    tokenizer: PreTrainedTokenizerBase
    ends: list[int]
    mark: str
    limit: int


@dataclass
class _Row:
    """An answer as it comes. ``prompt`` are token ids, ``note`` what is to say of them, ``waits`` what is waited for."""

    prompt: list[int]
    note: str
    text: str = ""
    tokens: int = 0
    waits: str = ""
    reason: str = ""
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def wait(self, text: str) -> None:
        self.waits = text

    def restart(self) -> None:
        self.text, self.tokens, self.waits, self.reason, self.started = "", 0, "", "", time.monotonic()

    def take(self, piece: Mapping[str, Any], count: int | None) -> None:
        text = piece.get("text")
        self.text += text if isinstance(text, str) else ""
        self.reason = str(piece.get("finish_reason") or "")
        if isinstance(count, int):
            # the token that ends an answer is counted by the server, a text that does is none
            self.tokens = count - (self.reason == "stop" and not isinstance(piece.get("stop_reason"), str))
        else:
            self.tokens += bool(text)
        self.seconds = time.monotonic() - self.started
        self.waits = ""

    def shown(self, mark: str, over: bool, stopped: bool) -> PaneUpdate:
        cut = over and self.reason != "stop"
        note = self.waits or self.note
        if cut:
            note = "Stopped." if stopped else f"Cut after {self.tokens} tokens."
        return PaneUpdate(
            text=cut_answer(self.text, mark).rstrip("\ufffd").rstrip(),
            done=over or self.reason == "stop",
            tokens=self.tokens,
            tokens_per_second=self.tokens / self.seconds if self.seconds else 0.0,
            note=note,
            cut=cut,
        )


class ServedAnswerer:
    """An :class:`studio.ml.chat.answerer.Answerer` that asks ``server``. The base's folder here is read for its tokenizer alone."""

    def __init__(self, server: ChatServer, trust_remote_code: bool = False) -> None:
        self._server = server
        self._trust = trust_remote_code
        self._adapters = ServedAdapters(server)
        self._readers: dict[BaseSource, _Reader] = {}
        self._reading = asyncio.Lock()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # -- for every thread ---------------------------------------------------------------------------------------------

    def warm_up(self, source: BaseSource | None = None) -> Future[None]:
        """Import what reads a tokenizer, and see whether the server has the base."""

        async def work() -> None:
            if source is not None:
                await self._reader(source)

        return self._submit(work())

    def load(self, source: BaseSource, progress: Progress | None = None) -> None:
        """See whether the server has a base."""
        self._submit(self._reader(source)).result()
        if progress:
            progress(1.0, "Ready")

    def generate(
        self,
        source: BaseSource,
        rows: Sequence[GenRow],
        adapters: Mapping[str, Path],
        sampling: Sampling,
        cancel: threading.Event | None = None,
    ) -> Iterator[list[PaneUpdate]]:
        """All rows at once, a request each; see :meth:`studio.ml.chat.answerer.Answerer.generate`."""
        check_rows(rows, adapters)
        closed = threading.Event()
        stream = PaneStream(len(rows))
        signals = (closed, cancel) if cancel is not None else (closed,)
        job = self._submit(self._answer(stream, source, rows, adapters, sampling, signals))
        job.add_done_callback(lambda done: stream.finish(None if done.cancelled() else done.exception()))
        try:
            yield from stream
        finally:
            closed.set()

    def moved(self, source: BaseSource, row: GenRow, adapters: Mapping[str, Path], answer: str) -> tuple[Token, ...]:
        """From the log-probabilities of a prompt, which vLLM gives (``prompt_logprobs``)."""
        return self._submit(self._moved(source, row, adapters, answer)).result()

    def base_check(self, base: str = "") -> BaseCheck | None:
        """None: what a server holds cannot be compared with the base here."""
        return None

    def held(self) -> tuple[str, ...]:
        """The bases that the server was seen to have."""
        return tuple(source.ref.id for source in self._readers)

    def room(self, source: BaseSource) -> BaseRoom | None:
        """None: it is the server's memory."""
        return None

    def release(self, name: str) -> None:
        """Have the server forget an adapter (its run is deleted)."""
        if self._thread is not None:
            self._submit(self._adapters.release(name))

    def close(self) -> None:
        """Have the server forget the adapters, and end the thread."""
        with self._lock:
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
        if loop is None or thread is None:
            return

        async def end() -> None:
            me = asyncio.current_task()
            others = [task for task in asyncio.all_tasks() if task is not me]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await self._adapters.close()
            except TimeoutError:
                pass
            await self._server.close()

        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _submit(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="chat-server", daemon=True)
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    # -- in the event loop --------------------------------------------------------------------------------------------

    async def _reader(self, source: BaseSource) -> _Reader:
        async with self._reading:
            if source not in self._readers:
                card = _card_of(source, await self._server.models())
                self._readers[source] = await asyncio.to_thread(self._read, source, card)
            return self._readers[source]

    def _read(self, source: BaseSource, card: Mapping[str, Any]) -> _Reader:
        if is_encoder_decoder(source.path):
            raise InputError(f"{source.ref.id} is an encoder-decoder; a server answers for decoder-only bases alone.")
        prepare_torch()
        from transformers import AutoConfig, GenerationConfig

        tokenizer = load_tokenizer(source.path, trust_remote_code=self._trust)
        config = AutoConfig.from_pretrained(source.path, trust_remote_code=self._trust, local_files_only=True)
        try:
            generation = GenerationConfig.from_pretrained(source.path, local_files_only=True)
        except OSError:  # it has none
            generation = GenerationConfig.from_model_config(config)
        limits = [getattr(config, "max_position_embeddings", None) or 4096, tokenizer.model_max_length]
        if isinstance(card.get("max_model_len"), int):
            limits.append(card["max_model_len"])
        ends = sorted(named_ends(generation, tokenizer))
        return _Reader(str(card["id"]), tokenizer, ends, next_turn(tokenizer), min(limits))

    async def _as(
        self,
        source: BaseSource,
        row: GenRow,
        folders: Mapping[str, Path],
        say: Say,
        work: Callable[[str], Awaitable[Result]],
    ) -> Result:
        """What ``work`` makes of the name under which the server answers as ``row`` does; once more with a new one where the server
        does not know it any more."""
        for last in (False, True):
            name = ""
            try:
                served = (await self._reader(source)).name
                async with self._adapters.serving(source, served, row, folders, say) as name:
                    return await work(name)
            except UnknownModelError:
                if last or not name:
                    raise
            self._readers.clear()
            await self._adapters.forget(name)
        raise AssertionError("the second try returns or raises")

    async def _answer(
        self,
        stream: PaneStream,
        source: BaseSource,
        rows: Sequence[GenRow],
        folders: Mapping[str, Path],
        sampling: Sampling,
        signals: Sequence[threading.Event],
    ) -> None:
        reader = await self._reader(source)
        prompts = await asyncio.to_thread(
            lambda: [fit_prompt(reader.tokenizer, row.messages, reader.limit, sampling.max_new_tokens) for row in rows]
        )
        answers = [_Row(ids, note) for ids, note in prompts]

        def publish(over: bool = False) -> None:
            stopped = any(signal.is_set() for signal in signals)
            stream.publish([answer.shown(reader.mark, over, stopped) for answer in answers])

        async def ask(row: GenRow, answer: _Row) -> None:
            body = _request(reader, answer, sampling, sampling.seed if row.seed is None else row.seed)

            async def listen(name: str) -> None:
                answer.restart()
                async for piece, count in self._server.stream({**body, "model": name}, answer.wait):
                    answer.take(piece, count)

            await self._as(source, row, folders, answer.wait, listen)

        tasks = [asyncio.create_task(ask(row, answer)) for row, answer in zip(rows, answers, strict=True)]
        waiting = set(tasks)
        try:
            while waiting and not any(signal.is_set() for signal in signals):
                done, waiting = await asyncio.wait(waiting, timeout=PUBLISH_EVERY_S)
                publish()
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        publish(over=True)

    async def _moved(
        self, source: BaseSource, row: GenRow, folders: Mapping[str, Path], answer: str
    ) -> tuple[Token, ...]:
        reader = await self._reader(source)
        # the server answers with one token more, which nobody reads
        encoded = await asyncio.to_thread(encode_within, reader.tokenizer, row.messages, answer, reader.limit - 1)
        body = {"prompt": list(encoded.ids), "max_tokens": 1, "temperature": 0, "prompt_logprobs": LIKELIEST}

        async def scores(name: str) -> list[dict[int, float]]:
            given = (await self._server.complete({**body, "model": name})).get("prompt_logprobs")
            return _log_probs(given, encoded.ids)[len(encoded.prompt_ids) :]

        base = await self._as(source, GenRow(row.messages), {}, _unsaid, scores)
        tuned = await self._as(source, row, folders, _unsaid, scores)
        scored: list[Scored] = []
        for token, before, after in zip(encoded.answer_ids, base, tuned, strict=True):
            likeliest = sorted(before.items(), key=lambda item: -item[1])[:LIKELIEST]
            scored.append(([before[token], after[token]], [(i, math.exp(value)) for i, value in likeliest]))
        return as_tokens(reader.tokenizer, encoded.answer_ids, scored, row.name)


def _unsaid(text: str) -> None:
    """Nobody sees what is waited for."""


def _card_of(source: BaseSource, cards: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What the server says of a base: served by its name in the studio, its name on the Hub, or its folder.

    Raises:
        ChatServerError: it serves others.
    """
    known = known_base(source.ref.id)
    names = {source.ref.id, known.hub if known else "", str(source.path), str(source.path.resolve())} - {""}
    bases = [card for card in cards if not card.get("parent")]
    for card in bases:
        if isinstance(card.get("id"), str) and names & {card["id"], card.get("root")}:
            return card
    served = ", ".join(str(card.get("id"))[:80] for card in bases[:3]) or "nothing"
    raise ChatServerError(
        f"{NAME} has {served} and not {source.ref.id}; choose adapters of its base, or start it with "
        f"--served-model-name {source.ref.id}."
    )


def _request(reader: _Reader, answer: _Row, sampling: Sampling, seed: int) -> dict[str, Any]:
    """An answer as a server is asked for it, but for the model. What is not named here a server takes from the base's own settings."""
    return {
        "prompt": answer.prompt,
        "max_tokens": max(1, min(sampling.max_new_tokens, reader.limit - len(answer.prompt))),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": -1,
        "min_p": 0.0,
        # A server's own repetition penalty is of the prompt too, so an answer would lose the question's words. This one is subtracted
        # from a token's logit; the likeliest of a small model are near 20.
        "repetition_penalty": 1.0,
        "presence_penalty": min(_MOST_PRESENCE, max(0.0, 20 * (sampling.repetition_penalty - 1))),
        "seed": seed,
        "stop_token_ids": reader.ends,
        "stop": [reader.mark] if reader.mark else [],
    }


def _log_probs(given: Any, ids: Sequence[int]) -> list[dict[int, float]]:
    """Of each token of a prompt the log-probabilities of it and of the likeliest, by token id; the first has none.

    Raises:
        ChatServerError: the server does not give them.
    """
    try:
        places = [{int(i): float(one["logprob"]) for i, one in (place or {}).items()} for place in given]
        if len(places) != len(ids) or any(token not in place for token, place in zip(ids[1:], places[1:], strict=True)):
            raise ValueError
        return places
    except (TypeError, ValueError, KeyError, AttributeError):
        raise ChatServerError(
            f"{NAME} gives no log-probabilities of a given text, so the words that moved cannot be shown."
        ) from None
