"""The pages under docs/: what they link to and name exists, their commands parse, the cheap ones and the Python examples run."""

from __future__ import annotations

import json
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from studio.__main__ import _parser, main
from studio.config import ROOT, Settings
from studio.domain.bases import KNOWN_BASES
from tests.helpers.documentation import PAGES, blocks, commands, prose, text_of
from tests.helpers.runs import command_environment

DOCS = ROOT / "docs"
#: Folders that the program makes; a fresh checkout has none of them.
WRITTEN = {str(p.relative_to(ROOT)) for p in (Settings.imported_dir, Settings.models_dir, Settings.cache_dir)}
COMMANDS = [(page, line) for page in PAGES for line in commands(page)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)#]*)(?:#([^)]*))?\)", prose(page)):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), f"{target}#{anchor}"


def test_every_page_can_be_reached_from_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[^)#]+|[A-Z]+\.md)", text_of(ROOT / "README.md")))
    assert {str(page.relative_to(ROOT)) for page in PAGES if page.name != "README.md"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_module_named_exists(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return  # it names what was there at the time
    for name in re.findall(r"`([^`\n]+)`", prose(page)):
        if re.fullmatch(r"(studio|tests|data|docs|adapters|\.ci)/[^`|,]+", name) and name.rstrip("/") not in WRITTEN:
            assert list(ROOT.glob(re.sub(r"<[^>]*>", "*", name).rstrip("/"))), name
        elif re.fullmatch(r"studio(\.\w+)+", name):
            assert find_spec(name) is not None, name
        elif re.fullmatch(r"[\w-]+\.(py|sh|css|js)", name):
            assert any(ROOT.glob(name)) or any(p for top in ("studio", "tests") for p in (ROOT / top).rglob(name)), name


def test_every_name_contributing_tells_to_edit_is_in_the_source() -> None:
    """``LOSS_TYPES``, ``ScorerCatalogue.spec``, ``check_job``."""
    source = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "studio").rglob("*.py"))
    names = re.findall(r"`([A-Z_]{5,}|_[A-Z]+|[A-Z]\w+\.\w+|[a-z]+_\w+)`", prose(ROOT / "CONTRIBUTING.md"))
    assert "LOSS_TYPES" in names
    for name in names:
        assert all(re.search(rf"\b{part}\b", source) for part in name.split(".")), name


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=lambda value: value if isinstance(value, str) else value.name)
def test_every_command_parses(page: Path, line: str) -> None:
    module, *arguments = shlex.split(line)[1:]
    if module == "studio":
        assert callable(_parser().parse_args(arguments).command)
    else:
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin).read_text(encoding="utf-8")
        for flag in (a for a in arguments if a.startswith("--")):  # some scripts make flags of a dataclass' fields
            field = flag.removeprefix("--").replace("-", "_")
            assert f'"{flag}"' in source or re.search(rf"^    {field}: ", source, re.M), flag


def test_every_command_there_is_has_an_example() -> None:
    (registered,) = [action.choices for action in _parser()._actions if action.nargs == "A..."]
    shown = {shlex.split(line)[2] for line in commands(DOCS / "command-line.md")}
    assert shown == set(registered)


def test_every_endpoint_of_the_page_is_named() -> None:
    sources = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "studio" / "ui").rglob("*.py"))
    named = re.findall(r"^\| `/(\w+)` \|", text_of(DOCS / "command-line.md"), re.M)
    assert set(named) == set(re.findall(r'api_name="(\w+)"', sources))


def test_every_scorer_offered_by_name_is_in_the_table() -> None:
    from studio.services import build_services

    offered = {name for _, name in build_services(Settings()).scoring.choices() if not name.startswith(("run:", "/"))}
    assert offered <= set(re.findall(r"\| `([^`]+)`", text_of(DOCS / "scorers.md")))


def test_every_known_base_is_in_the_table_with_its_licence() -> None:
    table = re.findall(r"^\| `([^`]+)` \| [\d,]+ M \| [\d,]+ MB \| ([^|]+) \|", text_of(DOCS / "bases.md"), re.M)
    assert table == [(base.id, base.licence) for base in KNOWN_BASES]


@pytest.fixture
def scratch(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A folder to run commands and examples in, and settings they see."""
    for name, value in command_environment(settings).items():
        if name.startswith("STUDIO_"):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return settings


def test_cheap_commands_run_as_written(scratch: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": n, "prompt": f"Tea {n}?", "support": f"Yes, {n} cups.", "oppose": f"No, not {n}."} for n in range(3)]
    Path("pairs.json").write_text(json.dumps(rows))
    Path("tests.json").write_text(json.dumps([{"id": 1, "prompt": "More tea?"}]))
    Path("texts.txt").write_text("Thank you.\nShut up, you stupid idiot.\n")
    cheap = ("runs", "import pairs", "score texts", "bases")
    printed: dict[str, str] = {}
    for line in commands(DOCS / "command-line.md"):
        arguments = line.removeprefix("-m studio ")
        if arguments.startswith(cheap) and "bases " not in arguments:
            assert main(shlex.split(arguments)) == 0, line
            printed[arguments] = capsys.readouterr().out
    assert len(printed) >= 5
    assert json.loads(printed["runs --json"]) == []
    assert "3 training pairs" in printed["import pairs.json"]
    polite, rude = json.loads(printed["score texts.txt --json"])
    assert polite["toxicity"] < 0.5 < rude["toxicity"]


@pytest.mark.timeout(700)  # a real training
def test_python_examples_run(scratch: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_ADAPTERS_DIR", str(ROOT / "adapters"))  # the example reads a shipped run
    monkeypatch.setattr("tempfile.tempdir", str(scratch.cache_dir.parent))
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks(DOCS / "python.md", "python"), 1):
        exec(compile(block, f"docs/python.md, block {number}", "exec"), names)
    assert [row.side for row in names["build_preferences"](names["pairs"], 0.5, 2, seed=42)] == ["support", "oppose"]
    assert [event.step for event in names["steps"]] == [1, 2]
    assert {file.name for file in names["folder"].glob("adapter_*")} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert names["kind"] > names["unkind"]
    assert names["polite"].toxicity < 0.5 < names["rude"].toxicity
