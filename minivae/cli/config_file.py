"""`--config FILE`: options from a TOML file, or from the config.json that a training has left in its run.

    # minivae train vae --config run.toml --seed 1
    data = "fashion-mini"
    latent-dim = 10      # or latent_dim, as it stands in config.json
    hidden = [400, 400]
    binarize = true

Every option of the command can stand there under its own name. Its value goes through the same checks as on the command
line, and the command line overrides it. Whatever else stands in a file is an error that names file and key.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from minivae.kernels.checks import did_you_mean

from .parser import Parser
from .runs import OF_A_RUN, command_of, read_json, versions


def read(path: Path, parser: Parser) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a file: -> its options, checked, by their names in the namespace; and what a run noted beside them.

    Raises ValueError for a file that is no TOML or JSON, options that the command of this parser does not have, values
    that they do not take, and options of another command; OSError for a file that cannot be read.
    """
    table = _table(path)
    noted = {name: table.pop(name) for name in OF_A_RUN if name in table}
    if "model" in noted and noted["model"] != parser.command.split()[-1]:
        raise ValueError(
            f"{path}: model: the file has the options of `{command_of(noted['model'])}`, not of `minivae "
            f"{parser.command}`"
        )
    known = {action.dest: action for action in parser.options if action.option_strings and action.dest != "config"}
    known.pop("help")
    options: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        try:
            if name not in known:
                raise ValueError(f"`minivae {parser.command}` has no such option{did_you_mean(name, known)}")
            if name in options:
                raise ValueError("it stands there twice, with - and with _")
            options[name] = _checked(known[name], value)
        except ValueError as error:
            raise ValueError(f"{path}: {key}: {error}") from error
    for name in {"versions", "contents"} & noted.keys():
        if not isinstance(noted[name], dict):
            raise ValueError(f"{path}: {name}: must be a table of names, got {_shown(noted[name])}")
    _tell_versions(path, noted.get("versions", {}))
    return options, noted


def _tell_versions(path: Path, before: dict[str, Any]) -> None:
    """Print which versions have changed since a run noted its own."""
    now = versions()
    if changed := [name for name in now if before.get(name, now[name]) != now[name]]:
        then, here = (", ".join(f"{name} {of[name]}" for name in changed) for of in (before, now))
        print(f"{path} was written with {then}, this is {here}: numbers may differ by rounding", flush=True)


def _table(path: Path) -> dict[str, Any]:
    if path.suffix not in (".toml", ".json"):
        raise ValueError(f"{str(path)!r} must be a .toml or a .json file")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    if path.suffix == ".json":
        return read_json(path) or {}
    if sys.version_info < (3, 11):
        raise ImportError(f"{str(path)!r}: TOML is read by Python 3.11 and above; a .json file is read by every Python")
    else:
        import tomllib

        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{str(path)!r} is no readable TOML: {error}") from error


def _checked(action: argparse.Action, value: Any) -> Any:
    """Convert a value to what the command line would make of it; ValueError for one that the option does not take."""
    if value is None and action.default is None:
        return None
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false, got {_shown(value)}")
        return value
    if action.nargs is None:
        if isinstance(value, (list, dict)):
            raise ValueError(f"must be one value, got {_shown(value)}")
        return _one(action, value)
    if not isinstance(value, list):
        raise ValueError(f"must be a list, as [{_shown(value)}], got {_shown(value)}")
    if isinstance(action.nargs, int) and len(value) != action.nargs:
        raise ValueError(f"must be a list of {action.nargs} values, got {_shown(value)}")
    if action.nargs == "+" and not value:
        raise ValueError("must have at least one value, got []")
    return [_one(action, each) for each in value]


def _one(action: argparse.Action, value: Any) -> Any:
    """Convert a single value. Type functions of numbers are called int or float, as argparse's messages need it."""
    convert: Any = action.type or str
    is_number = convert.__name__ in ("int", "float")
    if isinstance(value, bool) or not isinstance(value, (int, float) if is_number else str):
        raise ValueError(f"must be {'a number' if is_number else 'text in quotes'}, got {_shown(value)}")
    try:
        found = convert(str(value))
    except argparse.ArgumentTypeError as error:
        raise ValueError(str(error)) from error
    except ValueError as error:
        kind = "a whole number" if convert.__name__ == "int" else "a number"
        raise ValueError(f"must be {kind}, got {_shown(value)}") from error
    if action.choices is not None and found not in action.choices:
        names = [str(name) for name in action.choices]
        raise ValueError(f"must be {' or '.join(names)}, got {_shown(found)}{did_you_mean(str(found), names)}")
    return found


def _shown(value: Any) -> str:
    """Show a value as it stands in the file, its first 60 characters."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:60]}..."
