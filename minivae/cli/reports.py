"""`minivae report RUN`, and the report.html that every training leaves: one page about a run."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from minivae.report import CAPTIONS, Part, Picture, page
from minivae.training.checkpoint import atomic_write

from . import options
from .runs import BOTTOM, OF_A_RUN, OVERWRITING, PICTURES, PRIOR, REPORT, TABLE, TOP, Files, command_of, read_json

PARTS = {"": "model", PRIOR: "prior", TOP: "prior of the top codes", BOTTOM: "prior of the bottom codes"}
SUFFIXES = (".png", ".gif", ".wav")


def add_commands(commands: Any) -> None:
    text = "write one page about a run: numbers, pictures, warnings, and how to make it again"
    parser = options.add_command(commands, "report", _report, text)
    options.run(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"HTML file to write (default: {REPORT} in the run)")


def _report(args: argparse.Namespace) -> None:
    if not args.run.exists():
        raise FileNotFoundError(f"{str(args.run)!r} is no run: it does not exist; `minivae train` makes one")
    folder = args.run if args.run.is_dir() else args.run.parent
    path = args.out or folder / REPORT
    write_report(folder, path)
    print(f"wrote {path}")


def write_report(folder: Path, path: Path | None = None) -> None:
    """Write the page about the run in a folder, to its report.html unless another path is given.

    Raises FileNotFoundError for a folder without a run, ValueError for files of a run that cannot be read.
    """
    parts = {prefix: part for prefix in PARTS if (part := _part(Files(folder, prefix))) is not None}
    if "" not in parts:
        raise FileNotFoundError(f"{str(folder)!r} is no run: it has no config.json; `minivae train` makes one")
    text = page(list(parts.values()), _pictures(folder, list(parts)))
    atomic_write(path or folder / REPORT, lambda file: file.write(text.encode()))


def _part(files: Files) -> Part | None:
    """Read one training of a run; None if there is none, or what is there is being overwritten."""
    config = read_json(files.path("config.json"))
    if config is None or config.get(OVERWRITING):
        return None
    table = files.path(TABLE)
    return Part(
        PARTS[files.prefix],
        config,
        read_json(files.path("results.json")) or {},
        _history(files.path("metrics.jsonl")),
        table.read_text(encoding="utf-8") if table.is_file() else "",
        command_line(config),
    )


def _history(path: Path) -> list[dict[str, Any]]:
    """Read the records of the epochs; none for a command that keeps none. ValueError for a damaged file."""
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is no readable JSON: {error}") from error


def _pictures(folder: Path, prefixes: list[str]) -> list[Picture]:
    """Collect what a run has drawn, in the order of the captions; each training has a picture of its course."""
    found = []
    for stem in CAPTIONS:
        for prefix in prefixes if stem == "training" else [""]:
            paths = [folder / f"{prefix}{stem}{suffix}" for suffix in SUFFIXES if stem in PICTURES]
            files = {path.name: path.read_bytes() for path in paths if path.is_file()}
            found += [Picture(stem, PARTS[prefix], files)] if files else []
    return found


def command_line(config: dict[str, Any]) -> str:
    """Write the command that makes a run again from what its config.json holds, with all options."""
    model = str(config.get("model", "prior"))  # priors of older versions have not noted that they are one
    words = [*command_of(model).split(), *["RUN"] * (model == "prior")]
    for name, value in config.items():
        option = name.replace("_", "-")
        if name in OF_A_RUN or value is None:
            continue
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)
