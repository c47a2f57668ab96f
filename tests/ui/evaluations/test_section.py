"""What a look for news sends to a page of the Before / after section."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr
import pytest

from studio.config import Settings
from studio.services import Services, build_services
from studio.services.evaluations.service import EvaluationService
from studio.ui.evaluations.section import CompareSection
from tests.helpers.evaluation_services import form
from tests.helpers.evaluations import ScriptedCompare, ScriptedScoring, light_run
from tests.helpers.pages import shown_in
from tests.helpers.waiting import wait_until


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    """With scripts for the engine and the scorer."""
    services = build_services(settings)
    light_run(services.runs, "run-kind")
    services.evaluations.close()
    compare = ScriptedCompare(settings, services.runs, services.models)
    services.evaluations = EvaluationService(settings, services.runs, compare, ScriptedScoring())  # type: ignore[arg-type]
    yield services
    services.evaluations.close()
    services.compare.close()
    services.rating.close()


def test_a_page_is_sent_what_it_does_not_show(services: Services) -> None:
    with gr.Blocks():
        section = CompareSection(services)
    filters = [widget.value for widget in section.results.filters]
    assert section.tick(None, *filters, "") == {section.progress: gr.skip()}
    started = services.evaluations.start(form("run-kind"))
    wait_until(lambda: not services.evaluations.status(started).busy, 240)
    drawn = section.show(started, *filters)
    seen = shown_in(drawn[section.progress])
    for nothing_new in (seen, None):  # None: the section is not there yet
        assert section.tick(started, *filters, nothing_new) == {section.progress: gr.skip()}
    for missed in ("", f"{started} running 1"):
        again = section.tick(started, *filters, missed)
        assert shown_in(again[section.progress]) == seen
        assert again[section.results.findings] == drawn[section.results.findings]
    # resumed or cancelled by a button, its results are not drawn yet
    assert shown_in(section._moving(services.evaluations.status(started))[section.progress]) == ""
