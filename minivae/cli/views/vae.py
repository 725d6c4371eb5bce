"""`minivae train vae`, and what is shown of a VAE."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minivae import figures, models
from minivae.data import Dataset
from minivae.models.base import Estimator
from minivae.random import fork
from minivae.training import evaluate

from .. import gallery, options
from ..parser import Parser
from ..pixels import scale
from ..runs import Run
from ..text import Numbers, fixed, print_columns, print_table
from ..wholeness import print_wholeness
from .view import Asked, Command, View

IMAGES, SAMPLES = 1000, 100  # for the quick estimate of log p(x)
SEED = 0x5A  # for the noise of that estimate


class VAEView(View):
    takes: tuple[str, ...] = ("images", "samples")

    def table(self, run: Run, data: Dataset, asked: Asked) -> Numbers:
        model: Any = run.model
        numbers = print_elbo(model, data, asked, ("train", data.x_train), ("test", data.x_test))
        return {**numbers, **print_wholeness(self, model, None, data)}

    def draw(self, model: Any, data: Dataset, folder: Path) -> None:
        super().draw(model, data, folder)
        figures.save_latent(folder / "latent.png", model.transform(data.x_test), data.y_test, data.class_names)
        figures.save_sheet(folder / "samples.png", model.sample(gallery.SHEET), 8, "samples from the prior")
        if len(data.x_test) > 1:
            gallery.draw_interpolation(model, data.x_test, gallery.WAYS, gallery.STEPS, folder / "interpolation.png")
        else:
            print("there is no interpolation.png: it needs two test images, and there is 1")
        gallery.draw_traversal(model, data.x_test, None, gallery.ROWS, folder / "traversal.png")
        if model.latent_dim == 2:
            figures.save_manifold(folder / "manifold.png", model.manifold(gallery.MANIFOLD))

    def draw_samples(self, run: Run, count: int, path: Path, asked: Asked) -> None:
        model: Any = run.model
        figures.save_sheet(path, model.sample(count), gallery.columns_of(count), "samples from the prior")

    def samples(self, model: Any, prior: Any, count: int) -> dict[str, np.ndarray]:
        return {"samples": model.sample(count)}


def print_elbo(model: Any, data: Dataset, asked: Asked, *parts: tuple[Any, ...]) -> Numbers:
    """Print and return the ELBO and its terms, an estimate of log p(x), and the KL of each latent.

    parts: the name of a part of the data, its images and, for a conditional model, their labels; the test images last.
    """
    numbers: Numbers = {}
    for name, x, *y in parts:
        terms = evaluate(model, model.binarized(x), *y)
        nll, kl = terms["nll"], terms["kl"]
        numbers[name] = {"elbo": -nll - kl, "nll": nll, "kl": kl, "bits_per_dim": model.bits_per_dim(nll + kl)}
        if isinstance(model, models.IWAE):
            numbers[name]["iwae"] = -terms["loss"]
    rows = [[name, *fixed(n["elbo"], n["nll"], n["kl"]), f"{n['bits_per_dim']:.4f}"] for name, n in numbers.items()]
    print_table(["data", "ELBO", "nll", "kl", "bits/dim"], rows)
    of = "p(x | y)" if model.conditional else "p(x)"
    print(f"ELBO{' on log ' + of if model.conditional else ''}, nll and kl in nats per image{scale(data, model)}")
    if isinstance(model, models.IWAE):
        k, bound = model.importance_samples, numbers["test"]["iwae"]
        print(f"it was trained on the bound of {k} importance samples, {bound:.2f} on the test images")
    images, samples = asked.images or IMAGES, asked.samples or SAMPLES
    with fork(SEED):
        some = [array[:images] for array in (x, *y)]
        likelihood = float(model.log_likelihood(*some, samples=samples, progress=True).mean())
    count = len(some[0])
    print(f"log {of} = {likelihood:.2f}: {samples:,} importance samples for each of {count:,} test images")
    usage = model.latent_usage(x, *y)
    print(f"{usage.active} of {len(usage.kl)} latents active; their KL in nats:")
    print_columns(fixed(*np.sort(usage.kl)[::-1]))
    numbers |= {"log_likelihood": likelihood, "samples": samples, "images": count}
    return {**numbers, "active": usage.active, "kl_per_latent": usage.kl.tolist()}


def common_options(parser: Parser, arch: str = "conv", latent_dim: int = 16) -> None:
    """Add the options that all VAEs have."""
    options.networks(parser, arch, (32, 64), {"dense": (400, 400), "conv": (256,)})
    options.count(parser, "--latent-dim", latent_dim, "number of latents, the length of a code", most=options.WIDE)
    options.likelihood(parser)
    options.flag(parser, "--binarize", "draw each grey pixel black or white, anew in each epoch")


def common_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Collect the arguments that common_options() adds, and beta."""
    binarize = "dynamic" if args.binarize else None
    return {"likelihood": args.likelihood, "beta": args.beta, "binarize": binarize, **options.of_networks(args)}


def add_options(parser: Parser) -> None:
    """Add the options of a VAE."""
    common_options(parser)
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the KL term in the loss")
    warmup = "number of epochs in which the weight of the KL term rises from 0 to beta"
    options.count(parser, "--warmup-epochs", 0, warmup, least=0)
    free = "KL in nats that each latent may have without a cost in training"
    parser.add_argument("--free-bits", type=float, default=0.0, help=free)


def arguments(args: argparse.Namespace, data: Dataset) -> dict[str, Any]:
    """Collect the arguments of a VAE."""
    steps = -(-len(data.x_train) // args.batch_size)  # of an epoch
    return {"kl_warmup": args.warmup_epochs * steps, "free_bits": args.free_bits, **common_arguments(args)}


def _vae_options(parser: Parser) -> None:
    add_options(parser)
    iwae = "train on the bound of K importance samples, as an IWAE (default: on the ELBO, with the KL in closed form)"
    options.count(parser, "--iwae", None, iwae, most=1000)


def _vae(args: argparse.Namespace, data: Dataset) -> Estimator:
    make = models.VAE if args.iwae is None else partial(models.IWAE, importance_samples=args.iwae)
    return make(data.x_train.shape[1:], **arguments(args, data))


COMMANDS = (Command("vae", "train a variational autoencoder", 15, _vae_options, _vae),)
