"""Options that commands share, so that each has one name, one default and one meaning everywhere."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minivae import data as datasets

Command = Callable[[argparse.Namespace], None]
NOT_OF_THE_MODEL = ("command", "parser", "build", "run", "out", "force", "resume", "device")
MANY = 10**6  # the most epochs, images of a batch, samples
WIDE, CHANNELS, IMAGES = 4096, 1024, 10**4  # the longest code, the most channels, the most images on a picture


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Says the default of every option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def add_command(commands: Any, name: str, function: Command, text: str) -> argparse.ArgumentParser:
    """A subcommand that calls function(args)."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", formatter_class=_Help, allow_abbrev=False
    )
    parser.set_defaults(command=function, parser=parser)
    return parser


def training(parser: argparse.ArgumentParser, epochs: int) -> None:
    """What every training takes."""
    count(parser, "--epochs", epochs, "passes over the training images")
    count(parser, "--batch-size", 128, "images per step")
    lr = "first learning rate of Adam; it falls to 0 along a cosine"
    parser.add_argument("--lr", type=_positive, default=2e-3, help=lr)
    seed(parser, "of weights, noise and order")
    device(parser)


def keeping(parser: argparse.ArgumentParser) -> None:
    """What to do with what is there already."""
    parser.add_argument("--force", action="store_true", help="overwrite what is there")
    parser.add_argument(
        "--resume", action="store_true", help="go on with a training that was interrupted, or make it longer"
    )


def data(parser: argparse.ArgumentParser) -> None:
    """Of a new model."""
    known = f"one of {', '.join(datasets.names())}, or a file or folder"
    parser.add_argument("--data", default="fashion-mini", help=known)


def device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to compute")


def run(parser: argparse.ArgumentParser) -> None:
    """A trained model."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run, or a model file")


def picture(parser: argparse.ArgumentParser, name: str) -> None:
    """A trained model and where the picture of it goes."""
    run(parser)
    parser.add_argument("--out", type=_png, help=f"PNG to write (default: {name} in the run's folder)")
    device(parser)


def other_data(parser: argparse.ArgumentParser) -> None:
    """Of a model that was trained on some."""
    parser.add_argument("--data", help="data set, file or folder (default: that of the run)")


def seed(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--seed", type=_whole(0, 2**64 - 1), default=0, help=text)


def count(
    parser: argparse.ArgumentParser, name: str, default: int | None, text: str, least: int = 1, most: int = MANY
) -> None:
    """A number of things; beyond `most` it is a slip of the hand that would take hours or all memory."""
    parser.add_argument(name, type=_whole(least, most), default=default, help=text)


def counts(
    parser: argparse.ArgumentParser,
    name: str,
    default: list[int] | None,
    each: str,
    text: str,
    least: int = 1,
    most: int = MANY,
) -> None:
    """Several of them."""
    parser.add_argument(name, type=_whole(least, most), nargs="+", default=default, metavar=each, help=text)


def _whole(least: int, most: int) -> Callable[[str], int]:
    """The type of an option that is a whole number in [least, most]."""

    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        if value > most:
            raise argparse.ArgumentTypeError(f"must be at most {most}, got {text:.40}")
        return value

    number.__name__ = "int"  # for argparse's message
    return number


def _png(text: str) -> Path:
    if not text.endswith(".png"):
        raise argparse.ArgumentTypeError(f"must be the name of a .png, got {text!r}")
    return Path(text)


def _positive(text: str) -> float:
    if not 0 < (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return value


def share(text: str) -> float:
    """A number in (0, 1)."""
    if not 0 < (value := float(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be in (0, 1), got {text}")
    return value


_positive.__name__ = share.__name__ = "float"  # for argparse's messages


def of_training(args: argparse.Namespace) -> dict[str, Any]:
    """The options that a training is the outcome of, by which one that goes on is compared."""
    return {k: v for k, v in vars(args).items() if k not in NOT_OF_THE_MODEL}


def refuse(args: argparse.Namespace, owner: str, *names: str) -> None:
    """ValueError for options, None unless given, that do not belong to the model of this run."""
    if given := [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) is not None]:
        raise ValueError(f"{owner} has no use for {', '.join(given)}")
