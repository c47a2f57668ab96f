"""Requests to an OpenAI-compatible server, and what goes wrong with them in one sentence each.

Only paths written here are asked for, below the address that the operator set; what a visitor writes is in a request's body. The key is
sent as a header, and taken out of whatever the server says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from studio.errors import ChatServerError

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)
Say = Callable[[str], None]

NAME = "The server that answers (STUDIO_CHAT_URL)"
#: Seconds to connect, and without a word; a server may load an adapter, or let a question wait, before it says the first.
CONNECT_S, SILENT_S = 10.0, 600.0
#: A server that is busy is asked again so many times, after the seconds it names (or one), unless these are more than ``WAIT_S``.
TRIES, WAIT_S = 4, 20.0
#: Of what a server says about an error so much is read (bytes), and quoted (characters).
_READ, _QUOTED = 20_000, 240


class RefusedError(ChatServerError):
    """The server does not do what it was asked."""


class UnknownModelError(RefusedError):
    """The server does not know the name of a base or adapter (any more: it may have been started anew)."""


class ChatServer:
    """One server. For one event loop: whose coroutine comes first.

    Args:
        url: its address, with or without ``/v1`` at the end.
        key: sent with every request where there is one.
    """

    def __init__(self, url: str, key: str = "") -> None:
        self._url = url.rstrip("/").removesuffix("/v1")
        self._key = key
        self._made: httpx.AsyncClient | None = None

    async def models(self) -> list[dict[str, Any]]:
        """What it serves: ``id``, and of vLLM ``root``, ``parent`` (of an adapter) and ``max_model_len``.

        Raises:
            ChatServerError: as every method here, where the server cannot be used or refuses.
        """
        try:
            listed = self._json(await self._ask("GET", "/v1/models"))
        except UnknownModelError:
            raise _no_server() from None
        cards = listed.get("data") if isinstance(listed, dict) else None
        if not isinstance(cards, list) or not all(isinstance(card, dict) for card in cards):
            raise _no_server()
        return cards

    async def load_adapter(self, name: str, path: str) -> None:
        """Have it load the adapter in folder ``path`` (as the server sees it) as ``name``.

        Raises:
            RefusedError: it loads none, or not this one.
        """
        try:
            await self._ask("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})
        except UnknownModelError as error:  # a 404: there is no such path
            raise RefusedError(
                f"{NAME} loads no adapters at run time; start vLLM with --enable-lora and "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True."
            ) from error

    async def unload_adapter(self, name: str) -> None:
        """Have it forget an adapter."""
        await self._ask("POST", "/v1/unload_lora_adapter", {"lora_name": name})

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """One whole answer; the first of its ``choices``.

        Raises:
            UnknownModelError: it does not know ``body["model"]``.
        """
        return _choice(self._json(await self._ask("POST", "/v1/completions", body)))

    async def stream(self, body: dict[str, Any], say: Say) -> AsyncIterator[tuple[dict[str, Any], int | None]]:
        """The pieces of an answer as they come: the first of ``choices`` of each, and how many tokens there are so far where the server
        counts them. The last piece has a ``finish_reason``. ``say`` is told what is waited for.

        Raises:
            UnknownModelError: it does not know ``body["model"]``.
            ChatServerError: also where the answer ends before its end.
        """
        counted = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
        reason: Any = None
        async with self._open("POST", "/v1/completions", {**body, **counted}, say) as response:
            async for line in response.aiter_lines():
                if not line.startswith("data:") or (data := line[5:].strip()) == "[DONE]":
                    continue
                event = self._json(data)
                if isinstance(event, dict) and event.get("error"):
                    raise self._refused(400, data, streaming=True)
                usage = event.get("usage") if isinstance(event, dict) else None
                if isinstance(event, dict) and event.get("choices") == []:  # the count of the whole answer stands alone
                    continue
                piece = _choice(event)
                reason = piece.get("finish_reason") or reason
                yield piece, usage.get("completion_tokens") if isinstance(usage, dict) else None
        if reason not in ("stop", "length"):  # a server that ends says "abort"
            raise ChatServerError(f"{NAME} broke off in the middle of an answer; ask again.")

    async def close(self) -> None:
        """End its connections."""
        if self._made is not None:
            await self._made.aclose()
            self._made = None

    # -- within -------------------------------------------------------------------------------------------------------

    @property
    def _client(self) -> httpx.AsyncClient:
        if self._made is None:
            import httpx

            self._made = httpx.AsyncClient(
                headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
                timeout=httpx.Timeout(SILENT_S, connect=CONNECT_S, pool=None),
                # the server says how many it takes at once
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            )
        return self._made

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> str:
        """The text of an answer that is no stream."""
        async with self._open(method, path, body, lambda text: None) as response:
            await response.aread()
            return response.text

    @contextlib.asynccontextmanager
    async def _open(
        self, method: str, path: str, body: dict[str, Any] | None, say: Say
    ) -> AsyncIterator[httpx.Response]:
        """An answer of status 200, its body still to be read; a busy server is asked again."""
        import httpx

        try:
            for attempt in range(1, TRIES + 1):
                async with self._client.stream(method, self._url + path, json=body) as response:
                    if response.is_success:
                        yield response
                        return
                    error = await self._refusal(response)
                    wait = _seconds(response)
                if response.status_code not in (429, 503) or wait > WAIT_S or attempt == TRIES:
                    raise error
                say(f"The server is busy; asking again in {wait:.0f} s.")
                await asyncio.sleep(wait)
        except httpx.HTTPError as error:
            log.warning("the server that answers failed: %s %s", type(error).__name__, error)
            raise ChatServerError(_broken(error)) from error

    async def _refusal(self, response: httpx.Response) -> ChatServerError:
        raw = b""
        async for part in response.aiter_bytes():
            raw += part
            if len(raw) > _READ:
                break
        if response.status_code in (401, 403):
            what = (
                "refuses the key; STUDIO_CHAT_KEY must be its own" if self._key else "wants a key; set STUDIO_CHAT_KEY"
            )
            return ChatServerError(f"{NAME} {what}.")
        if response.status_code in (429, 503):
            wait = _seconds(response)
            return ChatServerError(f"{NAME} is busy; ask again in {wait:.0f} second{'' if wait == 1 else 's'}.")
        return self._refused(response.status_code, raw.decode(errors="replace"))

    def _refused(self, status: int, text: str, streaming: bool = False) -> ChatServerError:
        said = _message(text)
        if self._key:
            said = said.replace(self._key, "…")
        log.warning("the server that answers said %d: %s", status, said)
        kind = UnknownModelError if status == 404 else RefusedError if status < 500 else ChatServerError
        verb = "broke off in the middle of an answer" if streaming else "failed" if status >= 500 else "refuses"
        return kind(f"{NAME} {verb} ({status}): {said or 'it does not say why'}")

    @staticmethod
    def _json(text: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise _no_server() from None


def _choice(event: Any) -> dict[str, Any]:
    choices = event.get("choices") if isinstance(event, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise _no_server()
    return choices[0]


def _no_server() -> ChatServerError:
    return ChatServerError(
        f"{NAME} gave something else than an answer; set it to the address of an OpenAI-compatible server."
    )


def _seconds(response: httpx.Response) -> float:
    """How long a busy server asks to wait; a second where it does not say, or says a date."""
    try:
        return max(0.0, float(response.headers.get("Retry-After", "1")))
    except ValueError:
        return 1.0


def _broken(error: httpx.HTTPError) -> str:
    import httpx

    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return f"{NAME} cannot be reached; start it, then ask again."
    if isinstance(error, httpx.TimeoutException):
        return f"{NAME} said nothing for {SILENT_S:.0f} seconds; see its log, then ask again."
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return f"{NAME} broke off in the middle of an answer; ask again."
    return f"{NAME} cannot be used: {type(error).__name__}."


def _message(text: str) -> str:
    """What an error's body says, in one line: ``error.message``, ``message``, ``detail`` or the text itself."""
    try:
        said: Any = json.loads(text)
    except (ValueError, RecursionError):
        said = text
    for _ in range(2):
        if isinstance(said, dict):
            said = next((said[key] for key in ("error", "message", "detail") if said.get(key)), "")
    line = " ".join(str(said).split())
    return line if len(line) <= _QUOTED else f"{line[:_QUOTED]}…"
