"""Scores in Compare by a real reward run: it reads the conversation as it was trained to, whatever pane or sample it judges."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.domain.chat import BASE, Sampling
from studio.domain.data import Message, PreferenceRow
from studio.errors import InputError
from studio.ml.models.loading import load_tokenizer
from studio.ml.reward.rows import encode_rows
from studio.services import Services
from studio.services.reward.service import RewardForm
from studio.services.runs.job import read_job
from studio.services.wording import signed
from studio.services.worker.run import train_run
from studio.ui.compare import talk as talks
from studio.ui.compare.panes import scores as pane_scores
from studio.ui.compare.talk import Asked, Pane, Talk
from tests.helpers.services import opened, settings_in

pytestmark = pytest.mark.timeout(600)
SAMPLING = Sampling(0.9, 0.95, 6, 5)


def said(*texts: str) -> tuple[Message, ...]:
    return tuple(Message("assistant" if place % 2 else "user", text) for place, text in enumerate(texts))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Settings:
    folder = tmp_path_factory.mktemp("pane-scores")
    shutil.copytree(tiny_base, folder / "tiny")
    return settings_in(folder, models_dir=folder)


@pytest.fixture(scope="module")
def services(home: Settings) -> Iterator[Services]:
    with opened(home) as made:
        yield made


@pytest.fixture(scope="module")
def base(home: Settings) -> str:
    return str(home.models_dir / "tiny")


@pytest.fixture(scope="module")
def judge(services: Services, base: str) -> str:
    """A reward run on a few pairs of the shipped data."""
    form = RewardForm.from_preset(base, "embedded", dataset_id="live-action-en", data_size=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studio.services.runs.queue.ensure_trainer", lambda settings: None)
        run_id = services.reward.start(replace(form, settings=replace(form.settings, epochs=2.0, learning_rate=0.02)))
    train_run(read_job(services.runs.folder(run_id)), lambda event: None, lambda: False)
    return f"run:{run_id}"


@pytest.fixture
def read(services: Services, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Message, ...]]:
    """The conversations that the reward model was given."""
    given: list[tuple[Message, ...]] = []
    real = services.scoring.score

    def record(name: str, texts: Sequence[str], prompts: Sequence[tuple[Message, ...]]) -> object:
        given.extend((*prompt, Message("assistant", text)) for prompt, text in zip(prompts, texts, strict=True))
        return real(name, texts, prompts)

    monkeypatch.setattr(services.scoring, "score", record)
    return given


def rewards(line: str) -> list[str]:
    return re.findall(r"<b>([+−]\d+\.\d+)</b>", line)


def test_samples_are_ranked_behind_the_conversation_they_go_on(
    services: Services, judge: str, base: str, read: list[tuple[Message, ...]]
) -> None:
    history = said("Do you like films?", "Very much.", "Live action?")
    talk = Talk((Pane(BASE, (*history, Message("assistant", "Yes."))),), "Be kind.", SAMPLING)
    html = pane_scores.best_of_n(services, judge, talk, BASE, 3, base)
    assert "Live action? <i>(after 2 earlier turns of pane 1)</i>" in html
    assert len(rewards(html)) == len(read) <= 3
    assert {conversation[:-1] for conversation in read} == {(Message("system", "Be kind."), *history)}
    # the model that answered had it before it too
    (asked,) = {conversation[:-1] for conversation in read}
    assert [turns[-1].content for turns in read] == [
        text for text in services.compare.samples(BASE, asked, 3, SAMPLING, base) if text.strip()
    ]
    values = [float(value.replace("−", "-")) for value in rewards(html)]
    assert values == sorted(values, reverse=True)


def test_one_answer_behind_two_histories_has_two_rewards(services: Services, judge: str) -> None:
    """As the model reads it that is the text training saw for a pair with that history, to the token."""
    question, answer = "Should anime be turned into live action?", "Yes, it would be a good idea."
    history = said("What do you hate?", "Nothing but silence and rain on a film set.")
    alone, behind = (
        services.scoring.score(judge, [answer], [(*turns, *said(question))]).scores[0].reward for turns in ((), history)
    )
    assert alone == services.scoring.score(judge, [answer], [question]).scores[0].reward
    assert behind != pytest.approx(alone, abs=1e-4)
    recipe = services.runs.get(judge.removeprefix("run:")).recipe
    tokenizer = load_tokenizer(recipe.base.id)
    row = PreferenceRow("p", question, answer, "No.", "support", False, history)
    trained = encode_rows(tokenizer, [row], recipe.system_prompt, 512, "Row").pairs[0][0].ids
    scorer: Any = services.scoring._loaded(services.scoring.spec(judge))
    assert scorer._scorer._encode(1, [*history, *said(question, answer)])[0].ids == trained


def test_panes_are_read_as_they_were_asked_and_compared_where_they_can_be(
    services: Services, judge: str, read: list[tuple[Message, ...]]
) -> None:
    asked = Asked("Be kind.", SAMPLING, "embedded")
    panes = (Pane(BASE, said("q", "one")), Pane("run-1", said("q", "two")), Pane("run-2"))
    talk = Talk(panes, "Typed since then.", asked=asked)
    first, second, empty = pane_scores.pane_lines(services, judge, talk)
    assert [turns[0] for turns in read] == [Message("system", "Be kind.")] * 2
    assert (first + second).count("highest") == 1
    assert empty == ""
    values = services.scoring.score(judge, ["one", "two"], [turns[:-1] for turns in read[:2]]).scores
    assert rewards(first + second) == [signed(one.reward, 3) for one in values]

    other = replace(talk, panes=(Pane(BASE, said("q", "one", "q2", "x")), Pane("run-1", said("q", "two", "q2", "x"))))
    lines = "".join(pane_scores.pane_lines(services, judge, other))
    assert "highest" not in lines
    assert lines.count("do not compare") == 2
    assert len(set(rewards(lines))) == 2


def test_the_last_question_is_that_of_the_pane_that_shows_the_model() -> None:
    panes = (Pane(BASE, said("a", "b", "c", "d")), Pane("run-1", said("a", "B", "c")), Pane("run-2"))
    assert talks.last_question(Talk(panes), "run-1") == (1, said("a", "B", "c"))
    assert (
        talks.last_question(Talk(panes), BASE) == talks.last_question(Talk(panes), "run-2") == (0, said("a", "b", "c"))
    )
    with pytest.raises(InputError, match="no question yet"):
        talks.last_question(Talk((Pane(BASE),)), BASE)
    stopped = Talk((Pane(BASE, said("a")),), "Be kind.")
    assert talks.conversation(stopped, 0) == (Message("system", "Be kind."), *said("a"))


def test_samples_of_a_single_question_are_those_of_a_table(services: Services, base: str) -> None:
    asked = "Should anime be turned into live action?"
    *_, table = services.compare.table([asked] * 3, (BASE,), SAMPLING, "Be kind.", base=base)
    question = (Message("system", "Be kind."), Message("user", asked))
    made = services.compare.samples(BASE, question, 3, SAMPLING, base)
    assert made == tuple(row.answers[0] for row in table.rows)
    assert len(set(made)) > 1


def test_every_scorer_on_offer_scores_panes_and_samples(services: Services, judge: str, base: str) -> None:
    """None of the menu's names may be taken for another kind of scorer."""
    talk = Talk((Pane(BASE, said("Live action?", "Yes, it would be a good idea.")),), sampling=SAMPLING)
    offered = dict(pane_scores.scorers_on_offer(services))
    assert {"embedded", "word-list", judge} <= set(offered.values())
    for label, name in offered.items():
        (line,) = pane_scores.pane_lines(services, name, talk)
        kind = "toxicity" if label.startswith("Toxicity · ") else "reward"
        assert f"{kind} <b>" in line, name
        html = pane_scores.best_of_n(services, name, talk, BASE, 2, base)
        assert f"<th>{kind}</th>" in html
        assert services.scoring.spec(name).info.name in html
