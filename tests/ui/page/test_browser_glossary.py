"""Words of the field are explained where they stand, by the sentences of docs/terms.md; what models and people wrote is left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio.config import ROOT
from studio.services.glossary import EXPLAINED, meanings
from studio.ui.page.theme import CSS_FILES

PAGE = """<body class="gradio-container"><div style="height: 1200px"></div>
<div class="block" id="align-beta"><span data-testid="block-info">Beta</span><input></div>
<div class="block" dir="ltr"><div class="html-container"><p id="ours">The KL in nats. Again KL, and <a href="#">Wilson</a>.</p><p dir="auto">A model said KL.</p>
<table class="strip"><tr><td class="changed" id="said">LoRA</td></tr></table></div></div><div id="later" class="html-container"></div></body>"""


def test_the_sentences_are_those_of_the_page_of_terms() -> None:
    text = (ROOT / "docs" / "terms.md").read_text(encoding="utf-8")
    assert set(meanings()) == set(EXPLAINED)
    assert all(f"| {term} | {meaning} |" in text for term, meaning in meanings().items())


def test_by_pointer_by_keyboard_and_for_a_screen_reader(open_page: Callable[..., Any]) -> None:
    page = open_page("about:blank")
    page.set_content(PAGE)
    for file in CSS_FILES:
        page.add_style_tag(path=str(file))
    page.evaluate(f"window.studioTerms = {json.dumps(meanings())}")
    before = page.locator("#ours").bounding_box()
    page.add_script_tag(path=str(Path(ROOT, "studio/ui/page/glossary.js")))
    page.wait_for_selector("#ours dfn")
    assert page.locator("#ours").bounding_box() == before, "nothing moves"
    assert [one.inner_text() for one in page.locator("dfn").all()] == ["KL", "nats"]
    assert page.locator("#said").is_visible(), "an answer that changed is no hidden button"
    tip = page.locator("#term-tip")
    page.locator("dfn", has_text="KL").hover()
    assert tip.inner_text() == f"KL: {meanings()['KL']}"
    page.mouse.move(0, 0)
    tip.wait_for(state="hidden")

    page.locator("#align-beta input").focus()
    assert tip.inner_text() == f"beta: {meanings()['beta']}"
    page.keyboard.press("Escape")
    tip.wait_for(state="hidden")
    page.keyboard.press("Tab")
    assert tip.inner_text().startswith("KL:")
    described = page.evaluate("document.activeElement.getAttribute('aria-describedby')")
    assert page.locator(f"#{described}").text_content() == f"KL: {meanings()['KL']}"

    page.evaluate("document.getElementById('later').innerHTML = '<div class=quiet>Implicit reward and LoRA.</div>'")
    page.wait_for_selector("#later dfn")
    assert [one.get_attribute("data-term") for one in page.locator("#later dfn").all()] == ["implicit reward", "LoRA"]
