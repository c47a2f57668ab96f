"""The written pages of the repository, and what stands in them."""

from __future__ import annotations

import re
from pathlib import Path

from studio.config import ROOT

PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "adapters/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str = "") -> list[str]:
    """The fenced blocks of a page that are marked with ``language``."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.M | re.S)


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.M | re.S)


def commands(page: Path) -> list[str]:
    """What it shows of this repository's commands, in shell blocks and in its sentences, without ``python``."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    lines += re.findall(r"`(python -m studio\S* [^`\n]+)`", prose(page))
    return [line.removeprefix("python ") for line in dict.fromkeys(lines) if line.startswith("python -m studio")]
