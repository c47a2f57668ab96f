"""README is the face: what it says of settings, files and versions must be so."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from studio.config import ROOT, Settings

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_setting_is_in_the_table_with_its_default() -> None:
    table = dict(re.findall(r"^\| `STUDIO_(\w+)` \| (.+?) \|", README, re.M))
    assert set(table) == {f.name.upper() for f in fields(Settings)}
    for f in fields(Settings):
        shown, default = table[f.name.upper()].strip("`"), f.default
        if isinstance(default, Path):
            default = default.relative_to(ROOT)
        assert shown == (
            "none" if default == "" else f"{default:g}" if isinstance(default, float) else str(default).lower()
        )


def test_front_matter_matches_the_pins() -> None:
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(), re.M))
    front = README.split("---")[1]
    assert f"sdk_version: {pins['gradio']}" in front
    assert "app_file: app.py" in front
    for name in ("torch", "transformers", "trl", "peft", "gradio", "bitsandbytes", "datasets", "pandas"):
        assert name in pins


def test_every_file_named_in_the_tree_exists() -> None:
    tree = re.search(r"## What is where\s+```\n(.*?)```", README, re.S)
    assert tree is not None
    named = set(re.findall(r"\b(\w+\.(?:py|css))\b", tree.group(1)))
    there = {path.name for path in [ROOT / "app.py", *(ROOT / "studio").rglob("*.*")]}
    assert named - there == set()


def test_every_relative_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
