"""Text escaped for Markdown."""

from __future__ import annotations

import re
from html import escape


def plain(text: str) -> str:
    """Text from people or models for a Markdown page: shown as typed, never as markup. Line breaks become ``<br>``."""
    flat = escape(text.strip(), quote=False).replace("&gt;", ">")
    flat = re.sub(r"([\\`*_{}\[\]#|~$])", r"\\\1", flat).replace("\n", "<br>")
    return re.sub(r"^(\d*)([-+>.)=])", r"\1\\\2", flat)


def code(text: str) -> str:
    """Text as a Markdown code span that it cannot end."""
    return "`" + re.sub(r"[`|\s]+", " ", text).strip() + "`"
