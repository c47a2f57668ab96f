"""Shared fixtures: everything a test writes lies in its own temporary folder; nothing here needs a network."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from pathlib import Path

import pytest

# Before torch is imported anywhere: one thread that sleeps while it waits, so that tests share two cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
# Forms begin with the embedded base, and no server fetches another.
os.environ["STUDIO_BASE"] = "embedded"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
# Two workers (pytest -n 2) that look for a free port at one moment would find the same one.
os.environ["GRADIO_SERVER_PORT"] = str(
    7860 + 200 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
)

from studio.config import Settings, load_settings
from studio.services.models.service import ModelService
from tests.fixtures.browser import chromium as chromium  # here: one browser a session, and a thread drives one alone
from tests.fixtures.store import postgres_url as postgres_url  # here: one server a session
from tests.helpers.chat_models import EMBEDDED
from tests.helpers.ray_cluster import cluster as cluster  # here: one cluster a session


@pytest.fixture(scope="session")
def frozen() -> set[str]:
    """The modules whose objects are not looked at by the garbage collector."""
    return set()


@pytest.fixture(autouse=True)
def leave_what_is_imported(frozen: set[str]) -> None:
    """Have the garbage collector pass over what is imported, once much is: to go through that is half of a tiny training."""
    if len(sys.modules) > len(frozen) + 200:
        gc.collect()
        gc.freeze()
        frozen.update(sys.modules)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose written folders all lie under the test's temporary folder; shipped data is the real one."""
    (tmp_path / "adapters").mkdir()
    return Settings(
        adapters_dir=tmp_path / "adapters",
        imported_dir=tmp_path / "imported",
        models_dir=tmp_path / "models",
        base="embedded",
        cache_dir=tmp_path / "cache",
        database_url=f"sqlite:///{tmp_path / 'studio.db'}",
        device="cpu",
        train_threads=1,
        chat_threads=1,
    )


@pytest.fixture(scope="session")
def real_base() -> Path:
    """SmolLM2 135M as the studio fetches it. Skips where it was not fetched: ``.ci/run`` does that."""
    models = ModelService(load_settings())
    if not models.info("smollm2-135m").cached:
        pytest.skip("SmolLM2 is not on this machine: python -m studio bases get smollm2-135m")
    return models.resolve("smollm2-135m").path


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random-weight Llama of 0.1 M parameters in fp32 and the embedded base's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-base")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EMBEDDED / name, folder / name)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=4096,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
        )
    )
    model.save_pretrained(folder)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser files first: they are long and mostly wait, so that whatever the workers end with is short."""
    items.sort(key=lambda item: not item.path.name.startswith("test_browser"))
