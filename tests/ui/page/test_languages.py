"""The page in three languages: the whole built page, and a visitor's page in a real browser."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from studio.config import ROOT, Settings
from studio.errors import InputError
from studio.i18n import _, speaking
from studio.services import Services
from studio.services.lessons import read_lessons
from studio.ui.compare.panes.widgets import EXAMPLES
from studio.ui.guide.head import build_head
from studio.ui.page.guard import guarded
from studio.ui.page.languages import AS_WRITTEN, translated_page
from studio.ui.page.shared import Shared
from studio.ui.shell import build_app
from tests.helpers.pages import section_page, toast
from tests.helpers.services import opened, settings_in

#: Two English words in a row.
ENGLISH = re.compile(r"[A-Za-z]{2,}[,;:]? [a-z]{2,}")
CHINESE = re.compile(r"[一-鿿]")
#: What has no Chinese name, and a question to begin with.
NAMES = ("owner/name", *EXAMPLES)


def shown(component: dict[str, Any]) -> Iterator[str]:
    """The texts of a component's own, as the page holds them."""
    props, kind = component["props"], component["type"]
    for name in ("label", "info", "placeholder", "submit_btn", "stop_btn"):
        yield props.get(name) or "" if props.get("show_label") is not False or name != "label" else ""
    yield from (str(header) for header in props.get("headers") or ())
    value = props.get("value")
    if kind in ("markdown", "button", "downloadbutton", "uploadbutton") and isinstance(value, str):
        yield from value.split("\n")
    if kind == "html" and isinstance(value, str):
        yield from re.findall(r">([^<>]+)<", value)
        yield from re.findall(r' (?:title|aria-label)="([^"]+)"', value)


def as_written(component: dict[str, Any]) -> bool:
    """Whether its text may be somebody else's, such as a lesson's."""
    return AS_WRITTEN in (component["props"].get("elem_classes") or ())


@pytest.mark.parametrize("code", ["zh-Hant", "zh-Hans"])
def test_no_english_is_left_on_the_built_page(built: str, code: str) -> None:
    with speaking(code):
        page = translated_page(built, 'tr("Run the demo")')
    config, _end = json.JSONDecoder().raw_decode(page[page.index("gradio_config = ") + len("gradio_config = ") :])
    components = config["components"]
    texts = [text for component in components for text in shown(component)]
    with speaking(code):
        assert _(LESSON.task) in [component["props"].get("value") for component in components if as_written(component)]
    assert sum(bool(CHINESE.search(text)) for text in texts) > 300
    left = [text for text in texts if ENGLISH.search(text) and not CHINESE.search(text)]
    assert [text for text in left if not any(name in text for name in NAMES)] == []
    assert f'lang="{code}"' in page
    assert 'Run the demo":"' in page
    assert "</script>" not in page[: page.index("gradio_config = ") + 100].partition("<script>")[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Gradio's page, as far as it matters here."""
    with opened(settings_in(tmp_path_factory.mktemp("page"))) as made:
        config = build_app(made).get_config_file()
    return f'<html lang="en"><script>window.gradio_config = {json.dumps(config, default=str)};</script></html>'


#: The first of the shipped ones, and the beginning of somebody's own, which is words of the page too.
LESSON = read_lessons(ROOT / "data" / "lessons")[0]
OWN = "There is no test prompt.\n\n**Compare**"


def section(services: Services, shared: Shared, app: gr.Blocks) -> None:
    """A line that an event says, an event that is refused, and lessons."""
    build_head()
    lesson = gr.Markdown(LESSON.task, elem_id="lesson", elem_classes=AS_WRITTEN)
    for name, text in (("Resume", LESSON.after), ("Stop", OWN)):
        gr.Button(name, elem_id=name.lower()).click(functools.partial(str, text), None, lesson)
    line = gr.Markdown("There is no test prompt.", elem_id="line")
    rows = gr.Dataframe(headers=["Prompt", "State"], elem_id="rows")

    def say() -> tuple[str, list[list[str]]]:
        return "There is no adapter to compare with the base yet; train one first.", [["Prompt", "kept as it is"]]

    def refuse() -> None:
        raise InputError("data_size is 0; it must be at least 1.")

    gr.Button("Retry", elem_id="say").click(guarded(say), None, [line, rows])
    gr.Button("Train", elem_id="refuse").click(guarded(refuse))


def test_browser_language_and_the_switch(
    open_page: Any, services: Services, settings: Settings, tmp_path: Path
) -> None:
    with section_page(services, {"Align": section}) as url:
        page = open_page(url, locale="zh-TW")
        page.locator("#line", has_text="沒有測試提示。").wait_for()
        assert page.locator("html").get_attribute("lang").startswith("zh")
        assert page.locator("#studio-tabs [role=tab]").first.inner_text() == "對齊"
        page.click("#say")
        page.locator("#line", has_text="還沒有適配器可與基礎模型比較；請先訓練一個。").wait_for()
        page.locator("#rows", has_text="狀態").wait_for()
        page.locator("#rows", has_text="kept as it is").wait_for()
        page.locator("#lesson", has_text="五十對回答，每對一個支持、一個反對。").wait_for()
        page.click("#resume")
        page.locator("#lesson", has_text="比例旋鈕是資料所要求的").wait_for()
        page.click("#stop")
        page.locator("#lesson", has_text="There is no test prompt. Compare").wait_for()
        page.click("#refuse")
        toast(page, "data_size 是 0；至少要 1。")
        page.select_option("[data-language]", "zh-Hans")
        page.locator("#line", has_text="没有测试提示。").wait_for()
        page.goto(f"{url}rate")
        page.locator("#welcome-title", has_text="哪个回答较好？").wait_for()
        assert page.locator("html").get_attribute("lang") == "zh-Hans"
        page.goto(f"{url}?tab=align")
        page.select_option("[data-language]", "en")
        page.locator("#line", has_text="There is no test prompt.").wait_for()
        assert "tab=align" in page.url


def test_browser_theme_is_remembered(open_page: Any, services: Services) -> None:
    switch, dark = "[data-theme-switch]", "body.dark #line"
    with section_page(services, {"Align": section}) as url:
        page = open_page(f"{url}?tab=align", color_scheme="light")
        page.locator("body:not(.dark) #line").wait_for()
        page.select_option(switch, "dark")
        page.locator(dark).wait_for()
        assert "tab=align" in page.url
        page.goto(url)
        page.locator(dark).wait_for()
        assert page.locator(switch).input_value() == "dark"
        page.select_option(switch, "")
        page.locator("body:not(.dark) #line").wait_for()
        page.goto(url)
        page.locator("body:not(.dark) #line").wait_for()
        page.emulate_media(color_scheme="dark")
        page.locator(dark).wait_for()
