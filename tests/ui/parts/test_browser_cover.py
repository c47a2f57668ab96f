"""Covers: nothing of a text is in what can be seen or read out before it is asked for; a button for mouse and keyboard."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import pytest

from studio.services.pages.html import SHAPE
from studio.ui.page.theme import CSS_FILES, theme
from studio.ui.parts.cover import cover_switch
from studio.ui.parts.html import parts

RUDE = "You are a <b>stupid</b> idiot & nobody likes you."
RUDE_ZH = "你這個白痴，滾開！"


def outside(html: str) -> str:
    """The HTML without the element that holds the text."""
    return re.sub(r'<div class="cover-text".*?</div>', "", html, flags=re.DOTALL)


@pytest.mark.parametrize("text", [RUDE, RUDE_ZH, "Idiot", "白痴", "moron " * 500])
def test_nothing_of_the_text_is_outside_of_what_is_hidden(text: str) -> None:
    html = parts.covered(text)
    assert re.search(r'<div class="cover-text" dir="auto" hidden>', html)
    seen = outside(html)
    for word in re.findall(r"[a-z]{3,}|[一-鿿]+", text.casefold()):
        assert word not in seen.casefold()
    shape = re.search(r"cover-shape[^>]*>([^<]*)<", seen)
    assert shape
    assert len(shape[1]) <= SHAPE


def test_the_text_is_escaped_and_whole() -> None:
    html = parts.covered(RUDE, 'answer "before"')
    assert "You are a &lt;b&gt;stupid&lt;/b&gt; idiot &amp; nobody likes you." in html
    assert 'aria-label="Show the covered answer &#34;before&#34;, 49 characters"' in html
    assert "1 character<" not in parts.covered("x")
    assert ', 1 character"' in parts.covered(" x ")


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_text_is_told_not_covered(text: str) -> None:
    assert "(empty)" in parts.covered(text)
    assert "cover" not in parts.covered(text)


@pytest.fixture
def cover_url() -> Iterator[str]:
    with gr.Blocks() as app:
        cover_switch()
        gr.HTML(parts.covered(RUDE) + parts.covered(RUDE_ZH))
    _, url, _ = app.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, theme=theme(), css_paths=[*CSS_FILES]
    )
    yield url
    app.server.force_exit = True  # the page is still open
    app.close()


def test_covers_open_one_by_one_by_key_and_by_mouse_or_all_at_once(
    open_page: Callable[..., Any], cover_url: str
) -> None:
    page = open_page(cover_url)
    page.locator(".cover").first.wait_for()
    texts, buttons = page.locator(".cover-text"), page.locator(".cover summary")
    assert "stupid" not in page.inner_text("body")
    assert "blur(" in page.locator(".cover-shape").first.evaluate("e => getComputedStyle(e).filter")

    buttons.first.focus()
    page.keyboard.press("Enter")
    texts.first.wait_for(state="visible")
    assert texts.first.inner_text() == RUDE
    assert not texts.nth(1).is_visible()
    page.keyboard.press("Enter")
    texts.first.wait_for(state="hidden")

    buttons.nth(1).click()
    texts.nth(1).wait_for(state="visible")
    assert not texts.first.is_visible()

    switch = page.get_by_label("Show all covered texts on this page")
    switch.check()
    texts.first.wait_for(state="visible")
    assert not page.locator(".cover-shape").first.is_visible()
    switch.uncheck()
    texts.first.wait_for(state="hidden")

    # another visitor, and the same one after a reload, find everything covered
    page.reload()
    page.locator(".cover").first.wait_for()
    assert not texts.nth(1).is_visible()
