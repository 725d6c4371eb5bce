"""The house: every floor imports only from those below it, and no file from one that imports it."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = [
    ["kernels"],
    ["random", "autograd"],
    ["ops"],
    ["functional", "nn", "optim", "data"],
    ["training"],
    ["cuda"],
    ["models"],
    ["uses"],
    ["figures"],
    ["cli"],
]
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}


def module_name(path: Path) -> str:
    """As it is installed: kernels/ is minivae.kernels."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("minivae", *parts) if parts[0] == "kernels" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(p): p for folder in ("minivae", "kernels") for p in sorted((ROOT / folder).rglob("*.py"))}


def imports(module: str, files: dict[str, Path]) -> Iterator[str]:
    """The files that a file imports from, wherever in it the import stands, also for types alone.

    An import from a package is one from its __init__.py, unless the name is that of a module in it.
    """
    path = files[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom):
            parts = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join(parts + (node.module.split(".") if node.module else []))
            for alias in node.names:
                name = f"{source}.{alias.name}"
                yield from (found for found in [name if name in files else source] if found in files)


def floor_of(module: str) -> str | None:
    """None for the package minivae itself, which has all of them."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in HEIGHT else None


@pytest.mark.parametrize("module", [name for name in FILES if floor_of(name)])
def test_imports_point_downwards(module: str) -> None:
    own = floor_of(module)
    for other in filter(None, map(floor_of, imports(module, FILES))):
        assert other == own or HEIGHT[other] < HEIGHT[str(own)], f"{own} must not import {other}"


def order(files: dict[str, Path], but: Collection[tuple[str, str]] = ()) -> list[str]:
    """All files, those that are imported first, by all imports but some. CycleError if there is a circle."""
    below = {name: {other for other in imports(name, files) if (name, other) not in but} - {name} for name in files}
    return list(TopologicalSorter(below).static_order())


# Circles that are known, as pairs (importer, imported): to become none.
KNOWN: set[tuple[str, str]] = set()


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        order(FILES, KNOWN)
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("pair", KNOWN)
def test_a_circle_that_has_been_opened_is_taken_off_the_list(pair: tuple[str, str]) -> None:
    with pytest.raises(CycleError):
        order(FILES, KNOWN - {pair})


@pytest.mark.parametrize(
    "text",
    [
        "from .b import x",
        "from . import b",
        "def f():\n    from minivae.a.b import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import minivae.a.b",
    ],
)
def test_a_circle_inside_a_package_is_found(text: str, tmp_path: Path) -> None:
    sources = {"__init__.py": "", "b.py": "from .c import y", "c.py": text}
    for name, source in sources.items():
        (tmp_path / name).write_text(source)
    names = dict(zip(["minivae.a", "minivae.a.b", "minivae.a.c"], map(tmp_path.joinpath, sources), strict=True))
    with pytest.raises(CycleError):
        order(names)
    assert order(names, {("minivae.a.c", "minivae.a.b")})


# What the papers' files in minivae/models/ share.
SHARED = {"base", "arrays", "given", "importance", "latent_space", "pixelcnn_sampling"}


def test_a_paper_does_not_import_another() -> None:
    for path in (ROOT / "minivae" / "models").glob("*.py"):
        if path.name != "__init__.py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            siblings = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level == 1}
            assert siblings <= SHARED, path
