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
from minivae.models.latent_space import LatentUsage
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
        images, samples = asked.images or IMAGES, asked.samples or SAMPLES
        numbers: Numbers = {}
        for name, x in (("train", data.x_train), ("test", data.x_test)):
            terms = evaluate(model, model.binarized(x))
            nll, kl = terms["nll"], terms["kl"]
            numbers[name] = {"elbo": -nll - kl, "nll": nll, "kl": kl, "bits_per_dim": model.bits_per_dim(nll + kl)}
            if isinstance(model, models.IWAE):
                numbers[name]["iwae"] = -terms["loss"]
        rows = [[name, *fixed(n["elbo"], n["nll"], n["kl"]), f"{n['bits_per_dim']:.4f}"] for name, n in numbers.items()]
        print_table(["data", "ELBO", "nll", "kl", "bits/dim"], rows)
        print(f"ELBO, nll and kl in nats per image{scale(data, model)}")
        if isinstance(model, models.IWAE):
            k, bound = model.importance_samples, numbers["test"]["iwae"]
            print(f"it was trained on the bound of {k} importance samples, {bound:.2f} on the test images")
        x = data.x_test[:images]
        with fork(SEED):
            likelihood = float(model.log_likelihood(x, samples, progress=True).mean())
        print(f"log p(x) = {likelihood:.2f}: {samples:,} importance samples for each of {len(x):,} test images")
        numbers |= {"log_likelihood": likelihood, "samples": samples, "images": len(x)}
        numbers |= print_latents(model.latent_usage(data.x_test))
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


def print_latents(usage: LatentUsage) -> Numbers:
    """Print and return the KL of each latent, and how many are active."""
    print(f"{usage.active} of {len(usage.kl)} latents active; their KL in nats:")
    print_columns(fixed(*np.sort(usage.kl)[::-1]))
    return {"active": usage.active, "kl_per_latent": usage.kl.tolist()}


def add_options(parser: Parser) -> None:
    """Add the options of a VAE."""
    options.networks(parser, "conv", (32, 64), {"dense": (400, 400), "conv": (256,)})
    options.count(parser, "--latent-dim", 16, "number of latents, the length of a code", most=options.WIDE)
    options.likelihood(parser)
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the KL term in the loss")
    warmup = "number of epochs in which the weight of the KL term rises from 0 to beta"
    options.count(parser, "--warmup-epochs", 0, warmup, least=0)
    free = "KL in nats that each latent may have without a cost in training"
    parser.add_argument("--free-bits", type=float, default=0.0, help=free)
    options.flag(parser, "--binarize", "draw each grey pixel black or white, anew in each epoch")


def arguments(args: argparse.Namespace, data: Dataset) -> dict[str, Any]:
    """Collect the arguments of a VAE."""
    steps = -(-len(data.x_train) // args.batch_size)  # of an epoch
    return {
        "likelihood": args.likelihood,
        "beta": args.beta,
        "kl_warmup": args.warmup_epochs * steps,
        "free_bits": args.free_bits,
        "binarize": "dynamic" if args.binarize else None,
        **options.of_networks(args),
    }


def _vae_options(parser: Parser) -> None:
    add_options(parser)
    iwae = "train on the bound of K importance samples, as an IWAE (default: on the ELBO, with the KL in closed form)"
    options.count(parser, "--iwae", None, iwae, most=1000)


def _vae(args: argparse.Namespace, data: Dataset) -> Estimator:
    make = models.VAE if args.iwae is None else partial(models.IWAE, importance_samples=args.iwae)
    return make(data.x_train.shape[1:], **arguments(args, data))


COMMANDS = (Command("vae", "train a variational autoencoder", 15, _vae_options, _vae),)
