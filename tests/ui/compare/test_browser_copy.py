"""The copy buttons of a chat in Compare give what was said, tags and all, which the page never shows as tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from studio.domain.chat import PaneUpdate
from studio.services import Services
from tests.helpers.pages import expand, open_tab
from tests.helpers.waiting import wait_until

TABS = ("Compare",)
pytestmark = pytest.mark.timeout(900)

QUESTION = "Is <b>this</b> 1 < 2 & &lt;that&gt; bold?"
ANSWER = "Write <b>bold</b> as &lt;b&gt; &amp; <!-- so --> <img src=x onerror=document.title='hit'> 5 > 3\n<script>x</script>"
NO_CLIPBOARD = "delete Navigator.prototype.clipboard"
READ = "navigator.clipboard.readText()"
PASTED = "#system-prompt textarea"


@pytest.mark.parametrize("plain_http", [False, True])
def test_what_is_copied_is_what_was_said(
    services: Services,
    studio_url: str,
    open_page: Callable[..., Any],
    plain_http: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stream(*_: Any, **__: Any) -> Iterator[list[PaneUpdate]]:
        yield [PaneUpdate(text=ANSWER, tokens=9, done=True)]

    monkeypatch.setattr(services.compare, "stream", stream)
    page = open_page(studio_url, permissions=["clipboard-read", "clipboard-write"])
    if plain_http:  # where a page is not secure, a browser gives it no clipboard
        page.add_init_script(NO_CLIPBOARD)
        page.reload()
    open_tab(page, "Compare")
    page.wait_for_selector("#pane-identity-1 .pane-id")
    page.fill("#prompt textarea", QUESTION)
    page.press("#prompt textarea", "Enter")
    page.wait_for_selector("#chat-1 .bot.message")
    page.wait_for_selector("#send:not([disabled])")
    expand(page, "#sampling")

    def gives(button: Any, text: str, exactly: bool = True) -> None:
        button.click()
        if not plain_http:  # written some time after the click
            wait_until(lambda: text in (copied := page.evaluate(READ)) and (copied == text or not exactly))
            return
        page.fill(PASTED, "")
        page.focus(PASTED)
        page.keyboard.press("Control+V")
        page.wait_for_function(f"document.querySelector('{PASTED}').value !== ''")
        assert page.input_value(PASTED) == text

    buttons = page.locator("#chat-1 button[aria-label='Copy message']")
    assert buttons.count() == 2
    gives(buttons.last, ANSWER)
    gives(buttons.first, QUESTION)
    if not plain_http:
        gives(page.locator("#chat-1 button[aria-label='Copy conversation']"), ANSWER, exactly=False)
    assert page.locator("#chat-1 .message :is(b, img, script)").count() == 0
    assert page.title() != "hit"
    # elsewhere a copy is left alone
    if not plain_http:
        page.click("#prompt textarea")
        page.evaluate("navigator.clipboard.writeText('&lt;kept&gt;')")
        assert page.evaluate(READ) == "&lt;kept&gt;"
