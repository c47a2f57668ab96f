"""How a rater's requests go out. A client of our own, for HTTP/1.1 on loopback alone: httpx looks through all of a thousand connections
for each request, which took more of the shared cores than the servers that are measured."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 30.0


class Line:
    """One rater's connection, kept open: to one server until it does not answer, then to the next.

    Args:
        urls: of the servers, or of the proxy before them.
        number: the rater's; it chooses the server to begin with and the address to come from.
    """

    def __init__(self, urls: list[str], number: int) -> None:
        self._places = [(str(parts.hostname), int(parts.port or 80)) for parts in map(urlsplit, urls)]
        self._at = number
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        # a studio slows down names that come from one address
        self._head = f"X-Forwarded-For: 10.0.{number // 250}.{number % 250 + 1}\r\nContent-Type: application/json\r\n"

    async def post(self, action: str, body: dict[str, Any]) -> tuple[int, bytes]:
        """The status and the body of the answer to a request of the voting page.

        Raises:
            OSError: there was none; the next request goes to the next server.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._post(action, json.dumps(body).encode())
        except (OSError, EOFError) as error:  # TimeoutError is an OSError
            self.close()
            self._at += 1
            raise ConnectionError(str(error)) from error

    async def _post(self, action: str, body: bytes) -> tuple[int, bytes]:
        host, port = self._places[self._at % len(self._places)]
        if self._streams is None or self._streams[0].at_eof():  # closed while the rater thought
            self.close()
            self._streams = await asyncio.open_connection(host, port)
        reader, writer = self._streams
        head = f"POST /rate/api/{action} HTTP/1.1\r\nHost: {host}:{port}\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        status, *lines = answer.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        content = await reader.readexactly(int(fields["content-length"]))
        if fields.get("connection", "").lower() == "close":
            self.close()
        return int(status.split()[1]), content

    def close(self) -> None:
        """Let the connection go."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
