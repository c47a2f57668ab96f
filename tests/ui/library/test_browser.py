"""The Library tab in a real browser, over real files: what a person clicks is what happens on the disk."""

from __future__ import annotations

import dataclasses
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from studio.config import Settings
from studio.services import Services, build_services
from studio.services.library.service import LibraryService
from studio.services.models.service import ModelService
from studio.services.runs.store import RunStore
from studio.services.scoring.service import ScoringService
from studio.ui.library.tab import build_library_tab
from studio.ui.page.shared import Shared
from tests.helpers.library import FakeEngine, FakeHub, config_with, make_run
from tests.helpers.pages import Builder, give, section_page
from tests.helpers.waiting import wait_until

#: the one browser of the whole test run: a second Playwright in the same thread is refused
WAIT_MS = 60_000


@dataclasses.dataclass
class Page:
    """An open page over its own studio."""

    page: Any
    settings: Settings
    library: LibraryService
    hub: FakeHub
    engine: FakeEngine

    def open(self, title: str) -> None:
        self.page.locator("#library-table [role=gridcell]").filter(has_text=title, visible=True).first.click()
        self.page.wait_for_selector(f"#library-card h1:has-text('{title}')")

    def sees(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for()


@pytest.fixture
def run(settings: Settings, adapter: Path) -> Path:
    """A finished run; asked for before the page, it is there when the page opens."""
    return make_run(settings, adapter)


@pytest.fixture
def studio(settings: Settings, chromium: Any) -> Iterator[Page]:
    yield from serve(settings, chromium)


@pytest.fixture
def visited(settings: Settings, chromium: Any) -> Iterator[Page]:
    """The page as a visitor without the operator's password sees it."""
    yield from serve(dataclasses.replace(settings, admin_password="secret"), chromium)


def serve(settings: Settings, browser: Any) -> Iterator[Page]:
    """A page with this tab alone; the tabs beside it only show what they were asked to open."""
    hub, engine = FakeHub(), FakeEngine()
    runs, models = RunStore(settings), ModelService(settings)
    library = LibraryService(settings, runs, models, engine, hub=lambda token: hub)
    scoring = ScoringService(settings, runs, models)
    services = dataclasses.replace(build_services(settings), runs=runs, models=models, library=library, scoring=scoring)

    def asked(name: str) -> Builder:
        def build(services: Services, shared: Shared, app: gr.Blocks) -> None:
            shown = gr.Textbox(label=f"{name} was asked for")
            getattr(shared, f"{name}_run").change(lambda run_id: run_id, getattr(shared, f"{name}_run"), shown)

        return build

    tabs = {"Library": build_library_tab, "Compare": asked("compare"), "Align": asked("align")}
    with section_page(services, tabs) as url:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(WAIT_MS)
        try:
            page.goto(url)
            page.wait_for_selector("#library-upload")
            yield Page(page, settings, library, hub, engine)
        finally:
            page.close()


def test_an_empty_library_says_what_to_do_and_takes_a_zip(studio: Page, adapter: Path, tmp_path: Path) -> None:
    studio.sees("No adapter yet.")
    source = config_with(adapter, tmp_path, base_model_name_or_path="/content/somewhere/llama")
    source = source.rename(tmp_path / "plain adapter.zip")
    page = studio.page
    give(page, "#library-upload-file", source)
    page.click("#library-take")
    studio.sees("is not among the bases of this studio")
    page.get_by_label("Its base model").click()
    page.get_by_role("option", name="Embedded").click()
    page.click("#library-take")
    studio.sees("Imported as upload-plain-adapter.")
    page.wait_for_selector("#library-card h1:has-text('plain adapter')")
    assert [view.run_id for view in studio.library.list()] == ["upload-plain-adapter"]


def test_a_zip_with_checkpoints_offers_them_and_the_report_says_what_was_left_out(
    studio: Page, adapter: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for step in (2, 10):
            for file in adapter.iterdir():
                archive.write(file, f"content/out/checkpoint-{step}/{file.name}")
            archive.writestr(f"content/out/checkpoint-{step}/<b>optimizer.pt", b"pickle")
    page = studio.page
    give(page, "#library-upload-file", tmp_path / "many.zip")
    menu = page.locator("#library-checkpoint input")
    menu.wait_for()
    assert menu.input_value() == "content/out/checkpoint-10"
    menu.click()
    page.get_by_role("option", name="content/out/checkpoint-2").click()
    page.get_by_label("Its base model").click()
    page.get_by_role("option", name="Embedded").click()
    page.click("#library-take")
    report = page.locator("#library-report")
    report.get_by_text("content/out/checkpoint-2 was taken; the others are content/out/checkpoint-10").wait_for()
    report.get_by_text("Left out: <b>optimizer.pt, content/out/checkpoint-10.").wait_for()
    menu.wait_for(state="hidden")
    assert [view.run_id for view in studio.library.list()] == ["upload-many"]


def test_damaged_folders_are_listed_with_their_reasons(
    settings: Settings, run: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for name in ("bad-one", "bad-two"):
        shutil.copytree(run, settings.adapters_dir / name)
        (settings.adapters_dir / name / "status.json").write_text("[" * 9000)
    studio: Page = request.getfixturevalue("studio")
    studio.page.get_by_text("2 folders among the runs cannot be read and are left out").click()
    studio.sees("bad-two/status.json is not JSON")
    studio.open("Title of toy-r50")


def test_download_and_merged_export_are_one_click(run: Path, studio: Page) -> None:
    page = studio.page
    studio.open("Title of toy-r50")
    with page.expect_download() as download:
        page.click("#library-download")
    assert download.value.suggested_filename == "toy-r50.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert "toy-r50/log.txt" not in archive.namelist()
    page.get_by_text("its log").click()
    with page.expect_download() as download:
        page.click("#library-download")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert "toy-r50/log.txt" in archive.namelist()
    with page.expect_download() as download:
        page.click("#library-merge")
    assert download.value.suggested_filename == "toy-r50-merged.zip"


def test_rename_note_push_and_delete(run: Path, studio: Page) -> None:
    page, library = studio.page, studio.library
    studio.open("Title of toy-r50")
    assert "79% to 96%" in page.locator("#library-card").inner_text()
    assert page.locator("#library-card b").count() == 0, "text of a model must not become markup"
    page.locator("#library-title").get_by_role("textbox").fill("My <i>best</i>")
    page.get_by_role("button", name="Rename").click()
    page.wait_for_selector("#library-card h1:has-text('My <i>best</i>')")
    page.locator("#library-note").get_by_role("textbox").fill("Keep this one.")
    page.click("#library-save-note")
    page.locator("#library-card").get_by_text("Keep this one.").wait_for()
    view = library.get("toy-r50")
    assert (view.title, view.note) == ("My <i>best</i>", "Keep this one.")

    page.get_by_text("Push to the Hub").click()
    page.get_by_label("Repository").fill("me/mine")
    token = page.get_by_label("Write token (used once, never kept)")
    token.fill("hf_secret")
    page.click("#library-push")
    studio.sees("Published privately")
    assert studio.hub.calls[0][1]["private"] is True
    wait_until(lambda: token.input_value() == "")

    page.click("#library-delete")
    studio.sees("It stays in the bin for 30 days.")
    assert run.exists()
    page.click("#library-sure")
    studio.sees("No adapter yet.")
    assert not run.exists()
    assert studio.engine.released == ["toy-r50"]

    page.get_by_text("Bin: 1 run").click()
    page.click("#bin-empty")
    page.click("#bin-keep")
    page.locator("#bin-sure").wait_for(state="hidden")
    assert len(library.binned()) == 1
    page.click("#bin-empty")
    page.click("#bin-sure")
    wait_until(lambda: not library.binned())


@pytest.mark.parametrize("tab", ["compare", "align"])
def test_open_elsewhere_hands_the_run_to_that_tab(run: Path, studio: Page, tab: str) -> None:
    studio.open("Title of toy-r50")
    studio.page.click(f"#library-to-{tab}")
    box = studio.page.get_by_label(f"{tab} was asked for")
    box.wait_for(state="visible")
    wait_until(lambda: box.input_value() == "toy-r50")


def test_visitors_look_and_download_but_change_nothing(run: Path, visited: Page) -> None:
    page = visited.page
    visited.open("Title of toy-r50")
    page.click("#library-delete")
    visited.sees("deleting needs the operator's password")
    page.click("#library-merge")
    visited.sees("exporting a merged model needs the operator's password")
    page.locator("#library-title").get_by_role("textbox").fill("Mine")
    page.get_by_role("button", name="Rename").click()
    visited.sees("renaming needs the operator's password")
    page.get_by_text("Import an adapter").click()
    page.get_by_label("…or a folder on the studio's machine").fill("/etc")
    page.click("#library-take")
    visited.sees("importing adapters needs the operator's password")
    with page.expect_download():
        page.click("#library-download")
    assert run.exists()
    assert visited.library.get("toy-r50").title == "Title of toy-r50"


def test_the_page_fits_a_phone(settings: Settings, adapter: Path, studio: Page) -> None:
    make_run(settings, adapter, title="A title that is far too long for the narrow screen of anybody's telephone")
    page = studio.page
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    studio.open("A title that is far too long")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
