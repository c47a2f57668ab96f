"""A hall that votes: the page's API over a real store."""

from __future__ import annotations

from typing import Any

import httpx

from studio.services import Services
from studio.services.rating.service import RatingService

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class Hall:
    """A running server and what a browser would send it."""

    def __init__(self, services: Services, url: str) -> None:
        self.services, self.url = services, url
        self.rating: RatingService = services.rating
        self.http = httpx.Client(base_url=url, timeout=30)

    def post(self, action: str, body: Any = None, **options: Any) -> httpx.Response:
        if not options.keys() & {"content", "json"}:
            options["json"] = {} if body is None else body
        headers = {"content-type": "application/json", **options.pop("headers", {})}
        return self.http.post(f"rate/api/{action}", headers=headers, **options)

    def ask(self, action: str, **body: Any) -> dict[str, Any]:
        answer = self.post(action, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def join(self, name: str = "Anna") -> str:
        return self.ask("register", name=name)["token"]

    def vote(self, token: str, pair: dict[str, Any], press: str = "left", seconds: float = 2.5) -> dict[str, Any]:
        body = {"token": token, "pair": pair["pair_id"], "proof": pair["token"], "press": press, "seconds": seconds}
        return self.ask("vote", **body)


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    sentence = answer.json()["error"]
    assert all(word in sentence for word in words), sentence
    assert len(sentence) < 300
    assert "Traceback" not in sentence
