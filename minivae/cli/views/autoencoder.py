"""`minivae train ae|dae`, and what is shown of an autoencoder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from minivae import figures, models, uses
from minivae.data import Dataset
from minivae.models.autoencoder import CORRUPTIONS, LEVEL
from minivae.models.base import Estimator

from .. import options
from ..denoising import denoising_table, draw_denoising
from ..parser import Parser
from ..pixels import in_unit_interval
from ..runs import Run
from ..text import Numbers, fixed, print_table
from .view import PAIRS, Asked, Command, View


class SquaredErrorView(View):
    """It shows a model that is judged by its squared error, beside PCA of as many components as a code has numbers."""

    unit = "squared error per image"

    def table(self, run: Run, data: Dataset, asked: Asked) -> Numbers:
        model: Any = run.model
        x_train, x_test = model.check_images(data.x_train), model.check_images(data.x_test)
        linear = uses.PCA.at_most(x_train, model.latent_dim)
        candidates: list[tuple[str, np.ndarray, Any]] = [("train", x_train, model), ("test", x_test, model)]
        candidates.append((f"test, by PCA of {len(linear.components)}", x_test, linear))
        pictures = in_unit_interval(data)
        numbers: Numbers = {}
        for name, x, by in candidates:
            seen = by.reconstruct(x)
            found = {"squared_error": float(uses.squared_error(x, seen).mean())}
            if pictures:
                found["psnr"] = uses.psnr(x, np.clip(seen, 0, 1))
            numbers["pca" if "PCA" in name else name] = found
        rows = [[c[0], *fixed(*found.values())] for c, found in zip(candidates, numbers.values(), strict=True)]
        print_table(["data", "squared error", "PSNR"][: len(rows[0])], rows)
        print("squared error per image" + ("; PSNR in dB, of pictures with pixels in [0, 1]" if pictures else ""))
        return numbers

    def draw(self, model: Any, data: Dataset, folder: Path) -> None:
        super().draw(model, data, folder)
        figures.save_latent(folder / "latent.png", model.transform(data.x_test), data.y_test, data.class_names)


class AutoencoderView(SquaredErrorView):
    def table(self, run: Run, data: Dataset, asked: Asked) -> Numbers:
        numbers, model = super().table(run, data, asked), run.model
        if isinstance(model, models.Autoencoder) and model.corruption is not None and in_unit_interval(data):
            print()
            level = LEVEL if model.level is None else model.level
            _, numbers["denoising"] = denoising_table({"the model": model}, data, model.corruption, level)
        return numbers

    def draw(self, model: Any, data: Dataset, folder: Path) -> None:
        super().draw(model, data, folder)
        if model.corruption is not None and in_unit_interval(data):
            x = model.check_images(data.x_test[:PAIRS])
            result = uses.denoising(model, x, model.corruption, LEVEL if model.level is None else model.level)
            draw_denoising(x, {"denoised": result}, PAIRS, folder / "denoised.png")


def _ae_options(parser: Parser, latent_dim: int = 32) -> None:
    """Add the options of an autoencoder.

    A dense one is the default: in a minute it learns more from a few thousand images than a convolutional one in three.
    """
    options.networks(parser, "dense", (32, 64), {"dense": (1000,), "conv": ()})
    options.count(parser, "--latent-dim", latent_dim, "length of a code", most=options.WIDE)


def _dae_options(parser: Parser) -> None:
    _ae_options(parser, 64)
    parser.add_argument("--corruption", choices=CORRUPTIONS, default="gaussian", help="kind of noise in training")
    level = "level of the noise: its standard deviation, or the probability that a pixel is hit"
    parser.add_argument("--level", type=options.positive, default=LEVEL, help=level)


def _ae(args: argparse.Namespace, data: Dataset) -> Estimator:
    return models.Autoencoder(data.x_train.shape[1:], **options.of_networks(args))


def _dae(args: argparse.Namespace, data: Dataset) -> Estimator:
    shape = data.x_train.shape[1:]
    return models.Autoencoder(shape, corruption=args.corruption, level=args.level, **options.of_networks(args))


COMMANDS = (
    Command("ae", "train an autoencoder", 60, _ae_options, _ae),
    Command("dae", "train a denoising autoencoder", 60, _dae_options, _dae),
)
