"""Imports only go down: ui | cli -> services -> ml | store -> the ground modules; heavy libraries only on their own floor."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GROUND = ("config", "domain", "errors", "__version__")
#: floor -> the studio floors it may import
ALLOWED = {
    "ui": {"ui", "services"},
    "cli": {"cli", "services"},
    "services": {"services", "ml", "store"},
    "ml": {"ml"},
    "store": {"store"},
}
#: library -> the floors that may import it at all
HOMES = {
    "gradio": {"ui", "entry"},
    "torch": {"ml"},
    "transformers": {"ml"},
    "trl": {"ml"},
    "peft": {"ml"},
    "bitsandbytes": {"ml"},
    "sqlalchemy": {"store"},
    "alembic": {"store"},
}
HEAVY = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "sklearn")


def sources() -> list[Path]:
    return [ROOT / "app.py", *sorted((ROOT / "studio").rglob("*.py"))]


def floor_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    if parts[0] == "app.py" or parts[1:] == ("__main__.py",):
        return "entry"
    return parts[1] if len(parts) > 2 and parts[1] != "domain" else "ground"


def imports(tree: ast.AST) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import at line {node.lineno}"
            found += [
                (f"{node.module}.{alias.name}" if node.module == "studio" else str(node.module), node.lineno)
                for alias in node.names
            ]
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    floor = floor_of(path)
    for name, line in imports(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{path.relative_to(ROOT)}:{line} imports {name}"
        top = name.split(".")[0]
        if top in HOMES:
            assert floor in HOMES[top], where
        if top == "studio" and name != "studio":
            target = name.split(".")[1]
            if target in GROUND:
                continue
            allowed = {"ui", "cli", "services"} if floor == "entry" else ALLOWED.get(floor, set())
            assert target in allowed, where


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_libraries_are_imported_inside_functions(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name, line in imports(ast.Module(body=[node], type_ignores=[])):
                assert name.split(".")[0] not in HEAVY, f"{path.relative_to(ROOT)}:{line} imports {name} at start"


def test_importing_the_ui_does_not_import_torch() -> None:
    code = (
        "import sys; import studio.ui.shell, studio.services; "
        "bad = [m for m in ('torch', 'transformers', 'trl', 'peft', 'datasets', 'sklearn') if m in sys.modules]; "
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_every_shipped_file_is_under_ten_megabytes() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, timeout=60)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            assert (ROOT / name).stat().st_size < 10_000_000, name
