"""The command line: `minivae train MODEL` makes a run, the other commands look at it.

A run is a folder: model.npz (the model), checkpoint.npz (all that training needs to go on), config.json (the options),
metrics.jsonl (a line per epoch), results.json (the numbers of the final table) and pictures. The prior of a VQ-VAE lies
beside it, in files that begin with prior. Whatever the user can get wrong ends in one line on stderr and exit code 2;
Ctrl-C ends in 130.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from minivae import __version__

from . import info, pictures, tables, train, uses

EXPECTED = (ValueError, TypeError, IndexError, OSError, ImportError, FloatingPointError, MemoryError, RuntimeError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args, unknown = _parser().parse_known_args(argv)
    if unknown:
        args.parser.error(f"{args.parser.prog.partition(' ')[2]!r} has no use for {' '.join(unknown)}")
    try:
        args.command(args)
    except KeyboardInterrupt:
        print("minivae: interrupted", file=sys.stderr)
        return 130
    except EXPECTED as error:
        print(f"minivae: error: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="minivae", description="Autoencoders you can read.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"minivae {__version__}")
    parser.set_defaults(parser=parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (train, tables, pictures, uses, info):
        module.add_commands(commands)
    return parser
