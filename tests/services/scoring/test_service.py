"""The toxicity service: who is on offer, who exactly scores, what is refused and how; one scorer in memory."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from studio.config import Settings
from studio.domain.runs import BaseModelRef
from studio.domain.toxicity import NOT_COVERED
from studio.errors import ConflictError, InputError, ModelLoadError, NotFoundError
from studio.ml.models.loading import fingerprint
from studio.ml.reward.run import train_reward
from studio.ml.reward.scorer import RewardScorer
from studio.ml.scorers.classifier import ClassifierScorer
from studio.ml.scorers.embedded import EmbeddedScorer
from studio.services.models.service import ModelService
from studio.services.runs.store import RunStore
from studio.services.scoring.service import MAX_TEXTS, ScoringService, check_texts
from tests.helpers.reward import make_encoder, reward_job, reward_of
from tests.helpers.runs import make_dataset
from tests.helpers.scorers import COMMIT, edit_config, make_classifier, put_in_cache

HATE_ID, TOXIC_ID = "facebook/roberta-hate-speech-dynabench-r4-target", "unitary/toxic-bert"
HATE, TOXIC = ("nothate", "hate"), ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")


@pytest.fixture(scope="module")
def hate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("hate") / "model", HATE)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache of this test's own."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def service(settings: Settings, cache: Path, tmp_path: Path) -> Iterator[ScoringService]:
    own = dataclasses.replace(settings, models_dir=tmp_path / "models")
    service = ScoringService(own, RunStore(own), ModelService(own), lambda: 1)
    yield service
    service.close()


def names(service: ScoringService) -> dict[str, str]:
    return {name: label for label, name in service.choices()}


def test_what_is_not_downloaded_says_so_until_it_is(service: ScoringService, cache: Path, hate: Path) -> None:
    assert names(service)[HATE_ID].endswith("not downloaded")
    assert names(service)[TOXIC_ID].endswith("not downloaded")
    assert not service.ready(HATE_ID)
    assert service.downloadable(f"{HATE_ID}#hate")
    assert not any(service.downloadable(name) for name in ("", "embedded", "run:x", "/etc/passwd", "nonsense"))
    with pytest.raises(ModelLoadError, match=f"{HATE_ID} is not on this machine yet; download it first"):
        service.spec(HATE_ID)
    with pytest.raises(ModelLoadError, match="could not be downloaded"):  # HF_HUB_OFFLINE
        service.fetch(HATE_ID)
    put_in_cache(cache, HATE_ID, hate)
    assert "not downloaded" not in names(service)[HATE_ID]
    service.fetch(HATE_ID)  # it is here: nothing is asked of the hub
    assert service.ready(HATE_ID)
    assert not service.downloadable(HATE_ID)


def test_a_hub_classifier_says_who_it_is_and_scores(service: ScoringService, cache: Path, hate: Path) -> None:
    put_in_cache(cache, HATE_ID, hate)
    info = service.spec(f" {HATE_ID} ").info
    assert (info.name, info.revision, info.kind) == (HATE_ID, COMMIT, "classifier")
    assert (info.labels, info.toxic_label, info.languages) == (HATE, "hate", ("en",))
    assert "does not look for rudeness" in info.measures
    direct = ClassifierScorer(service.spec(HATE_ID), device="cpu")
    found = service.score_checked(HATE_ID, ["stone", "Rivers <b>and</b> 雲"])
    assert found.info == info
    assert list(found.scores) == direct.score(found.texts)
    assert list(service.score(HATE_ID, ["", "stone"]).scores) == [NOT_COVERED, *direct.score(["stone"])]


def test_the_label_can_be_picked(service: ScoringService, cache: Path, tmp_path: Path) -> None:
    put_in_cache(cache, TOXIC_ID, make_classifier(tmp_path / "t", TOXIC, problem_type="multi_label_classification"))
    assert service.labels(TOXIC_ID) == TOXIC
    picked = service.spec(f"{TOXIC_ID}#threat").info
    assert (picked.name, picked.toxic_label) == (f"{TOXIC_ID}#threat", "threat")
    assert "calls “threat”" in picked.measures  # the known description is that of its own label
    # the label it takes by itself is the same scorer, by the same name
    assert service.spec(f"{TOXIC_ID}#toxic") == service.spec(TOXIC_ID)
    usual, threat = (
        service.score(TOXIC_ID, ["stone"]).scores[0],
        service.score(f"{TOXIC_ID}#threat", ["stone"]).scores[0],
    )
    assert usual.logits == pytest.approx(threat.logits, abs=1e-6)
    assert (usual.reward, threat.reward) == (-usual.logits[0], -threat.logits[3])
    with pytest.raises(InputError, match="has no label 'rude'; its labels are toxic, severe_toxic"):
        service.spec(f"{TOXIC_ID}#rude")


def test_a_model_without_names_for_its_labels_is_refused_until_one_is_picked(
    service: ScoringService, cache: Path, tmp_path: Path
) -> None:
    put_in_cache(cache, "org/plain", make_classifier(tmp_path / "plain", None))
    with pytest.raises(InputError, match=r"org/plain does not name its labels .* write org/plain#LABEL_1"):
        service.score("org/plain", ["stone"])
    assert service.labels("org/plain") == ("LABEL_0", "LABEL_1")
    assert service.score_checked("org/plain#LABEL_1", ["stone"]).info.toxic_label == "LABEL_1"


def test_a_chat_model_is_no_scorer(service: ScoringService, cache: Path, tiny_base: Path) -> None:
    put_in_cache(cache, "org/chat", tiny_base)
    with pytest.raises(ModelLoadError, match=r"org/chat is no text classifier \(LlamaForCausalLM\)"):
        service.score("org/chat", ["stone"])
    assert service.labels("org/chat") == ()


def test_a_model_folder_with_a_classifier_is_on_offer(
    service: ScoringService, settings: Settings, tmp_path: Path, tiny_base: Path
) -> None:
    folder = make_classifier(tmp_path / "models" / "mine", ("neutral", "toxic"))
    (tmp_path / "models" / "chat").symlink_to(tiny_base)
    assert names(service)[str(folder)] == "mine (model folder)"
    assert not any(name.endswith("chat") for name in names(service))
    found = service.score_checked(str(folder), ["stone"])
    assert found.info.title == "mine"
    assert len(found.info.revision) == 12
    before = found.info.revision
    edit_config(folder, id2label={"0": "ok", "1": "toxic"})
    assert service.spec(str(folder)).info.revision != before  # another state of the same name
    assert service.score(str(folder), ["stone"]).scores[0].label in ("ok", "toxic")


@pytest.mark.parametrize("name", ["/etc", "../embedded", "~/x", "./data/embedded", "/etc#toxic"])
def test_a_path_is_no_name(service: ScoringService, name: str) -> None:
    with pytest.raises(InputError, match=r"is not one of the text classifiers in .*models; put its folder there"):
        service.spec(name)


@pytest.mark.parametrize("name", ["nonsense", "a/b/c", "org/<b>", "#toxic", "org/", "a b/c"])
def test_what_is_no_scorer_is_told_what_is(service: ScoringService, name: str) -> None:
    with pytest.raises(InputError, match="is not a scorer: write embedded, the id of a text classifier"):
        service.spec(name)
    assert not service.ready(name)


def test_runs_that_are_not_there(service: ScoringService) -> None:
    with pytest.raises(InputError, match="no scorer chosen"):
        service.spec("  ")
    with pytest.raises(NotFoundError, match="no-such-run"):
        service.score("run:no-such-run", ["a"], ["b"])


def test_the_embedded_scorer_comes_first_and_needs_no_hub(service: ScoringService, settings: Settings) -> None:
    assert service.choices()[0][1] == "embedded"
    assert service.ready("embedded")
    info = service.spec("embedded").info
    weights = (settings.data_dir / "toxicity" / "classifier.safetensors").read_bytes()
    assert info.revision == hashlib.sha256(weights).hexdigest()[:12]
    texts = [
        "You are a stupid idiot & nobody likes you.",
        "The museum opens at nine in the morning.",
        "",
        "Il fait beau.",
    ]
    found = service.score("embedded", texts)
    assert found.info == info
    assert list(found.scores) == EmbeddedScorer().score(texts)
    assert found.scores[2] == NOT_COVERED
    assert service.labels("embedded") == ()
    bare = dataclasses.replace(settings, data_dir=settings.cache_dir)
    other = ScoringService(bare, RunStore(bare), ModelService(bare))
    with pytest.raises(ModelLoadError, match=r"embedded scorer is missing: .*toxicity has no classifier\.safetensors"):
        other.spec("embedded")
    other.close()


def test_a_reward_run_is_a_scorer_by_its_id(service: ScoringService, settings: Settings, tmp_path: Path) -> None:
    base = make_encoder(tmp_path / "base")
    job = reward_job(base, tmp_path / "trained", epochs=1, learning_rate=1e-2, system_prompt="Be kind.", max_length=64)
    train_reward(job, lambda event: None, lambda: False)
    runs = RunStore(settings)
    ref = BaseModelRef(str(base), fingerprint=fingerprint(base))
    for run_id in ("reward-one", "reward-bare"):
        folder = runs.create(dataclasses.replace(job.recipe, run_id=run_id, base=ref), make_dataset())
        if run_id == "reward-one":
            for name in ("adapter_config.json", "adapter_model.safetensors"):
                shutil.copy(job.folder / name, folder / name)
    (tmp_path / "models").mkdir()
    name = "run:reward-one"
    assert name in names(service)
    assert "run:reward-bare" not in names(service)
    info = service.spec(name).info
    assert (info.kind, info.revision) == ("reward", runs.get("reward-one").adapter_hash)
    found = service.score(name, ["river stone gladly", " ", "lamp"], ["Tell of paper.", "a", "Tell of paper."])
    direct = RewardScorer(base, job.folder, system_prompt="Be kind.", max_length=64, device="cpu")
    assert found.scores[0].reward == pytest.approx(reward_of(direct, "Tell of paper.", "river stone gladly"), abs=1e-4)
    assert found.scores[1] == NOT_COVERED
    with pytest.raises(InputError, match="1 texts came with 0 prompts"):
        service.score(name, ["lamp"])
    with pytest.raises(ConflictError, match="reward-bare has no adapter yet; it is queued"):
        service.spec("run:reward-bare")
    service.release("reward-one")
    assert service.score(name, ["lamp"], ["a"]).scores[0].covered  # loaded anew
    edit_config(base, note="changed")
    with pytest.raises(ModelLoadError, match="trained on another state of"):
        service.score(name, ["lamp"], ["a"])


def test_texts_people_send_are_checked(service: ScoringService, cache: Path, hate: Path) -> None:
    put_in_cache(cache, HATE_ID, hate)
    for texts, said in (
        ([], r"There are 0 texts to score; 1 to 2,000"),
        (["a"] * (MAX_TEXTS + 1), r"There are 2,001 texts"),
        (["a", " \n"], r"Line 2 is empty; there is nothing to score"),
        (["a", "b", "x" * 100_001], r"Line 3 has 100,001 characters; at most 100,000 are scored"),
        (["x" * 100_000] * 51, r"The texts have 5,100,000 characters together"),
    ):
        with pytest.raises(InputError, match=said):
            service.score_checked(HATE_ID, texts, what="Line")
    with pytest.raises(InputError, match="Line 9 is empty"):
        check_texts(["a", ""], "Line", [7, 9])
    assert service.score_checked(HATE_ID, ["x" * 100_000]).scores[0].cut > 0


def test_half_a_character_is_replaced(service: ScoringService, cache: Path, hate: Path) -> None:
    put_in_cache(cache, HATE_ID, hate)
    found = service.score_checked(HATE_ID, ["a\ud800b", "\ud83d\ude00"])
    assert found.texts == ("a\ufffdb", "😀")
    assert all(score.covered for score in found.scores)


def test_one_scorer_is_held_and_threads_wait_their_turn(
    service: ScoringService, cache: Path, hate: Path, tmp_path: Path
) -> None:
    put_in_cache(cache, HATE_ID, hate)
    put_in_cache(cache, "org/two", make_classifier(tmp_path / "two", ("toxic", "fine"), seed=7))
    alone = {name: service.score(name, ["stone", "lamp"]).scores for name in (HATE_ID, "org/two")}
    assert alone[HATE_ID] != alone["org/two"]
    wrong: list[str] = []

    def ask(name: str) -> None:
        for _ in range(3):
            if service.score(name, ["stone", "lamp"]).scores != alone[name]:
                wrong.append(name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in (HATE_ID, "org/two") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    ((held, scorer),) = service._held.values()
    assert service.score(held.info.name, ["stone"]).scores
    assert service._held[False][1] is scorer
    service.release("another-run")
    assert service.score(held.info.name, ["stone"]).scores
    assert service._held[False][1] is scorer
