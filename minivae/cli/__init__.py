"""The command line: `minivae train MODEL` makes a run, the other commands look at it.

A run is a folder with model.npz (the model), checkpoint.npz (all that training needs to go on), config.json (the
options), metrics.jsonl (a line per epoch), results.json (the numbers of the final table), table.txt (that table),
pictures and report.html (a page about all of it). The prior of a VQ-VAE lies beside it, in files that begin with prior.
Every mistake of the user ends in one line on stderr and exit code 2, Ctrl-C in one line and exit code 130. A command
goes on when nobody reads its output any more (`| head`). Under mpiexec the ranks train together; rank 0 does all else.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext, redirect_stderr, redirect_stdout
from io import StringIO

from minivae import __version__
from minivae.training.ranks import choose_gpu, is_first, world
from minivae.training.team import alone
from minivae.training.world import World

from . import (
    compress,
    config_file,
    contenders,
    continuation,
    disentanglement,
    explore,
    info,
    learn,
    pictures,
    reports,
    tables,
    train,
    uses,
)
from .parser import Parser
from .streams import Stream

EXPECTED = (ValueError, TypeError, IndexError, OSError, ImportError, FloatingPointError, MemoryError, RuntimeError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    try:
        ranks = world()
    except EXPECTED as error:
        return _refuse(str(error)) if is_first(os.environ) else 2
    with ExitStack() as stack:
        stack.enter_context(alone())  # what is trained for tables; Training.fit() is for all ranks
        if ranks.rank:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # rank 0 says what is kept, and ends all
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        code = _main(argv, ranks)
    if code and ranks.size > 1:
        ranks.abort(code)
    return code


def _main(argv: Sequence[str] | None, ranks: World) -> int:
    out, err = Stream(sys.stdout), Stream(sys.stderr)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = _run(argv, ranks)
        except SystemExit as end:  # of argparse
            code = int(end.code or 0)
            if code:
                ranks.let_the_first_speak()
        except KeyboardInterrupt as interrupt:
            code = _interrupted(str(interrupt))
        out.flush()
        err.flush()
        if out.failure is not None and not code:
            code = _refuse(f"stdout: {out.failure}")
    return code


def _run(argv: Sequence[str] | None, ranks: World) -> int:
    try:
        with redirect_stderr(StringIO()) if ranks.rank else nullcontext():
            args = _parsed(argv)  # rank 0 says what is wrong with the words of all
        if ranks.size > 1 and not args.parser.command.startswith("train "):
            raise ValueError(f"{args.parser.command!r} is the work of one process, got {ranks.size} ranks of mpiexec")
        choose_gpu(getattr(args, "device", None))
        args.command(args)
    except EXPECTED as error:
        ranks.let_the_first_speak()
        of_rank = f"rank {ranks.rank}: " if ranks.rank else ""
        return _refuse(of_rank + (" ".join(str(error).split()) or type(error).__name__))
    return 0


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Take each option from the command line, else from the file of --config, else from the defaults."""
    parser, argv = _parser(), list(sys.argv[1:] if argv is None else argv)
    args, unknown = parser.parse_known_args(argv)
    if (other := train.for_sounds(args)) is not None:
        argv[argv.index(args.kind.name)] = other
        args, unknown = parser.parse_known_args(argv)
    if unknown:
        args.parser.refuse(unknown)
    if args.config is not None:
        options, noted = config_file.read(args.config, args.parser)
        args.parser.set_defaults(**options, noted=noted)
        args = parser.parse_args(argv)
    return args


def _refuse(text: str) -> int:
    print(f"minivae: error: {text}", file=sys.stderr)
    return 2


def _interrupted(kept: str) -> int:
    """Say in one line that Ctrl-C was pressed; kept says what is left of a training, '' that there was none."""
    line = f"minivae: interrupted: {kept}" if kept else "minivae: interrupted"
    print(f"\n{line}" if sys.stderr.isatty() else line, file=sys.stderr)  # on a terminal there may be a progress bar
    return 130


def _parser() -> Parser:
    parser = Parser(prog="minivae", description="Autoencoders you can read.")
    parser.add_argument("--version", action="version", version=f"minivae {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    viewing = tables, pictures, continuation, reports, explore
    for module in (train, *viewing, uses, contenders, disentanglement, compress, learn, info):
        module.add_commands(commands)
    return parser
