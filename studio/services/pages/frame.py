"""The frame of every static page: head, title, how it was made. A page loads nothing but itself; where its policy is also sent as a
header, the same holds."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from studio import __version__
from studio.domain.data import to_dict
from studio.domain.runs import Recipe
from studio.services.pages.html import environment

_FOLDER = Path(__file__).parent
_ENVIRONMENT = environment()
_STYLES = ("page.css", "cover.css")
#: Gives a page that a server shows the theme chosen in the studio; one that is a file has the system's.
THEME = "plain_theme.js"
#: Of a recipe, what would make a page long and says nothing to its reader.
_LEFT_OUT = ("row_ids", "rows_support")


def policy(*scripts: str) -> str:
    """What a page may load: its own style, and the ``scripts`` of these names beside this file; nothing else."""
    hashes = " ".join(f"'sha256-{_hash(static_text(script))}'" for script in scripts)
    allowed = f"; script-src {hashes}" if scripts else ""
    return f"default-src 'none'; style-src 'unsafe-inline'{allowed}; base-uri 'none'; form-action 'none'"


def static_page(
    template: str,
    title: str,
    subtitle: Iterable[str],
    facts: Mapping[str, Any],
    recipes: Iterable[tuple[str, Recipe]] = (),
    script: str = "",
    way_back: bool = False,
    **content: Any,
) -> str:
    """The whole page, as HTML.

    Args:
        template: name of a template beside this file, which fills the frame with ``content``.
        subtitle: what stands below the title, in parts.
        facts: how it was made, by name.
        recipes: of what runs, by name.
        script: a script beside this file that goes with it.
        way_back: with links into the studio and in its theme, where a server shows the page.
    """
    return _ENVIRONMENT.get_template(f"pages/{template}").render(
        policy=policy(*filter(None, (THEME if way_back else "", script))),
        theme=static_text(THEME) if way_back else "",
        style="".join(map(static_text, _STYLES)),
        script=static_text(script) if script else "",
        title=title,
        subtitle=" · ".join([*subtitle, f"Alignment Studio {__version__}"]),
        facts=facts,
        recipes=[(name, _json(recipe)) for name, recipe in recipes],
        way_back=way_back,
        **content,
    )


def moment(seconds: float) -> str:
    """A time in Unix seconds as pages write it."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _json(recipe: Recipe) -> str:
    kept = {key: value for key, value in to_dict(recipe).items() if key not in _LEFT_OUT and value is not None}
    return json.dumps(kept, ensure_ascii=False, indent=1)


def static_text(name: str) -> str:
    """A style or script that lies beside this file."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
