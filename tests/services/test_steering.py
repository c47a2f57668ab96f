"""The measured share of a steering vector: as the run was measured, kept with it, told wherever DPO's is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from studio.config import ROOT
from studio.domain.chat import VECTOR
from studio.domain.data import Message
from studio.errors import InputError, RecipeError
from studio.ml.measure.stance import StanceJudge, judged_share
from studio.services import Services
from studio.services.compare.panes import PaneChat, behind, row_seed
from studio.services.library.model_card import model_card
from studio.services.pages.run import run_page
from studio.ui.training import run_view
from tests.helpers.services import opened, settings_in

RUN = "demo-support-90"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    settings = settings_in(tmp_path_factory.mktemp("steering"))
    shutil.copytree(ROOT / "adapters" / RUN, settings.adapters_dir / RUN)
    path = settings.adapters_dir / RUN / "run.json"
    recipe = json.loads(path.read_text(encoding="utf-8"))
    recipe["dpo"]["measured_answers"] = 6  # a copy: what was measured stays in its events
    path.write_text(json.dumps(recipe), encoding="utf-8")
    with opened(settings) as made:
        yield made


def test_it_is_measured_kept_and_told_beside_dpo(services: Services) -> None:
    before = services.align.result(RUN)
    assert "vector_shares" not in before
    told: list[float] = []
    found = services.steering.measure(RUN, (1, 2), lambda share, text: told.append(share))
    assert [strength for strength, _ in found] == [1, 2]
    assert told == sorted(told)
    # by hand: the same prompts, noise and judge
    view, data = services.runs.get(RUN), services.runs.dataset(RUN)
    prompts, recipe = data.test_prompts[:6], view.recipe
    answers = []
    for place, prompt in enumerate(prompts):
        turns = behind(recipe.system_prompt, [Message("user", prompt)])
        chat = PaneChat(f"{RUN}@{VECTOR}", turns, row_seed(recipe.settings.seed, place), strength=2.0)
        *_, last = services.compare.stream([chat], replace(recipe.sampling, max_new_tokens=64))
        answers.append(last[0].text)
    judge = StanceJudge.fit(data.pairs + data.heldout)
    by_hand = judged_share(answers, judge)
    assert dict(found)[2.0].n + dict(found)[2.0].abstained == len(prompts)
    assert dict(found)[2.0] == by_hand
    # a second look replaces the first, and nothing of the run's own measure is touched
    services.steering.measure(RUN, (2,))
    assert services.runs.get(RUN).vector_shares == found
    after = services.align.result(RUN)
    assert {**after, "vector_shares": None} == {**before, "vector_shares": None}
    assert [one["strength"] for one in after["vector_shares"]] == [1, 2]
    view = services.runs.get(RUN)
    for text in (run_view.result(view), run_page(services.runs, RUN)):
        assert "vector × 1" in text
        assert "vector × 2" in text
    assert "steering vector × 2, untrained" in model_card(view)


def test_what_cannot_be_measured_is_said(services: Services) -> None:
    with pytest.raises(InputError, match="strength"):
        services.steering.measure(RUN, (9.0,))
    other = services.settings.adapters_dir / "imported"
    shutil.copytree(services.settings.adapters_dir / RUN, other)
    recipe = json.loads((other / "run.json").read_text(encoding="utf-8"))
    (other / "run.json").write_text(json.dumps({**recipe, "method": "unknown"}), encoding="utf-8")
    with pytest.raises(RecipeError, match="neither a DPO nor a KTO run"):
        services.steering.measure("imported")
