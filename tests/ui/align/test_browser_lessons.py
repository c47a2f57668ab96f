"""A lesson in a real browser: predicted, set up, trained by a script, and the measured share beside the prediction."""

from __future__ import annotations

from typing import Any

import pytest

from studio.config import Settings
from tests.helpers.pages import expand
from tests.helpers.runs import scripted

pytestmark = pytest.mark.timeout(600)


def test_predict_set_up_train_and_see(settings: Settings, page: Any) -> None:
    page.locator("#preview-count", has_text="45 prefer support").wait_for()
    expand(page, "#lessons-box")
    page.locator("#lesson input").click()
    page.get_by_role("option", name="4. Make it polite").click()
    page.locator("#lesson-text", has_text="politely or bluntly").wait_for()
    guess = page.locator("#lesson-guess input[type=number]")
    guess.fill("0.75")
    guess.blur()
    page.click("#lesson-set-up")
    page.locator("#lesson-outcome", has_text="Predicted 75").wait_for()
    page.locator("#preview-count", has_text="50 kept as labelled").wait_for()
    assert page.locator("#lesson-after").inner_text().strip() == ""
    expand(page, "#advanced")
    box = page.locator("#advanced").get_by_label("System prompt")
    box.fill("steps=4 pause=0.05")
    box.blur()
    with scripted(settings):
        page.click("#train")
        page.locator("#lesson-outcome", has_text="Predicted 75%, measured 90%").wait_for()
    assert page.locator("#lesson-outcome .track").get_attribute("aria-label") == "Measured 90%, predicted 75%"
    page.locator("#lesson-after", has_text="a manner carries over").wait_for()
