"""`minivae train btcvae`, and what is shown of a beta-TC-VAE."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from minivae import models
from minivae.data import Dataset
from minivae.models.base import Estimator
from minivae.models.btcvae import SAMPLINGS
from minivae.training import evaluate

from ..disentanglement import draw_factors, measured, print_scores
from ..parser import Parser
from ..runs import Run
from ..text import Numbers
from .vae import VAEView, common_arguments, common_options
from .view import Asked, Command

SHAPES = [1, 16, 16]  # the image_shape of the data set 'shapes', unless given


class BetaTCVAEView(VAEView):
    def table(self, run: Run, data: Dataset, asked: Asked) -> Numbers:
        model: Any = run.model
        numbers = super().table(run, data, asked)
        terms = evaluate(model, model.binarized(data.x_test))
        found = {name: terms[name] for name in ("mutual_information", "total_correlation", "dimension_kl")}
        values = "mutual information {:.2f}, total correlation {:.2f}, dimension-wise KL {:.2f}".format(*found.values())
        print(f"\nthe kl of the test images, estimated from batches of 256: {values}")
        print("(such an estimate of the total correlation is too low, also below 0)")
        numbers["kl_terms"] = found
        if data.factors_test is not None:
            print()
            numbers |= print_scores({run.folder.name: measured(model, data)}, data)
        return numbers

    def draw(self, model: Any, data: Dataset, folder: Path) -> None:
        super().draw(model, data, folder)
        if data.factors_test is not None:
            draw_factors(model, data, measured(model, data), folder)


def _btcvae_options(parser: Parser) -> None:
    parser.set_defaults(data="shapes")
    common_options(parser, latent_dim=10)
    weights = {"alpha": "the index-code mutual information", "gamma": "the dimension-wise KL"}
    parser.add_argument("--beta", type=float, default=6.0, help="weight of the total correlation in the loss")
    for name, term in weights.items():
        parser.add_argument(f"--{name}", type=float, default=1.0, help=f"weight of {term} in the loss")
    how = "estimate of q(z) from a batch, minibatch stratified or minibatch-weighted sampling"
    parser.add_argument("--sampling", choices=SAMPLINGS, default="stratified", help=how)


def _complete(args: argparse.Namespace) -> None:
    """Choose the size of generated shapes: in small images the latents find the factors in a minute."""
    if args.data == "shapes" and args.image_shape is None:
        args.image_shape = SHAPES


def _btcvae(args: argparse.Namespace, data: Dataset) -> Estimator:
    own = {name: getattr(args, name) for name in ("alpha", "gamma", "sampling")}
    return models.BetaTCVAE(data.x_train.shape[1:], **own, **common_arguments(args))


TEXT = "train a beta-TC-VAE, whose latents depend less on each other"
COMMANDS = (Command("btcvae", TEXT, 60, _btcvae_options, _btcvae, _complete),)
