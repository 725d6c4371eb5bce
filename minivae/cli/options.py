"""Options that several commands have: each has one name, one default and one meaning, which are defined here."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from minivae import data as datasets
from minivae.models.base import Estimator
from minivae.nn.likelihoods import LIKELIHOODS

from .parser import Parser

Command = Callable[[argparse.Namespace], None]
NOT_OF_THE_MODEL = ("command", "parser", "kind", "run", "out", "force", "resume", "device", "config", "noted")
MANY = 10**6  # the most epochs, images of a batch, samples
WIDE, CHANNELS, IMAGES = 4096, 1024, 10**4  # the longest code or layer, the most channels, the most images on a picture


def add_command(commands: Any, name: str, function: Command, text: str) -> Parser:
    """Add a command that calls function(args); text says in its help what it does."""
    parser: Parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(command=function, noted={})
    file = "TOML file, or config.json of a run, with options of this command; the command line overrides them"
    parser.add_argument("--config", type=Path, metavar="FILE", help=file)
    return parser


def training(parser: Parser, epochs: int) -> None:
    """Add the options that every training takes."""
    count(parser, "--epochs", epochs, "number of passes over the training images")
    count(parser, "--batch-size", 128, "number of images in a training step")
    lr = "learning rate of Adam at the start; it falls to 0 along a cosine"
    parser.add_argument("--lr", type=positive, default=2e-3, help=lr)
    clip = "scale the gradients of a step down to this norm where theirs is larger (default: no limit)"
    parser.add_argument("--clip-norm", type=positive, metavar="NORM", help=clip)
    shards = (
        "cut each batch into so many parts, which the ranks of mpiexec share; rounding depends on it, but not on the "
        "number of ranks (default: 1, under mpiexec 4, or as many as there are ranks where 4 does not fit)"
    )
    count(parser, "--shards", None, shards)
    seed(parser, "seed of the first weights, the noise, the order of the images and the choice of validation images")
    device(parser)


def validation(parser: Parser) -> None:
    """Add --validation and --patience, for trainings whose course is shown on images that they do not train on."""
    text = (
        "share of the training images, chosen by the seed, to set aside and to show the course of training on "
        "(default: none; the course is shown on the test images, by which nothing is chosen)"
    )
    parser.add_argument("--validation", type=share, metavar="SHARE", help=text)
    patience = (
        "stop when the loss of the validation images has not fallen for so many epochs, and keep the weights of the "
        "best epoch (default: train all epochs and keep the last weights)"
    )
    count(parser, "--patience", None, patience)


def networks(parser: Parser, arch: str, channels: Sequence[int], hidden: dict[str, Sequence[int]] | str) -> None:
    """Add the options of a dense or convolutional encoder and its decoder.

    hidden: the default by architecture, or what to say of it where that is not one.
    """
    parser.add_argument("--arch", choices=["conv", "dense"], default=arch, help="kind of encoder and decoder")
    each = f"channels of each strided convolution, for --arch conv (default: {_words(channels)})"
    counts(parser, "--channels", None, "C", each, most=CHANNELS)
    by_arch = hidden if isinstance(hidden, dict) else {}
    usual = ", ".join(f"{_words(sizes)} for {name}" for name, sizes in by_arch.items()) or hidden
    sizes = f"sizes of the hidden dense layers; without a number there are none (default: {usual})"
    counts(parser, "--hidden", None, "SIZE", sizes, most=WIDE, number="*")


def of_networks(args: argparse.Namespace) -> dict[str, Any]:
    """Collect the arguments of a model that say what its encoder and decoder are made of."""
    return {name: getattr(args, name) for name in ("latent_dim", "arch", "channels", "hidden")}


def likelihood(parser: Parser) -> None:
    """Add --likelihood, for a model whose decoder gives a distribution over images."""
    kinds = (
        "likelihood of a pixel: bernoulli and continuous-bernoulli for pixels in [0, 1], logistic for those of 8-bit "
        "images, gaussian for any"
    )
    parser.add_argument("--likelihood", choices=list(LIKELIHOODS), default="bernoulli", help=kinds)


def _words(sizes: Sequence[int]) -> str:
    return " ".join(map(str, sizes)) or "none"


def keeping(parser: Parser) -> None:
    """Add the options that say what to do with a run that is in the folder already."""
    force(parser)
    flag(parser, "--resume", "go on with a training that was interrupted, or with --epochs make it longer")


def force(parser: Parser) -> None:
    """Add --force."""
    flag(parser, "--force", "overwrite what is in the folder")


def data(parser: Parser) -> None:
    """Add the options that say which images a new model is trained and tested on."""
    known = f"data set: {', '.join(datasets.names())}, a .npy or .npz file, or a folder of "
    known += "PNGs, .npy files, sounds or videos"
    parser.add_argument("--data", default="fashion-mini", help=known)
    shape = (
        "shape C H W of an image: flat rows of a file are given it, other images must have it (default: as they are); "
        "shape T C H W of a clip: videos are cut and scaled to it"
    )
    counts(parser, "--image-shape", None, "SIZE", shape)


def device(parser: Parser) -> None:
    """Add --device."""
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="device to compute on")


def run(parser: Parser) -> None:
    """Add the argument that names a trained model."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run, or a model file")


