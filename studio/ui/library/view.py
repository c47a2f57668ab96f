"""What the Library shows of an adapter: its line of the table, its header, what became of an import. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from studio.domain.runs import ImportedRecipe, PairRecipe
from studio.i18n import said
from studio.services.library.upload import Imported
from studio.services.runs.store import RunView
from studio.services.runs.view import DamagedRun
from studio.services.wording import NONE, bounds, file_size, listed
from studio.ui.detox.view import rude_text
from studio.ui.parts.html import Macros
from studio.ui.reward import view as reward_view
from studio.ui.training.run_view import started

_HTML = Macros("library/view.html")
HEADERS = ("Name", "Base", "ratio", "n", "Method", "Measured", "Size", "Made", "Run id")
WIDTHS = ("200px", "110px", "66px", "56px", "100px", "256px", "84px", "110px", "234px")


def empty() -> Markup:
    """What stands there before the first adapter."""
    return _HTML.empty()


def header(run: RunView) -> Markup:
    """Name, id, hash and size of the open adapter."""
    return _HTML.header(run)


def row(run: RunView) -> list[str]:
    """Its line of the table."""
    recipe = run.recipe
    known = not isinstance(recipe, ImportedRecipe)
    return [
        run.title,
        Path(recipe.base.id).name,
        f"{recipe.support_ratio:g}" if isinstance(recipe, PairRecipe) else NONE,
        str(recipe.data_size) if known else NONE,
        recipe.method.upper() if known else said("uploaded"),
        said(_measured(run)),
        file_size(run.size_bytes),
        started(run),
        run.run_id,
    ]


def _measured(run: RunView) -> str:
    if run.method == "detox":
        return rude_text(run.detox)
    if run.method == "reward":
        return f"accuracy {reward_view.measured(run.reward)}" if run.reward and run.reward.n else "not measured"
    share = run.adapter_share
    return (
        f"support {share.share:.0%} {bounds(share.low, share.high)} n {share.n}"
        if share and share.n
        else "not measured"
    )


def without_yaml(card: str) -> str:
    """A model card without the head that is for machines."""
    return re.sub(r"\A---\n.*?\n---\n+", "", card, flags=re.DOTALL)


def report(done: Imported) -> Markup:
    """What became of an import."""
    left = f"Left out: {listed(done.left_out)}." if done.left_out else ""
    return _HTML.report([line for line in (f"Imported as {done.run_id}.", *done.warnings, left) if line])


def damaged(runs: Sequence[DamagedRun]) -> Markup:
    """Folders that are left out of the table, with the reasons."""
    return _HTML.damaged(runs)
