"""Votes out and in through the box of the Rate tab, in a real browser; the backup's line. The box stands on a page of its
own here: what is beside it has tests of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from studio.config import Settings
from studio.services import Services, build_services
from studio.services.access import Gate
from studio.services.votes.hub_backup import VoteMirror
from studio.services.votes.read_export import read_votes
from studio.ui.page.shared import Shared
from studio.ui.votes.export_box import build_export_box
from tests.helpers.fake_hub import FakeHub
from tests.helpers.pages import expand, give, section_page
from tests.helpers.votes import cast, new_pair

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def services(settings: Settings, tmp_path: Path) -> Iterator[Services]:
    """Services with a few votes and a mirror that has copied none of them yet."""
    url = f"sqlite:///{tmp_path / 'studio.db'}"
    services = build_services(dataclasses.replace(settings, database_url=url))
    ids = services.rating.add_pairs([new_pair(n) for n in range(3)]).ids
    for name in ("Ada", "Ben", "Cleo"):
        cast(services.rating, services.rating.register(name)[0], dict.fromkeys(ids, "1"))
    hub = FakeHub(tmp_path / "hub")
    services.mirror = VoteMirror(services.rating, "me/votes", "hf_secret", 3600.0, lambda token: hub)
    yield services
    services.compare.close()
    services.rating.close()


@pytest.fixture
def serve(services: Services) -> Iterator[Callable[[Settings], str]]:
    """Serves a page with nothing but the box; its address."""
    with contextlib.ExitStack() as pages:

        def serve_(settings: Settings) -> str:
            told = dataclasses.replace(services, settings=settings, gate=Gate(settings))
            return pages.enter_context(section_page(told, {"Rate": in_main_room}))

        yield serve_


def in_main_room(services: Services, shared: Shared, app: gr.Blocks) -> None:
    build_export_box(services, shared, gr.State(""), app)


def open_box(page: Any) -> None:
    page.wait_for_selector("#votes-box")
    expand(page, "#votes-box")
    page.wait_for_selector("#votes-download")


def test_votes_are_downloaded_and_taken_in_again(
    services: Services, serve: Callable[[Settings], str], open_page: Any, tmp_path: Path
) -> None:
    page = open_page(serve(services.settings))
    open_box(page)
    page.wait_for_function("document.querySelector('#votes-backup').innerText.includes('9 votes not yet backed up')")
    for kind, label in (("Dataset", "dataset"), ("Argilla 2", "argilla")):
        page.get_by_role("radio", name=kind).check()
        with page.expect_download() as waited:
            page.click("#votes-download")
        name = waited.value.suggested_filename
        assert re.fullmatch(rf"votes-{label}-\d{{4}}-\d\d-\d\d\.zip", name)
        waited.value.save_as(tmp_path / name)
        assert len(read_votes(tmp_path / name, 10**7).ballots.votes) == 9
    expand(page, "#votes-import-box")
    give(page, "#votes-import-file", tmp_path / name)
    page.click("#votes-import")
    page.wait_for_function("document.querySelector('#votes-import-report')?.innerText.includes('0 new votes')")
    assert "9 known" in page.inner_text("#votes-import-report")
    assert services.mirror is not None
    assert services.mirror.sync()
    page.wait_for_function("document.querySelector('#votes-backup').innerText.includes('All votes are backed up')")


def test_visitors_get_no_votes_and_bring_none(
    services: Services, serve: Callable[[Settings], str], open_page: Any
) -> None:
    page = open_page(serve(dataclasses.replace(services.settings, admin_password="secret")))
    open_box(page)
    page.click("#votes-download")
    page.get_by_text("exporting votes needs the operator's password").first.wait_for()
    expand(page, "#votes-import-box")
    page.click("#votes-import")
    page.get_by_text("importing votes needs the operator's password").first.wait_for()
