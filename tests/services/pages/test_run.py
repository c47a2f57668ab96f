"""A run as one page: what stands in it, that texts stay texts, and that a browser with nothing but the file can turn the film-strip."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from studio.__main__ import main
from studio.config import ROOT, Settings
from studio.domain.words import MovedWords, Token
from studio.errors import NotFoundError, RecipeError
from studio.services.pages.run import run_page
from studio.services.runs.store import RunStore
from tests.fixtures.browser import open_page as open_page
from tests.helpers.runs import command_environment

HOSTILE = "<script>document.title='hit'</script><img src=https://example.com/x>"


@pytest.fixture
def runs(settings: Settings) -> RunStore:
    """One demo run, with an answer that tries to be markup."""
    folder = settings.adapters_dir / "demo-support-90"
    shutil.copytree(ROOT / "adapters" / "demo-support-90", folder)
    lines = (folder / "samples.jsonl").read_text().splitlines()
    last = {**json.loads(lines[-1]), "answer": HOSTILE}
    (folder / "samples.jsonl").write_text("\n".join([*lines[:-1], json.dumps(last)]) + "\n")
    return RunStore(settings)


def test_the_file_alone_is_enough_and_its_texts_are_texts(runs: RunStore, open_page: Any, tmp_path: Path) -> None:
    words = MovedWords((Token("Yes", -3.0, -1.0), Token(f" {HOSTILE}", -1.0, -4.0)))
    file = tmp_path / "run.html"
    file.write_text(run_page(runs, "demo-support-90", [("Should it?", words)]), encoding="utf-8")
    asked: list[str] = []
    page = open_page("about:blank")
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    assert page.title() == "Demo: support 0.9"
    assert page.locator("h2").first.inner_text() == "Asked for 90% support, measured 94%"
    assert page.locator("svg path.curve").count() == 6  # rewards are three lines
    steps = [frame.get_attribute("data-step") for frame in page.locator(".frame").all()]
    assert page.locator("#at").inner_text() == steps[-1]
    page.locator(".frame:visible td", has_text=HOSTILE).first.wait_for()
    page.locator("#step").fill("1")
    assert page.locator("#at").inner_text() == steps[1]
    assert page.locator(".frame:visible").count() == 1
    assert page.locator(".words span", has_text="Yes").get_attribute("title") == "+2.00"
    assert asked == [file.as_uri()]


def test_no_training_pair_stands_in_it(runs: RunStore) -> None:
    text = run_page(runs, "demo-support-90")
    assert "row_ids" not in text
    assert not any(pair.support in text for pair in runs.dataset("demo-support-90").pairs)


def test_what_has_no_page_is_named(runs: RunStore) -> None:
    with pytest.raises(NotFoundError):
        run_page(runs, "gone")
    recipe = runs.folder("demo-support-90") / "run.json"
    shutil.copytree(recipe.parent, recipe.parent.with_name("other"))
    other = recipe.parent.with_name("other") / "run.json"
    other.write_text(json.dumps({**json.loads(other.read_text()), "run_id": "other", "method": "unknown"}))
    with pytest.raises(RecipeError):
        run_page(runs, "other")


def test_the_command_writes_it(
    runs: RunStore, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in command_environment(settings).items():
        if name.startswith("STUDIO_"):
            monkeypatch.setenv(name, value)
    out = tmp_path / "page.html"
    assert main(["page", "--run", "demo-support-90", "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == run_page(runs, "demo-support-90")
    assert main(["page", "--run", "gone", "--out", str(out)]) == 2
