"""A server that takes votes, with a store of each test's own."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr
import pytest

from studio.config import Settings
from studio.services import build_services
from studio.services.rating.rooms import RoomService
from studio.services.rating.service import RatingService
from studio.services.rating.thumbs import ThumbService
from tests.helpers.pages import served
from tests.helpers.voting_server import Hall


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    """The routes as ``launch()`` is given them, inside Gradio's own server; each test has a store of its own."""
    folder = tmp_path_factory.mktemp("hall")
    services = build_services(Settings(database_url=f"sqlite:///{folder / 'first.db'}", cache_dir=folder / "cache"))
    with gr.Blocks(analytics_enabled=False) as app:
        gr.Markdown("the studio")
    with served(app, services) as url:
        yield Hall(services, url)
    services.rating.close()


@pytest.fixture
def hall(server: Hall, settings: Settings) -> Iterator[Hall]:
    server.services.rating = server.rating = RatingService(settings)
    server.services.rooms = RoomService(server.rating)
    server.services.thumbs = ThumbService(server.rating)
    yield server
    server.rating.close()
