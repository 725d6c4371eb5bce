"""The floors of the package: each imports only from the floors below it, and no two files import each other."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = [
    ["kernels"],
    ["shards"],
    ["random", "autograd"],
    ["ops"],
    ["functional", "nn", "optim", "data"],
    ["training"],
    ["cuda"],
    ["models"],
    ["coding"],
    ["uses"],
    ["figures", "report"],
    ["learn"],
    ["explore"],
    ["cli"],
]
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}


def module_name(path: Path) -> str:
    """The name of a file's module once installed: kernels/ is minivae.kernels."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("minivae", *parts) if parts[0] == "kernels" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(p): p for folder in ("minivae", "kernels") for p in sorted((ROOT / folder).rglob("*.py"))}


def imports(module: str, files: dict[str, Path]) -> Iterator[str]:
    """Yield the modules that a module imports from, also inside functions and under TYPE_CHECKING.

    `from package import name` counts as an import from package.name if that is a module, else from the package.
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
    """The floor of a module; None for the package minivae itself, which contains all floors."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in HEIGHT else None


@pytest.mark.parametrize("module", [name for name in FILES if floor_of(name)])
def test_imports_point_downwards(module: str) -> None:
    own = floor_of(module)
    for other in filter(None, map(floor_of, imports(module, FILES))):
        assert other == own or HEIGHT[other] < HEIGHT[str(own)], f"{own} must not import {other}"


def order(files: dict[str, Path], but: Collection[tuple[str, str]] = ()) -> list[str]:
    """All modules, imported ones before those that import them; the imports in `but` (importer, imported) are ignored.

    Raises CycleError if there is a circle.
    """
    below = {name: {other for other in imports(name, files) if (name, other) not in but} - {name} for name in files}
    return list(TopologicalSorter(below).static_order())


# Pairs (importer, imported) whose circles are tolerated until they are removed.
KNOWN: set[tuple[str, str]] = set()


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        order(FILES, KNOWN)
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("pair", KNOWN)
def test_every_pair_on_the_list_closes_a_circle(pair: tuple[str, str]) -> None:
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


# The files in minivae/models/ that hold no paper but what the papers share.
SHARED = {"base", "arrays", "codes", "given", "importance", "latent_space", "pixelcnn_context", "pixelcnn_sampling"}
SHARED |= {"pixelcnn_motion", "pixelcnn_stages", "quantizer_choice", "squared_error", "autoregressive", "adversarial"}
SHARED |= {"discriminator"}
# A paper that is another one with something added, and a prior that is made of another paper's.
BUILT_ON = {
    **{"btcvae": {"vae"}, "cvae": {"vae"}, "iwae": {"vae"}, "vaegan": {"vae"}},
    **{"vqgan": {"vqvae"}, "vqvae1d": {"vqvae"}, "wavenet_vqvae": {"vqvae1d", "wavenet"}},
    **{"vqvae2": {"vqvae", "vqvae2_prior"}, "vqvae2_prior": {"pixelcnn"}},
    **{"video_vqvae": {"vqvae"}, "video_prior": {"pixelcnn"}},
}


def test_a_paper_does_not_import_another() -> None:
    for path in (ROOT / "minivae" / "models").glob("*.py"):
        if path.name != "__init__.py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            siblings = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level == 1}
            assert siblings <= SHARED | BUILT_ON.get(path.stem, set()), path
