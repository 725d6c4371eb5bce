"""`minivae learn` lists the lessons, runs one with its text, writes its exercise and checks what was filled in."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from minivae.learn import exercise, lesson
from minivae.training.checkpoint import atomic_write

from . import options

WIDTH = 96  # the most characters on a line of text


def add_commands(commands: Any) -> None:
    learn = options.add_command(commands, "learn", _learn, "learn how autoencoders, backprop and kernels work")
    words = "nothing: list the lessons; N: run lesson N; exercise N: write its exercise; check N: check what you wrote"
    learn.add_argument("words", nargs="*", metavar="WORD", help=words)
    file = "file of the exercise (default: exercise_N.py in this folder)"
    learn.add_argument("--file", type=Path, help=file)
    options.flag(learn, "--force", "overwrite the file of the exercise", default=None)
    pause = "wait for Enter after each part of a lesson (default: on a terminal)"
    options.flag(learn, "--pause", pause, default=None)


def _learn(args: argparse.Namespace) -> None:
    _refuse_unused(args)
    match args.words:
        case []:
            _list()
        case [number]:
            _run(lesson.lesson(_number(number)), args.pause)
        case ["exercise", number]:
            _write(exercise.exercise(_number(number)), args)
        case ["check", number]:
            _check(exercise.exercise(_number(number)), args)
        case words:
            raise ValueError(f"learn takes nothing, N, exercise N or check N, got {' '.join(words)!r}")


def _refuse_unused(args: argparse.Namespace) -> None:
    """Raise ValueError for an option of another form of the command."""
    form = args.words[0] if len(args.words) > 1 else "N" if args.words else ""
    takes = {"N": ("pause",), "exercise": ("file", "force"), "check": ("file",)}.get(form, ())
    unused = [name for name in ("file", "force", "pause") if name not in takes]
    options.refuse(args, f"learn {form}".strip(), *unused)


def _number(word: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"a lesson is named by its number, got {word!r}")
    return int(word)


def _list() -> None:
    found = lesson.lessons()
    for one in found:
        print(f"{one.number:2}  {one.title}")
    print("`minivae learn 1` runs the first, `minivae learn exercise 1` writes its")
    print("exercise, `minivae learn check 1` checks it. The files, which open as notebooks")
    print("(# %%), are in")
    print(f"{lesson.FOLDER}/")


def _run(found: lesson.Lesson, pause: bool | None) -> None:
    """Print the text of a lesson, its code, indented by a bar, and what the code prints."""
    pause = sys.stdin.isatty() and sys.stdout.isatty() if pause is None else pause
    width = min(WIDTH, shutil.get_terminal_size().columns)
    for cell, printed in found.run():
        if cell.is_text:
            print(f"{lesson.wrapped(cell.source, width)}\n")
            continue
        print("\n".join(lesson.barred(cell.source.strip("\n"), width)))
        print(f"\n{printed}")
        if pause and not _goes_on():
            return
    print(f"This lesson is the file {found.path}")


def _goes_on() -> bool:
    """Wait for Enter; return False where the input ends instead, as by Ctrl-D."""
    try:
        input("-- Enter goes on --")
    except EOFError:
        print()
        return False
    return True


def _file(found: exercise.Exercise, args: argparse.Namespace) -> Path:
    return args.file or Path(f"exercise_{found.number}.py")


def _write(found: exercise.Exercise, args: argparse.Namespace) -> None:
    path = _file(found, args)
    if path.exists() and not args.force:
        raise FileExistsError(f"{str(path)!r} exists already; --force overwrites it, --file names another")
    atomic_write(path, lambda file: file.write(found.stub().encode()))
    print(f"wrote {path}; fill it in, then `minivae learn check {found.number}`")


def _check(found: exercise.Exercise, args: argparse.Namespace) -> None:
    """Print what is right in the learner's file; end with exit code 1 unless all of it is."""
    path = _file(found, args)
    if not path.is_file():
        raise FileNotFoundError(f"{str(path)!r} does not exist; `minivae learn exercise {found.number}` writes it")
    outcomes = found.check(path)
    for outcome in outcomes:
        print(f"{outcome.state:6}{outcome.name}{': ' if outcome.why else ''}{outcome.why}")
    if any(outcome.state != exercise.RIGHT for outcome in outcomes):
        raise SystemExit(1)
