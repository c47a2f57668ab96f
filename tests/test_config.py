"""Settings: what parses, and what a wrong one says."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from studio.__main__ import main
from studio.config import Settings, load_settings
from studio.errors import InputError
from studio.services.files.folders import add_demos


def test_nothing_set_is_the_defaults_and_localhost() -> None:
    assert load_settings({}) == Settings()
    assert load_settings({}).host == "127.0.0.1"


def test_every_field_has_its_variable() -> None:
    given = {"bool": "yes", "int": "3", "float": "1.5", "str": "cpu", "Path": "/tmp"}
    environ = {f"STUDIO_{f.name.upper()}": given[str(f.type)] for f in fields(Settings)}
    # these take no other word
    chosen = {
        "visitors_read_runs": "yes",
        "trusted_proxies": "10.0.0.0/8",
        "data_root": "/srv",
        "chat_url": "http://vllm:8000/v1",
        "ray_address": "head:6379",
    }
    settings = load_settings(environ | {f"STUDIO_{name.upper()}": value for name, value in chosen.items()})
    for f in fields(Settings):
        expected = (
            chosen.get(f.name)
            or {"bool": True, "int": 3, "float": 1.5, "str": "cpu", "Path": Path("/tmp")}[str(f.type)]
        )
        assert getattr(settings, f.name) == expected, f.name


@pytest.mark.parametrize(("raw", "value"), [("1", True), (" TRUE ", True), ("on", True), ("0", False), ("No", False)])
def test_switches_take_the_usual_words(raw: str, value: bool) -> None:
    assert load_settings({"STUDIO_SHARE": raw}).share is value


def test_what_is_given_on_the_command_line_wins_and_none_is_not_given() -> None:
    assert load_settings({"STUDIO_PORT": "7001"}, port=7002).port == 7002
    assert load_settings({"STUDIO_PORT": "7001"}, port=None).port == 7001


def test_a_space_says_where_to_listen_and_our_own_word_wins() -> None:
    space = {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": "7860"}
    assert (load_settings(space).host, load_settings(space).port) == ("0.0.0.0", 7860)
    assert load_settings({**space, "STUDIO_HOST": "127.0.0.1", "STUDIO_PORT": "7001"}).port == 7001


def test_a_space_with_zerogpu_borrows_its_gpu_unless_told_otherwise() -> None:
    space = {"SPACES_ZERO_GPU": "true"}
    assert load_settings(space).device == load_settings({**space, "STUDIO_DEVICE": "auto"}).device == "zerogpu"
    assert load_settings({**space, "STUDIO_DEVICE": "cpu"}).device == "cpu"
    assert load_settings({}).device == "auto"
    with pytest.raises(InputError, match="device is 'zerogpu'"):
        load_settings({"STUDIO_DEVICE": "zerogpu"})


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("STUDIO_PORT", "eighty"),
        ("STUDIO_PORT", "70000"),
        ("STUDIO_PORT", "-1"),
        ("GRADIO_SERVER_PORT", "x"),
        ("STUDIO_SHARE", "perhaps"),
        ("STUDIO_DEVICE", "tpu"),
        ("STUDIO_MAX_UPLOAD_MB", "1.5"),
        ("STUDIO_MAX_UPLOAD_MB", "-3"),
        ("STUDIO_KILL_AFTER_S", "soon"),
        ("STUDIO_TRUSTED_PROXIES", "10.0.0.1, my-proxy"),
        ("STUDIO_VISITORS_READ_RUNS", "perhaps"),
        ("STUDIO_OPERATOR_HOURS", "-1"),
        ("STUDIO_CHAT_THREADS", "-1"),
        ("STUDIO_CHAT_URL", "localhost:8000"),
        ("STUDIO_CHAT_URL", "file:///etc"),
        ("STUDIO_CHAT_URL", "http://vllm:port/v1"),
        ("STUDIO_CHAT_URL", "http://vllm/v1?to=x"),
    ],
)
def test_an_unusable_setting_names_itself_and_its_value(name: str, raw: str) -> None:
    with pytest.raises(InputError) as caught:
        load_settings({name: raw})
    said = str(caught.value)
    assert name.removeprefix("STUDIO_").removeprefix("GRADIO_SERVER_").lower() in said.lower()
    assert raw.rpartition(" ")[2] in said


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("STUDIO_CHAT_URL", "http://me:hidden@vllm:8000"),
        ("STUDIO_CHAT_KEY", "hidden\nX: 1"),
        ("STUDIO_CHAT_KEY", "hiddené"),
    ],
)
def test_a_key_is_never_shown(name: str, raw: str) -> None:
    with pytest.raises(InputError, match=r"STUDIO_CHAT_KEY") as caught:
        load_settings({name: raw})
    assert "hidden" not in str(caught.value)
    assert "hidden" not in repr(load_settings({"STUDIO_CHAT_URL": "http://vllm", "STUDIO_CHAT_KEY": "hidden"}))


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load_settings({f"STUDIO_{f.name.upper()}": "" for f in fields(Settings)}) == Settings()


@pytest.mark.parametrize("name", ["STUDIO_KILL_AFTER_S"])
@pytest.mark.parametrize("raw", ["nan", "inf"])
def test_a_number_is_a_finite_one(name: str, raw: str) -> None:
    with pytest.raises(InputError, match=raw):
        load_settings({name: raw})


def test_paths_are_made_absolute() -> None:
    assert load_settings({"STUDIO_ADAPTERS_DIR": "somewhere"}).adapters_dir == Path("somewhere").resolve()
    assert load_settings({"STUDIO_DATA_DIR": "~/data"}).data_dir == Path.home() / "data"


def test_a_data_root_holds_all_that_changes_but_what_has_its_own_variable(tmp_path: Path) -> None:
    settings = load_settings(
        {"STUDIO_DATA_ROOT": str(tmp_path / "root"), "STUDIO_MODELS_DIR": str(tmp_path / "models")}
    )
    assert settings.adapters_dir == tmp_path / "root" / "adapters"
    assert settings.cache_dir == tmp_path / "root" / "cache"
    assert settings.store_url == f"sqlite:///{tmp_path / 'root' / 'studio.db'}"
    assert settings.models_dir == tmp_path / "models"
    assert settings.data_dir == Settings().data_dir


def test_a_new_data_root_begins_with_the_demo_adapters_and_a_used_one_stays(tmp_path: Path) -> None:
    settings = load_settings({"STUDIO_DATA_ROOT": str(tmp_path)})
    add_demos(settings)
    shipped = {folder.name for folder in Settings().adapters_dir.glob("demo-*")}
    assert {folder.name for folder in settings.adapters_dir.iterdir()} == shipped
    shutil.rmtree(settings.adapters_dir / sorted(shipped)[0])
    add_demos(settings)
    assert len(list(settings.adapters_dir.iterdir())) == len(shipped) - 1
    assert [path.name for path in tmp_path.iterdir()] == ["adapters"]


def test_a_command_that_comes_first_finds_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STUDIO_DATA_ROOT", str(tmp_path))
    assert main(["runs"]) == 0
    assert "demo-support-10" in capsys.readouterr().out
