"""The table beside the Reward form: exactly the rows that the worker hands to training, where each is from, what is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.domain.votes import AnswerPair, Decision, NewPair, Origin
from studio.services import Services
from studio.services.rating.rules import tally
from studio.services.reward.service import RewardForm
from studio.services.runs.job import read_job
from studio.services.worker.run import train_run
from studio.ui.reward.form import ALL_ROOMS, VOTES
from studio.ui.reward.preview import CHARACTERS, ROWS, preview
from studio.ui.shell import TABS
from tests.helpers.pages import section_app
from tests.helpers.services import opened
from tests.helpers.votes import cast, cast_votes

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def services(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.setattr(
        "studio.services.runs.queue.ensure_trainer", lambda settings: None
    )  # the worker's work is done by hand
    with opened(settings) as made:
        yield made


FORMS = {
    "votes": {"votes": True, "support_ratio": 0.75},
    "dataset": {"dataset_id": "live-action-en", "data_size": 40, "support_ratio": 0.3},
    "both": {"votes": True, "dataset_id": "live-action-en", "data_size": 60, "support_ratio": 0.5},
}


@pytest.mark.parametrize("source", FORMS)
def test_what_is_shown_is_what_is_trained_on(
    source: str, services: Services, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast_votes(services, 12)
    form = RewardForm.from_preset(str(tiny_base), "embedded", **FORMS[source])
    shown = services.reward.preview(form).table(ROWS)
    given: list[Any] = []
    monkeypatch.setattr("studio.ml.reward.run.train_reward", lambda job, *_: given.append(job))
    train_run(read_job(services.runs.folder(services.reward.start(form))), lambda event: None, lambda: False)
    (job,) = given
    assert job.rows == tuple(line.row for line in shown if not line.heldout)
    assert job.heldout == tuple(line.row for line in shown if line.heldout)
    assert len(job.rows) > len(job.heldout) > 1
    assert len({row.flipped for row in job.rows}) == 2


def test_votes_are_told_with_their_counts_and_flips_beside_the_datasets_rows(services: Services) -> None:
    cast_votes(services, 12)
    counts, rows = preview(services, RewardForm.from_preset("embedded", "embedded", votes=True, support_ratio=0.5))
    assert {row[4] for row in rows if row[5] == "train"} == {"votes 3:0", "votes 3:0\n⇄ flipped"}
    assert {row[4] for row in rows if row[5] == "held out"} == {"votes 3:0"}
    assert "held out by prompt; undecided and left out: none" in counts
    rater, _ = services.rating.register("Late")
    origins = Origin("import", "one"), Origin("import", "two")
    added = services.rating.add_pairs([NewPair("Only one voted?", "Yes.", "No.", *origins, "import")])
    cast(services.rating, rater, {added.ids[0]: "1"})
    both = RewardForm.from_preset("embedded", "embedded", votes=True, dataset_id="live-action-en", data_size=60)
    counts, rows = preview(services, both)
    assert "undecided and left out: 1 with too few votes; 12 pairs of the dataset are among the votes already" in counts
    title = services.datasets.get("live-action-en").title
    assert [row[4] for row in rows if row[5] == "train"].count(title) == 48
    assert not [row for row in rows if row[1] == "Only one voted?"]


def test_how_votes_stand_is_told_from_the_winners_side() -> None:
    pair = AnswerPair("p", "q", "a", "b", Origin("import", "x"), Origin("import", "y"), "import", 0.0)
    assert tally(Decision(pair, "1", 3, 1, 0, 0, 2)) == "3:1"
    assert tally(Decision(pair, "2", 1, 4, 1, 1, 0)) == "4:1 and 2 for neither"


def test_many_and_long_rows_are_cut_and_it_is_said(services: Services, settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    long = "word " * 200
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    lines = [{"prompt": f"Question {n}?", "chosen": f"<b>Yes</b> {n}", "rejected": f"{n} {long}"} for n in range(400)]
    lines[0]["prompt"] = [*turns, {"role": "user", "content": "And now?"}]
    path.write_text("\n".join(map(json.dumps, lines)))
    data = services.datasets.import_file(path).dataset
    form = RewardForm.from_preset("embedded", "embedded", dataset_id=data.id, data_size=400, support_ratio=0.5)
    counts, rows = preview(services, form)
    assert "<b>320</b> pairs to train on (160 flipped), <b>80</b> held out by prompt" in counts
    assert "the table shows 150 of them, the first and the last, and 50 of the held-out ones" in counts
    assert [row[0] for row in rows] == [*range(1, 76), *range(246, 321), *range(1, 51)]
    talked = next(row for row in rows if row[2] == "<b>Yes</b> 0")
    assert talked[1] == "(after 2 earlier turns) And now?"
    assert talked[3] == f"0 {long}".strip()[:CHARACTERS] + f"… (+{len(f'0 {long}'.strip()) - CHARACTERS} characters)"
    assert rows[149][4] == f"{data.title}\n⇄ flipped"
    assert preview(services, replace(form, data_size=401)) == (
        f'<div class="run-message">data_size is 401; {data.title} has 1 to 400 pairs to give.</div>',
        [],
    )


def test_a_dataset_with_sides_calls_its_turned_rows_by_their_side(services: Services) -> None:
    def told(ratio: float) -> list[str]:
        form: RewardForm = RewardForm.from_preset("embedded", "embedded", dataset_id="live-action-en", data_size=10)
        return [row[4] for row in preview(services, replace(form, support_ratio=ratio))[1]]

    title = services.datasets.get("live-action-en").title
    # 8 of 10 oppose, so the held-out rows are read that way too
    assert told(0.2) == [title] * 2 + [f"{title}\n⇄ oppose"] * 28
    assert told(1.0) == [title] * 30


def test_votes_of_one_room_or_of_all(services: Services) -> None:
    """What *Votes of* offers, and that the table beside the form is of what is chosen there."""
    app = section_app(services, {"Reward": TABS["Reward"]}, finished=False)
    named = {getattr(fn.fn, "__name__", ""): fn for fn in app.fns.values()}

    def handler(name: str, **chosen: Any) -> dict[str, Any]:
        fn = named[name]
        values = [chosen.get(str(block.elem_id).replace("-", "_"), block.value) for block in fn.inputs]
        outputs = fn.fn(*values)
        given = outputs if isinstance(outputs, dict) else dict(zip(fn.outputs, outputs, strict=True))
        return {str(block.elem_id): value for block, value in given.items()}

    cast_votes(services, 4)
    alone = handler("refresh")["reward-room"]
    assert (alone.visible, alone.value, alone.choices) == (
        False,
        ALL_ROOMS,
        [("All rooms", ALL_ROOMS), ("Main room", "")],
    )
    blue = services.rooms.make("Blue").code
    cast_votes(services, 9, room=blue)
    menu = handler("refresh", reward_room=blue)["reward-room"]
    assert (menu.visible, menu.value, menu.choices[-1]) == (True, blue, (f"Blue ({blue})", blue))
    shown = {
        room: handler("count", reward_source=VOTES, reward_room=room)["reward-counts"] for room in (ALL_ROOMS, "", blue)
    }
    assert "<b>3</b> pairs to train on (0 flipped), <b>1</b> held out by prompt" in shown[""]
    assert "<b>6</b> pairs to train on (0 flipped), <b>3</b> held out by prompt" in shown[blue]
    assert "<b>10</b> pairs to train on (0 flipped), <b>3</b> held out by prompt" in shown[ALL_ROOMS]
    services.rooms.delete(blue)
    assert handler("refresh", reward_room=blue)["reward-room"].value == ALL_ROOMS
