"""The stream on which a page is told what became of its events, in a real browser: the page never stops listening."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import pytest

from studio.services import Services
from studio.ui.page.shared import POLLED, Shared
from tests.helpers.pages import section_page

#: Before the page's own scripts: the end of each stream comes half a second late, so that the next tick is asked for meanwhile.
LATE_ENDS = """(() => {
    const ask = window.fetch;
    window.fetch = async (input, init) => {
        const answer = await ask(input, init);
        if (!answer.url.includes("/queue/data") || !answer.ok) return answer;
        const late = new TransformStream({
            async transform(text, out) {
                if (text.includes("close_stream")) await new Promise((done) => setTimeout(done, 500));
                out.enqueue(text);
            },
        });
        const body = answer.body.pipeThrough(new TextDecoderStream()).pipeThrough(late);
        return new Response(body.pipeThrough(new TextEncoderStream()), { headers: answer.headers });
    };
})();"""


def build_counter(services: Services, shared: Shared, app: gr.Blocks) -> None:
    """Counts the ticks of a timer that asks again only when it was answered."""
    ticks, shown, timer = gr.State(0), gr.HTML(elem_id="ticks"), gr.Timer(0.2)
    timer.tick(lambda n: (n + 1, str(n + 1)), ticks, [ticks, shown], **POLLED)


@pytest.fixture
def studio_url(services: Services) -> Iterator[str]:
    with section_page(services, {"Counter": build_counter}) as url:
        yield url


def test_a_timer_goes_on_when_it_asks_as_the_stream_ends(open_page: Callable[..., Any], studio_url: str) -> None:
    page = open_page("about:blank")
    page.add_init_script(LATE_ENDS)
    streams: list[str] = []
    page.on("request", lambda request: streams.append(request.url) if "/queue/data" in request.url else None)
    page.goto(studio_url)
    page.wait_for_function("parseInt(document.querySelector('#ticks')?.innerText) >= 12")  # one may come and go unseen
    assert len(streams) > 1, json.dumps(streams)
