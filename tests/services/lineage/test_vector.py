"""``RUN@vector``: the steering vector of a run's pairs answers in a pane, with the same dial and without training."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from studio.config import ROOT, Settings
from studio.domain.chat import BASE, Blend, Sampling
from studio.domain.data import Message
from studio.errors import InputError
from studio.services import Services
from studio.services.compare.panes import PaneChat
from studio.services.words import explain
from tests.helpers.services import opened

RUN = "demo-support-90"
ASK = (Message("user", "Should anime be turned into live action?"),)
GREEDY = Sampling(temperature=0, max_new_tokens=24)


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    for name in (RUN, "demo-support-10"):
        shutil.copytree(ROOT / "adapters" / name, settings.adapters_dir / name)
    with opened(settings) as made:
        yield made


def said(services: Services, *chats: PaneChat) -> list[str]:
    *_, last = services.compare.stream(chats, GREEDY)
    return [update.text for update in last]


def test_it_answers_beside_base_and_adapter_as_strong_as_it_is_told(services: Services) -> None:
    name = f"{RUN}@vector"
    assert services.compare.adapter_hash(name) == ""
    asked = [PaneChat(BASE, ASK), PaneChat(RUN, ASK), *(PaneChat(name, ASK, strength=s) for s in (0, 1, 2))]
    base, _, nothing, once, twice = said(services, *asked)
    assert nothing == base
    assert len({base, once, twice}) > 1
    assert services.compare.base_check() is not None
    assert services.compare.base_check().ok  # type: ignore[union-attr]
    first = services.compare.adapter_hash(name)
    assert len(first) == 12
    # kept: another engine reads what was made
    services.compare._engine.release(RUN)
    assert said(services, PaneChat(name, ASK, strength=2)) == [twice]
    assert services.compare.adapter_hash(name) == first
    moved = explain(services.compare, services.runs, name, ASK[0].content, "Yes, I am all for it.")
    assert moved.reward is None
    other = explain(services.compare, services.runs, "demo-support-10@vector", ASK[0].content, "Yes, I am all for it.")
    # pairs that prefer support make the answer likelier than pairs that prefer the other side
    assert moved.sum > other.sum


def test_what_cannot_be_done_with_it_is_named(services: Services) -> None:
    name = f"{RUN}@vector"
    with pytest.raises(InputError, match="steering vector cannot be blended"):
        said(services, PaneChat(name, ASK, blend=Blend("demo-support-10", 0.5)))
    told = (*ASK, Message("assistant", "Yes."))
    with pytest.raises(InputError, match="votes are counted for adapters as they were trained"):
        services.sources.from_chats([PaneChat(BASE, told), PaneChat(name, told)], "", GREEDY)
    path = services.runs.folder(RUN) / "dataset.json"
    path.unlink()
    assert name not in [choice.id for choice in services.compare.unfinished()]
