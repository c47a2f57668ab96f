"""Imports only go down: ui | cli -> services -> ml | store -> the ground modules, and within a floor as its docstring says;
heavy libraries only on their own floor; files and folders stay small."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GROUND = ("config", "domain", "errors", "i18n", "__version__")
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
    "ray": {"services"},
    "spaces": {"ml"},
}
HEAVY = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "sklearn", "ray", "spaces")


def sources() -> list[Path]:
    return [ROOT / "app.py", *sorted((ROOT / "studio").rglob("*.py"))]


def floor_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    if parts[0] == "app.py" or parts[1:] == ("__main__.py",):
        return "entry"
    return parts[1] if len(parts) > 2 and parts[1] != "domain" else "ground"


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


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


def may_import(floor: str, name: str) -> bool:
    top, _, rest = name.partition(".")
    if top in HOMES:
        return floor in HOMES[top]
    target = rest.split(".")[0]
    if top != "studio" or not rest or target in GROUND:
        return True
    return target in ({"ui", "cli", "services"} if floor == "entry" else ALLOWED.get(floor, set()))


# One test for all files each: a test a file costs more than looking into it.


def test_imports_go_down() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources()
        for name, line in imports(tree_of(path))
        if not may_import(floor_of(path), name)
    ]
    assert not wrong


def test_heavy_libraries_are_imported_inside_functions() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name} at start"
        for path in sources()
        for node in tree_of(path).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name, line in imports(ast.Module(body=[node], type_ignores=[]))
        if name.split(".")[0] in HEAVY
    ]
    assert not wrong


@functools.cache
def import_graph() -> dict[str, set[str]]:
    """Module -> the modules of the studio it imports, type-only and local imports counted."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (ROOT / "studio").rglob("*.py")
    }
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        names = set()
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {
                    name if (name := f"{node.module}.{a.name}") in modules else str(node.module) for a in node.names
                }
        graph[module] = (names & modules.keys()) - {module}
    return graph


def package_graph() -> dict[str, set[str]]:
    """The same for ``studio.<floor>.<feature>``, be that a package or a single module."""

    def package(module: str) -> str:
        return ".".join(module.split(".")[:3])

    graph: dict[str, set[str]] = {}
    for module, targets in import_graph().items():
        graph.setdefault(package(module), set()).update(set(map(package, targets)) - {package(module)})
    return graph


@pytest.mark.parametrize("graph", [import_graph, package_graph])
def test_no_import_goes_in_a_circle(graph: Callable[[], dict[str, set[str]]]) -> None:
    TopologicalSorter(graph()).prepare()  # its CycleError names the circle


@pytest.mark.parametrize("floor", ["ml", "services", "ui"])
def test_packages_of_a_floor_import_in_the_order_of_its_docstring(floor: str) -> None:
    root = f"studio.{floor}"
    docstring = ast.get_docstring(ast.parse((ROOT / "studio" / floor / "__init__.py").read_text(encoding="utf-8")))
    block = re.search(r"::\n\n((?: {4}.+\n?)+)", docstring or "")
    assert block is not None, f"{root}: no order of packages in the docstring"
    rank = {name: n for n, group in enumerate(block[1].split("<")) for name in group.split()}
    graph = {
        package.removeprefix(f"{root}."): {t.removeprefix(f"{root}.") for t in targets if t.startswith(root)}
        for package, targets in package_graph().items()
        if package.startswith(f"{root}.")
    }
    assert rank.keys() == graph.keys()
    wrong = [f"{one} imports {other}" for one in graph for other in graph[one] if rank.get(other, 99) >= rank[one]]
    assert not wrong


def test_files_and_folders_stay_small() -> None:
    files = [path for path in sources() if path.name != "__init__.py"]
    assert {str(folder): n for folder, n in Counter(path.parent for path in files).items() if n > 14} == {}
    lines = {str(path): path.read_text(encoding="utf-8").count("\n") for path in files}
    assert {path: n for path, n in lines.items() if n > 400} == {}


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
