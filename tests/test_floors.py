"""The house: every floor imports only from those below it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = [
    ["kernels"],
    ["random", "autograd"],
    ["ops"],
    ["functional", "nn", "optim", "data"],
    ["cuda"],
    ["training"],
    ["models"],
    ["uses"],
    ["figures"],
    ["cli"],
]
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}


def floor_of(path):
    relative = path.relative_to(ROOT).with_suffix("").parts
    return relative[0] if relative[0] == "kernels" else relative[1]


def imported_floors(path):
    """The floors that a file imports at run time, relative imports resolved."""
    parts = list(path.relative_to(ROOT).parts[:-1])
    package = ["minivae", *parts] if parts[0] == "kernels" else parts
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        node
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and getattr(test.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            names = [[*base, alias.name] for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "minivae" and len(name) > 1 and name[1] in HEIGHT:
                yield name[1]


FILES = [
    p
    for p in sorted([*(ROOT / "minivae").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")])
    if floor_of(p) not in ("__init__", "__main__")
]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path):
    own = floor_of(path)
    for other in imported_floors(path):
        assert other == own or HEIGHT[other] < HEIGHT[own], f"{own} must not import {other}"


def test_models_do_not_import_each_other():
    for path in (ROOT / "minivae" / "models").glob("*.py"):
        if path.name != "__init__.py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert not any(isinstance(n, ast.ImportFrom) and n.level == 1 for n in ast.walk(tree)), path
