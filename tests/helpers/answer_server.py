"""A small OpenAI-compatible server as vLLM is one (completions of token ids, adapters loaded at run time, log-probabilities of a prompt):
it answers with plain transformers and PEFT, and fails as it is told to."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from studio.ml.models.loading import load_model, load_tokenizer


@dataclass
class Fault:
    """What the next request to ``path`` gets, or the one ``after`` so many. Without a ``status`` an answer begins and is cut off after
    ``pieces``."""

    path: str
    status: int = 0
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    pieces: int = 2
    after: int = 0


@dataclass
class Asked:
    """A request as it came."""

    path: str
    body: dict[str, Any]
    key: str


class AnswerServer:
    """``name`` is what the base is served by; ``loaded`` the adapters' folders by name; ``asked`` all requests so far. By its own name
    the base answers with the adapter that was loaded last, as vLLM 0.32 does on a CPU."""

    def __init__(self, base: Path, name: str, max_model_len: int = 100_000) -> None:
        self.name = name
        self.loaded: dict[str, str] = {}
        self.asked: list[Asked] = []
        self.faults: deque[Fault] = deque()
        self.pause: threading.Event | None = None
        self._base, self._limit = base, max_model_len
        self._tokenizer = load_tokenizer(base)
        self._models: dict[str, Any] = {name: load_model(base, device="cpu", dtype="float32")}
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                server._open.append(self.connection)

            def do_GET(self) -> None:
                server._serve(self)

            def do_POST(self) -> None:
                server._serve(self)

            def log_message(self, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it and what is kept open; the address is nobody's then."""
        self._http.shutdown()
        self._http.server_close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def restart(self) -> None:
        """Forget the adapters, as a server does that was started anew."""
        for name in self.loaded:
            del self._models[name]
        self.loaded = {}

    def paths(self, path: str) -> list[Asked]:
        """The requests to ``path``."""
        return [asked for asked in self.asked if asked.path == path]

    # -- a request ----------------------------------------------------------------------------------------------------

    def _serve(self, to: BaseHTTPRequestHandler) -> None:
        raw = to.rfile.read(int(to.headers.get("Content-Length") or 0))
        body = json.loads(raw) if raw else {}
        with self._lock:
            self.asked.append(Asked(to.path, body, to.headers.get("Authorization", "")))
            fault = self._fault(to.path)
        if fault is not None and fault.status:
            return _reply(to, fault.status, fault.body, fault.headers)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if to.path == "/v1/models":
                cards = [{"id": self.name, "root": self.name, "max_model_len": self._limit}]
                cards += [{"id": name, "root": at, "parent": self.name} for name, at in self.loaded.items()]
                return _reply(to, 200, json.dumps({"object": "list", "data": cards}))
            if to.path == "/v1/load_lora_adapter":
                return self._load(to, body["lora_name"], body["lora_path"])
            if to.path == "/v1/unload_lora_adapter":
                known = self.loaded.pop(body["lora_name"], None)
                self._models.pop(body["lora_name"], None)
                return _reply(to, 200 if known else 404, "Success" if known else '{"message": "not found"}')
            leaking = [*self.loaded][-1] if self.loaded and body["model"] == self.name else body["model"]
            model = self._models.get(leaking)
            if model is None:
                return _error(to, 404, f"The model `{body['model']}` does not exist.")
            if body.get("stream"):
                return self._stream(to, model, body, fault.pieces if fault else None)
            with self._lock:
                return _reply(to, 200, json.dumps({"choices": [{"prompt_logprobs": _scores(model, body)}]}))

    def _fault(self, path: str) -> Fault | None:
        if not self.faults or self.faults[0].path != path:
            return None
        if self.faults[0].after:
            self.faults[0] = replace(self.faults[0], after=self.faults[0].after - 1)
            return None
        return self.faults.popleft()

    def _load(self, to: BaseHTTPRequestHandler, name: str, path: str) -> None:
        from peft import PeftModel

        if not (Path(path) / "adapter_config.json").is_file():
            return _error(to, 400, f"No adapter found for {path}")
        with self._lock:
            plain = load_model(self._base, device="cpu", dtype="float32")
            self._models[name] = PeftModel.from_pretrained(plain, path).eval()
        self.loaded[name] = path
        _reply(to, 200, f"Success: LoRA adapter '{name}' added successfully.")

    def _stream(self, to: BaseHTTPRequestHandler, model: Any, body: dict[str, Any], cut_after: int | None) -> None:
        to.send_response(200)
        to.send_header("Content-Type", "text/event-stream")
        to.send_header("Transfer-Encoding", "chunked")
        to.end_headers()
        ids: list[int] = []
        said, count = "", 0
        for token in self._tokens(model, body):
            ended = token in body["stop_token_ids"]
            ids += [] if ended else [token]
            text = self._tokenizer.decode(ids, skip_special_tokens=True)
            mark = next((mark for mark in body["stop"] if mark in text), "")
            text = text.split(mark)[0] if mark else text.rstrip("\ufffd")
            reason = "stop" if ended or mark else "length" if len(ids) == body["max_tokens"] else None
            choice = {"text": text[len(said) :], "finish_reason": reason, "stop_reason": mark or None}
            said, count = text, len(ids) + ended
            _piece(to, json.dumps({"choices": [choice], "usage": {"completion_tokens": count}}))
            if len(ids) == cut_after:
                to.close_connection = True
                return
            if self.pause is not None:
                self.pause.wait(60)
            if reason:
                break
        _piece(to, json.dumps({"choices": [], "usage": {"completion_tokens": count}}))
        _piece(to, "[DONE]")
        to.wfile.write(b"0\r\n\r\n")

    def _tokens(self, model: Any, body: dict[str, Any]) -> Iterator[int]:
        import torch

        generator = torch.Generator().manual_seed(body["seed"])
        step, cache = torch.tensor([body["prompt"]]), None
        while True:
            with self._lock, torch.inference_mode():
                out = model(input_ids=step, past_key_values=cache, use_cache=True)
            scores, cache = out.logits[0, -1], out.past_key_values
            if body["temperature"]:
                shares = (scores / body["temperature"]).softmax(-1)
                token = int(torch.multinomial(shares, 1, generator=generator))
            else:
                token = int(scores.argmax())
            yield token
            step = torch.tensor([[token]])


@contextlib.contextmanager
def answer_server(base: Path, name: str, **options: Any) -> Iterator[AnswerServer]:
    """A server for the time of the block."""
    server = AnswerServer(base, name, **options)
    try:
        yield server
    finally:
        server.close()


def _scores(model: Any, body: dict[str, Any]) -> list[dict[str, Any] | None]:
    """As vLLM's ``prompt_logprobs``."""
    import torch

    ids = body["prompt"]
    with torch.inference_mode():
        scores = model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    places: list[dict[str, Any] | None] = [None]
    for token, row in zip(ids[1:], scores, strict=True):
        wanted = {*row.topk(body["prompt_logprobs"]).indices.tolist(), token}
        places.append({str(i): {"logprob": float(row[i])} for i in wanted})
    return places


def _reply(to: BaseHTTPRequestHandler, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    data = text.encode()
    to.send_response(status)
    for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
        to.send_header(name, value)
    to.end_headers()
    to.wfile.write(data)


def _error(to: BaseHTTPRequestHandler, status: int, message: str) -> None:
    _reply(to, status, json.dumps({"error": {"message": message, "code": status}}))


def _piece(to: BaseHTTPRequestHandler, data: str) -> None:
    line = f"data: {data}\n\n".encode()
    to.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
    to.wfile.flush()