def runs(parser: Parser) -> None:
    """Add the argument that names trained models, which are compared."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs, or model files")


def picture(parser: Parser, name: str, several: bool = False) -> None:
    """Add the arguments of a command that draws a picture of a trained model; name: its file in the run's folder.

    several: it may be given several models, and draws into the folder of the first.
    """
    (runs if several else run)(parser)
    parser.add_argument("--out", type=_png, help=f"PNG file to write (default: {name} in the run's folder)")
    device(parser)


def other_data(parser: Parser) -> None:
    """Add --data, for a command that looks at a trained model, which has data of its own."""
    parser.add_argument("--data", help="data set, file or folder to take images from (default: the data of the run)")


def seed(parser: Parser, text: str) -> None:
    """Add --seed; text says what the seed decides."""
    parser.add_argument("--seed", type=_whole(0, 2**64 - 1), metavar="N", default=0, help=text)


def flag(parser: Parser, name: str, text: str, default: bool | None = False) -> None:
    """Add --name, and --no-name, which overrides a file of options that asks for it."""
    parser.add_argument(name, action=argparse.BooleanOptionalAction, default=default).help = text


def count(parser: Parser, name: str, default: int | None, text: str, least: int = 1, most: int = MANY) -> None:
    """Add an option that is a whole number; one above `most` is a slip that would cost hours or all memory."""
    parser.add_argument(name, type=_whole(least, most), metavar="N", default=default, help=text)


def counts(
    parser: Parser,
    name: str,
    default: list[int] | None,
    each: str | tuple[str, ...],
    text: str,
    least: int = 1,
    most: int = MANY,
    number: str | int = "+",
) -> None:
    """Add an option that is a list of whole numbers; number: how many, or '+' or '*' for at least one or none."""
    settings: dict[str, Any] = {"type": _whole(least, most), "nargs": number, "metavar": each}
    parser.add_argument(name, default=default, help=text, **settings)


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


def positive(text: str) -> float:
    if not 0 < (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return value


def at_least_zero(text: str) -> float:
    """The type of an option that is a number in [0, inf)."""
    if not 0 <= (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, got {text}")
    return value


def share(text: str) -> float:
    """The type of an option that is a number in (0, 1)."""
    if not 0 < (value := float(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be in (0, 1), got {text}")
    return value


def probability(text: str) -> float:
    """The type of an option that is a number in [0, 1)."""
    if not 0 <= (value := float(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be in [0, 1), got {text}")
    return value


positive.__name__ = at_least_zero.__name__ = share.__name__ = probability.__name__ = "float"  # for argparse's messages


def of_training(args: argparse.Namespace) -> dict[str, Any]:
    """The model and the options that decide the outcome of a training; --resume compares them."""
    options = {k: v for k, v in vars(args).items() if k not in NOT_OF_THE_MODEL}
    return {"model": args.parser.command.split()[-1], **options}


def of_fit(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of a model's fit() that are options of every training."""
    return {name: getattr(args, name) for name in ("epochs", "batch_size", "lr", "clip_norm", "device", "shards")}


def check_patience(args: argparse.Namespace) -> None:
    """Raise ValueError for --patience without --validation."""
    if getattr(args, "patience", None) is not None and args.validation is None:
        raise ValueError(
            "--patience needs --validation SHARE, images to stop by: a training that is stopped by the test images has "
            "learned from them"
        )


def refuse_unused(args: argparse.Namespace, model: Estimator, takes: Sequence[str], *names: str) -> None:
    """Raise ValueError for those of the options that the model does not take; they are None unless given."""
    refuse(args, type(model).__name__, *(name for name in names if name not in takes))


def refuse(args: argparse.Namespace, owner: str, *names: str) -> None:
    """Raise ValueError for options that the model of this run has no use for; they are None unless given."""
    if given := [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) is not None]:
        raise ValueError(f"{owner} has no use for {', '.join(given)}")
