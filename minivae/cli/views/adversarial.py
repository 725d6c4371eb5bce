"""`minivae train vaegan` and `train vqgan`: the options of the discriminator. What is shown is that of the plain model.

Samples and reconstructions of both stand with their sharpness and Frechet distance in the table of every model that has
samples (cli/wholeness.py), so that they compare with those of `train vae` and `train vqvae`.
"""

from __future__ import annotations

import argparse
from typing import Any

from minivae import models
from minivae.data import Dataset
from minivae.models.adversarial import ADVERSARIES
from minivae.models.base import Estimator
from minivae.models.discriminator import NORMS

from .. import options
from ..parser import Parser
from . import vae, vqvae
from .view import Command


def _of_discriminator(parser: Parser, channels: list[int]) -> None:
    kinds = "losses of discriminator and model: hinge, or non-saturating (cross-entropy)"
    parser.add_argument("--adversary", choices=sorted(ADVERSARIES), default="hinge", help=kinds)
    pull = "how hard the discriminator pulls at the decoder's last layer, 1: as hard as the reconstruction"
    parser.add_argument("--gan-weight", type=float, default=0.5, help=pull)
    start = "number of epochs before the discriminator begins"
    options.count(parser, "--discriminator-start", 5, start, least=0)
    each = "numbers of channels of the discriminator's convolutions, each of which halves the image"
    options.counts(parser, "--discriminator-channels", channels, "C", each, most=options.CHANNELS)
    norm = "normalisation in the discriminator, of each example by itself, or none"
    parser.add_argument("--discriminator-norm", choices=NORMS, default="group", help=norm)


def _arguments(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "adversary": args.adversary,
        "gan_weight": args.gan_weight,
        "discriminator_start": args.discriminator_start,
        "discriminator_channels": tuple(args.discriminator_channels),
        "discriminator_norm": args.discriminator_norm,
    }


def _vaegan_options(parser: Parser) -> None:
    vae.add_options(parser)
    _of_discriminator(parser, [32, 64])
    features = "weight of the squared distance of the discriminator's features in the reconstruction"
    parser.add_argument("--feature-weight", type=float, default=0.1, help=features)


def _vaegan(args: argparse.Namespace, data: Dataset) -> Estimator:
    more = {"feature_weight": args.feature_weight, **_arguments(args)}
    return models.VAEGAN(data.x_train.shape[1:], **vae.arguments(args, data), **more)


def _vqgan_options(parser: Parser) -> None:
    vqvae.add_options(parser)
    _of_discriminator(parser, [16, 32])


def _vqgan(args: argparse.Namespace, data: Dataset) -> Estimator:
    return models.VQGAN(data.x_train.shape[1:], **vqvae.arguments(args), **_arguments(args))


def _check_course(args: argparse.Namespace) -> None:
    """Refuse --patience, and say so where the discriminator never begins."""
    if args.patience is not None:
        raise ValueError(
            "--patience stops by the likelihood, which a discriminator makes worse: it would keep the plain model"
        )
    if args.discriminator_start >= args.epochs:
        print(
            f"the discriminator never begins: --discriminator-start {args.discriminator_start} is no less than "
            f"--epochs {args.epochs}, and the model is the plain one",
            flush=True,
        )


def _complete_vqgan(args: argparse.Namespace) -> None:
    vqvae.complete(args)
    _check_course(args)


TEXTS = "train a VAE against a discriminator", "train a VQ-VAE against a discriminator"
COMMANDS = (
    Command("vaegan", TEXTS[0], 20, _vaegan_options, _vaegan, _check_course),
    Command("vqgan", TEXTS[1], 15, _vqgan_options, _vqgan, _complete_vqgan),
)
