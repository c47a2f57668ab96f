"""The dial, typed into: what is shown is what trains; what cannot be is refused beside its field."""

from __future__ import annotations

from typing import Any

from studio.domain.runs import DpoRecipe
from studio.services import Services
from tests.helpers.pages import toast
from tests.helpers.waiting import wait_until

TABS = ("Align",)


def test_what_is_typed_into_the_dial_is_shown_and_trains(page: Any, services: Services) -> None:
    field, said = page.locator("#support-ratio input[type=number]"), page.locator("#support-ratio .field-error")
    count, table = page.locator("#preview-count"), page.locator("#preview")
    count.get_by_text("45 prefer support").wait_for()
    field.fill("0.2")
    count.get_by_text("10 prefer support").wait_for()
    table.wait_for()  # opened by the first number that was typed

    for number in ("-1", "5"):
        field.fill(number)
        said.get_by_text(f"support_ratio must be between 0 and 1; {number} is not taken.").wait_for()
        field.blur()
        assert field.input_value() == "0.2"
    field.fill("")
    said.wait_for(state="detached")
    field.blur()
    assert field.input_value() == "0.2"
    assert page.locator(".toast-body.error").count() == 0
    assert "10 prefer support" in count.inner_text()

    field.fill(".33")  # between two marks of the slider
    count.get_by_text("16 prefer support").wait_for()
    page.locator("#train").click()
    wait_until(lambda: bool(services.runs.ids()))
    (run,) = services.runs.list()
    assert isinstance(run.recipe, DpoRecipe)
    assert (run.recipe.support_ratio, sum(run.recipe.rows_support)) == (0.33, 16)


def test_what_was_refused_is_forgotten_once_another_value_stands_there(page: Any) -> None:
    page.locator("#advanced > button").click()
    field, said = page.locator("#align-learning-rate input"), page.locator("#align-learning-rate .field-error")
    field.fill("-1")
    page.locator("#train").click()
    said.get_by_text("Learning rate is -1").wait_for()
    toast(page, "Learning rate is -1")
    page.locator("#reset").click()
    said.wait_for(state="detached")
    assert float(field.input_value()) > 0


def test_a_refusal_names_the_field_by_its_label_in_chinese_too(open_page: Any, studio_url: str) -> None:
    page = open_page(studio_url, locale="zh-TW")
    page.locator("#advanced > button").click()
    page.locator("#align-learning-rate input").fill("-1")
    page.locator("#train").click()
    toast(page, "學習率是 -1")
