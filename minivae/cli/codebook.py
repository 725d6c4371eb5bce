"""The options of a codebook, which every model with codes has, and of the convolutions around it."""

from __future__ import annotations

import argparse
from typing import Any

from . import options
from .parser import Parser


def add_options(parser: Parser, codes: int | None, text: str, commitment: float | None = 0.25) -> None:
    """Add the options of a codebook, and of the convolutions around it.

    codes, commitment: None for a model that chooses them by other options; text is the help of the first.
    """
    options.count(parser, "--codes", codes, text, most=2**16)
    options.count(parser, "--code-dim", 16, "length of a code", most=options.WIDE)
    options.count(parser, "--channels", 64, "number of channels of each convolution", most=options.CHANNELS)
    update = "how the codebook learns: by moving averages of the encoder's outputs, or by gradients"
    parser.add_argument("--update", choices=["ema", "gradient"], default="ema", help=update)
    weight = "weight of the commitment term in the loss"
    parser.add_argument("--commitment", type=float, default=commitment, help=weight)


def arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Collect the arguments of a model that add_options() adds."""
    return {name: getattr(args, name) for name in ("codes", "code_dim", "channels", "update", "commitment")}
