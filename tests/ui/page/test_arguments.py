"""Arguments of the endpoints for programs: forty odd ones, each answered by a sentence that names it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from studio.errors import InputError
from studio.ui.page.arguments import checked
from studio.ui.shell import build_app
from tests.helpers.pages import served
from tests.helpers.services import opened, settings_in

GENERATE = ["Hello?", ["base"], "", 0.8, 0.95, 4, 1, "embedded"]
ALIGN = ["embedded", "live-action-en", 0.9, 8, "", 42, 0.0, ""]
NEST: Any = []
for _ in range(50):
    NEST = [NEST]


def changed(values: list[Any], place: int, value: Any) -> list[Any]:
    return [*values[:place], value, *values[place + 1 :]]


ODD = [
    *(
        ("generate", changed(GENERATE, 0, value), "prompt")
        for value in (5, True, ["a"], {"a": 1}, None, "a" * 9_000, "a\0b")
    ),
    *(
        ("generate", changed(GENERATE, 1, value), "panes")
        for value in (5, {"a": 1}, [1], [None], [["base"]], ["base"] * 5)
    ),
    *(("generate", changed(GENERATE, 2, value), "system_prompt") for value in (5, ["a"], "a" * 9_000)),
    *(("generate", changed(GENERATE, 3, value), "temperature") for value in ("hot", True, [0.5], -1, 1e400, 10**400)),
    *(("generate", changed(GENERATE, 4, value), "top_p") for value in ("all", 0, {})),
    *(("generate", changed(GENERATE, 5, value), "max_new_tokens") for value in (1.5, "4", 0, True)),
    *(("generate", changed(GENERATE, 6, value), "seed") for value in (1.5, "one", -1, [1], 10**4000)),
    *(("generate", changed(GENERATE, 7, value), "base") for value in (5, ["embedded"])),
    *(("align", changed(ALIGN, 2, value), "support_ratio") for value in ("most", [0.9], 7)),
    *(("align", changed(ALIGN, 3, value), "data_size") for value in (1.5, "8", False, -1)),
    *(("align", changed(ALIGN, 5, value), "seed") for value in (1.5, "x", {})),
    *(("align", changed(ALIGN, 6, value), "epochs") for value in ("many", True)),
    *(("align", changed(ALIGN, 7, value), "operator_password") for value in (5, ["a"])),
    *(("status", [value], "run") for value in (5, ["a"], {}, "../../evil", "a" * 10_000)),
    *(("score_toxicity", [value], "text") for value in (5, {}, [1], [], ["a", None], NEST, " ")),
    *(("score_toxicity", ["hello", value], "scorer") for value in (5, ["a"])),
    *(("score_toxicity", [["hello"], "embedded", value], "prompts") for value in (5, [1])),
    *(
        ("stream", changed(GENERATE, place, 5), word)
        for place, word in ((0, "prompt"), (1, "panes"), (2, "system_prompt"))
    ),
    *(("stream", changed(GENERATE, 3, value), "temperature") for value in (1e9, "abc")),
    ("explain", ["run-9", "a", "b", "", 1, "run-8", 1e9], "weight"),
    ("generate", [], "prompt"),
    ("score", ["x"], "response"),
    ("status", [], "run"),
    *(("score", [value, "x", "", ""], "prompt") for value in (5, ["a"])),
    *(("score", ["x", "y", value, ""], "run") for value in (5, ["a"])),
]


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One client for all tests: to make one costs more than a call."""
    with (
        opened(settings_in(tmp_path_factory.mktemp("studio"))) as services,
        served(build_app(services), services) as url,
        httpx.Client(base_url=url, timeout=120) as client,
    ):
        yield client


def call(http: httpx.Client, name: str, values: list[Any]) -> tuple[str, str]:
    """How a call ended ("complete" or "error") and what it said."""
    body = json.dumps({"data": values}).replace("Infinity", "1e400")
    asked = http.post(f"gradio_api/call/{name}", content=body, headers={"Content-Type": "application/json"})
    if asked.status_code != 200:
        return "error", asked.text
    end = text = ""
    with http.stream("GET", f"gradio_api/call/{name}/{asked.json()['event_id']}") as answer:
        for line in answer.iter_lines():
            end = line.removeprefix("event: ") if line.startswith("event: ") else end
            if line.startswith("data: ") and end in ("complete", "error"):
                text = line.removeprefix("data: ")
    return end, text


@pytest.mark.parametrize(
    ("name", "values", "word"), ODD, ids=[f"{name}-{word}-{n}" for n, (name, _, word) in enumerate(ODD)]
)
def test_an_odd_argument_is_named(http: httpx.Client, name: str, values: list[Any], word: str) -> None:
    end, said = call(http, name, values)
    assert end == "error", said
    assert word in said.lower()
    assert "Something went wrong" not in said
    assert "Traceback" not in said
    assert len(said) < 600


def test_one_text_is_a_list_of_one(http: httpx.Client) -> None:
    end, said = call(http, "score_toxicity", ["hello"])
    assert end == "complete", said
    assert said.count('"text"') == 1


def test_numbers_come_as_scripts_write_them() -> None:
    @checked
    def endpoint(count: int, share: float = 0.5, names: list[str] | None = None) -> tuple[Any, ...]:
        return count, share, names

    assert endpoint(3.0, 1, "base") == (3, 1.0, ["base"])
    assert endpoint(3, None, None) == (3, 0.5, None)
    with pytest.raises(InputError, match=r"count is 1\.5; it must be a whole number"):
        endpoint(1.5)
    with pytest.raises(InputError, match="count is null"):
        endpoint(None)
