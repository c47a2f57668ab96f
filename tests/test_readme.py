"""What README and the pages say of settings, files and versions is so."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from studio.config import ROOT, Settings
from tests.helpers.documentation import PAGES, blocks, text_of

README = text_of(ROOT / "README.md")


def test_every_setting_is_in_the_table_with_its_default() -> None:
    settings = text_of(ROOT / "docs" / "settings.md")
    table = dict(re.findall(r"^\| `STUDIO_(\w+)` \| (.+?) \|", settings, re.M))
    assert set(table) == {f.name.upper() for f in fields(Settings)}
    for f in fields(Settings):
        shown, default = table[f.name.upper()].strip("`"), f.default
        if isinstance(default, Path):
            default = default.relative_to(ROOT)
        assert shown == (
            "none" if default == "" else f"{default:g}" if isinstance(default, float) else str(default).lower()
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_a_page_names_is_one(page: Path) -> None:
    named = set(re.findall(r"STUDIO_([A-Z_]+)", text_of(page)))
    assert named - {f.name.upper() for f in fields(Settings)} == set()


def test_front_matter_matches_the_pins() -> None:
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(), re.M))
    front = README.split("---")[1]
    assert f"sdk_version: {pins['gradio']}" in front
    assert "app_file: app.py" in front
    for name in ("torch", "transformers", "trl", "peft", "gradio", "bitsandbytes", "datasets", "pandas"):
        assert name in pins
    for page in PAGES:  # a version named elsewhere is the pinned one
        for name, version in re.findall(r"\b([\w-]+)==(\d[\w.]*)", text_of(page)):
            assert pins.get(name) == version, page


def test_the_source_tree_lists_every_package_and_nothing_else() -> None:
    (tree,) = [block for block in blocks(ROOT / "docs" / "architecture.md") if block.startswith("app.py")]
    listed: set[Path] = set()
    parents = [ROOT]
    for line in tree.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        parents[depth + 1 :] = [parents[depth] / name]
        listed.add(parents[depth + 1])
        assert parents[depth + 1].exists(), line
    for floor in ("ui", "services", "ml"):
        there = {p for p in (ROOT / "studio" / floor).iterdir() if not p.name.startswith("_")}
        assert there - listed == set()
    there = {p for p in (ROOT / "studio").iterdir() if p.name not in ("__init__.py", "__pycache__")}
    assert there - listed == set()
