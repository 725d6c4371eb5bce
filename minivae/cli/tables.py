"""Prints the numbers of a run as a table, at the end of `minivae train` and again for `minivae evaluate RUN`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from minivae.data import Dataset

from . import images, options
from .runs import Run, write_json
from .text import Numbers
from .views.registry import view_of
from .views.vae import IMAGES, SAMPLES
from .views.view import Asked


def add_commands(commands: Any) -> None:
    parser = options.add_command(commands, "evaluate", _evaluate, "print the numbers of a trained model")
    options.run(parser)
    options.device(parser)
    options.other_data(parser)
    options.count(parser, "--samples", None, f"number of importance samples for log p(x) of a VAE (default: {SAMPLES})")
    options.count(parser, "--images", None, f"number of test images to estimate log p(x) on (default: {IMAGES})")
    parser.add_argument("--out", type=Path, help="JSON file to write the numbers to (default: none)")


def _evaluate(args: argparse.Namespace) -> None:
    run = Run.open(args.run, args.device)
    options.refuse_unused(args, run.model, view_of(run.model).takes, "samples", "images")
    numbers = report(run, run.data(args.data), Asked(images=args.images, samples=args.samples))
    if args.out is not None:
        write_json(args.out, numbers)


def report(run: Run, data: Dataset, asked: Asked = Asked()) -> Numbers:  # noqa: B008
    """Print the table of a model on a data set, and return what stands in it."""
    return _checked(view_of(run.model).table(run, images.in_memory(data), asked))


def _checked(numbers: Numbers) -> Numbers:
    """Return the numbers; FloatingPointError for NaN and infinity, except the PSNR of equal images."""
    for name, value in numbers.items():
        if isinstance(value, dict):
            _checked(value)
        elif not name.endswith("psnr") and not np.isfinite(value).all():
            raise FloatingPointError(f"{name} is not finite in the table above; see whether the pixels are in [0, 1]")
    return numbers
