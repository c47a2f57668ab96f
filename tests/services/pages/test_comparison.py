"""A before/after table as one page, and what the command writes besides runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from studio.__main__ import main
from studio.config import Settings
from studio.domain.words import MovedWords, Token
from studio.errors import InputError
from studio.services.pages.comparison import comparison_page, read_comparison
from studio.services.rating.service import RatingService
from studio.services.votes.kept import keep_votes
from tests.fixtures.browser import open_page as open_page
from tests.helpers.evaluations import make_evaluation, store_evaluation
from tests.helpers.runs import command_environment
from tests.helpers.votes import cast, new_pair

HOSTILE = "<script>document.title='hit'</script>"
ROWS = [
    {"id": "1", "prompt": "Should it?", "response_from_original_model": "No.", "response_from_trained_model": HOSTILE},
    {"id": "2", "prompt": HOSTILE, "response_from_original_model": "", "response_from_trained_model": "Yes."},
]


def file_of(folder: Path, content: Any) -> Path:
    path = folder / "table.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_the_file_alone_is_enough_and_its_texts_are_texts(open_page: Any, tmp_path: Path) -> None:
    words = MovedWords((Token("Yes", -3.0, -1.0), Token(f" {HOSTILE}", -1.0, -4.0)))
    made = read_comparison(file_of(tmp_path, ROWS), "Kind")
    out = tmp_path / "page.html"
    out.write_text(comparison_page(made, [words], [("Base", 0, 2), ("Kind", 2, 2)]), encoding="utf-8")
    page = open_page(out.as_uri())
    assert page.title() == "Base against Kind"
    assert page.locator("h2").first.inner_text() == "For support: 0 of 2 (Base), 2 of 2 (Kind)"
    assert page.locator("td", has_text=HOSTILE).count() == 2
    assert page.locator(".words span").first.get_attribute("title") == "+2.00"
    page.get_by_text("Words that moved: the first 1 answers.").wait_for()


def test_several_adapters_keep_their_names(tmp_path: Path) -> None:
    keys = ("response_from_original_model", "response_from_trained_model_a", "response_from_trained_model_b")
    made = read_comparison(file_of(tmp_path, [{"prompt": "Q", **dict.fromkeys(keys, "x")}]))
    assert (made.names, made.title) == (("Base", "a", "b"), "Base against a, b")


@pytest.mark.parametrize("content", [[], {}, [1], [{"prompt": "x"}], [{**ROWS[0], "prompt": 3}], [ROWS[0], {}]])
def test_what_is_no_table_is_named(content: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"table.json is no before/after table; give the JSON"):
        read_comparison(file_of(tmp_path, content))


def test_the_command_writes_each_kind(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in command_environment(settings).items():
        if name.startswith("STUDIO_"):
            monkeypatch.setenv(name, value)
    store_evaluation(settings, make_evaluation("aa01"))
    rating = RatingService(settings)
    (pair,) = rating.add_pairs([new_pair(1)]).ids
    cast(rating, rating.register("Ada")[0], {pair: "1"})
    votes = keep_votes(rating)
    rating.close()
    out = tmp_path / "page.html"
    table = str(file_of(tmp_path, ROWS))
    for flags, words in (
        (["--evaluation", "aa01"], "Transcripts"),
        (["--votes", votes], "Which model wrote which"),
        (["--comparison", table], "Base against Adapter"),
    ):
        assert main(["page", *flags, "--out", str(out)]) == 0
        assert words in out.read_text(encoding="utf-8")
    for flags, words in (
        ([], "A page shows one thing"),
        (["--votes", votes, "--evaluation", "aa01"], "A page shows one thing"),
        (["--votes", votes, "--run", "x"], "A page shows one thing"),
        (["--comparison", table, "--words"], "--words needs --run"),
        (["--comparison", "gone.json"], "there is no such file"),
        (["--votes", "v1"], "no kept result"),
    ):
        assert main(["page", *flags, "--out", str(out)]) == 2
        assert words in capsys.readouterr().err
