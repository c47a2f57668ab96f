"""The shipped adapters: they belong to the base they name, and they take the sides they say they take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from studio.config import ROOT, Settings
from studio.domain.chat import BASE, Sampling
from studio.domain.data import Message
from studio.services import build_services
from studio.services.compare.panes import PaneChat

DEMOS = {"demo-support-90": 0.9, "demo-support-10": 0.1}
REAL = {"demo-smollm2-90": 0.9, "demo-smollm2-10": 0.1}


@pytest.fixture
def shipped(settings: Settings) -> Settings:
    """Settings that read the repository's own adapters folder."""
    return replace(settings, adapters_dir=ROOT / "adapters")


def test_demo_adapters_belong_to_the_shipped_base(shipped: Settings) -> None:
    services = build_services(shipped)
    fingerprint = services.models.resolve("embedded")[0].fingerprint
    for run_id, ratio in DEMOS.items():
        run = services.runs.get(run_id)
        assert run.status.state == "done"
        assert run.recipe.support_ratio == ratio
        assert run.recipe.base.fingerprint == fingerprint, "retrain the demo adapters after replacing the base"
        assert run.adapter_share is not None
        assert run.adapter_share.n > 0


@pytest.mark.parametrize("demos", [DEMOS, REAL], ids=["embedded", "smollm2"])
def test_demo_adapters_measured_stances_lie_on_their_sides(shipped: Settings, demos: dict[str, float]) -> None:
    services = build_services(shipped)
    high, low = (services.runs.get(run_id).adapter_share for run_id in demos)
    assert high is not None
    assert low is not None
    assert high.low > low.high, "the intervals of .9 and .1 overlap: the demo does not show anything"


def test_demo_adapters_answer_beside_the_base(shipped: Settings) -> None:
    services = build_services(shipped)
    question = (Message("user", "Should anime be turned into live action?"),)
    panes = [PaneChat(pane, question) for pane in (BASE, *DEMOS)]
    try:
        *_, last = services.compare.stream(panes, Sampling(temperature=0.0, max_new_tokens=48))
    finally:
        services.compare.close()
    answers = [update.text for update in last]
    assert all(answers)
    assert len(set(answers)) > 1


def test_demo_adapters_of_smollm2_are_small_and_belong_to_the_base_that_is_fetched(
    shipped: Settings, real_base: Path
) -> None:
    services = build_services(replace(shipped, models_dir=real_base.parent))
    base = services.models.resolve("smollm2-135m")[0]
    for run_id, ratio in REAL.items():
        run = services.runs.get(run_id)
        assert (run.recipe.support_ratio, run.recipe.base) == (ratio, base)
        assert run.size_bytes < 4_000_000
        assert run.adapter_share is not None
        assert not run.adapter_share.broken
        assert services.runs.samples(run_id)


def test_demo_adapters_of_smollm2_answer_beside_it(shipped: Settings, real_base: Path) -> None:
    services = build_services(replace(shipped, models_dir=real_base.parent))
    question = (
        Message("system", "Answer in one short sentence."),
        Message("user", "Would you film your favourite comic?"),
    )
    panes = [PaneChat(pane, question) for pane in (BASE, *REAL)]
    try:
        *_, last = services.compare.stream(panes, Sampling(temperature=0.0, max_new_tokens=24))
    finally:
        services.compare.close()
    assert len({update.text for update in last}) == 3
