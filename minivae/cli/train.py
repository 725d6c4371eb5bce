"""`minivae train ae|dae|vae|vqvae|prior`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minivae import data as datasets
from minivae import figures, manual_seed, models
from minivae.data import Dataset
from minivae.models.autoencoder import CORRUPTIONS, LEVEL
from minivae.models.base import Estimator

from . import gallery, options
from .pixels import check_pixels
from .runs import Files, Run, write_json
from .tables import report
from .training import training

Build = Callable[[argparse.Namespace, Dataset], Estimator]


def add_commands(commands: Any) -> None:
    train = commands.add_parser("train", help="train a model", description="Train a model.", allow_abbrev=False)
    train.set_defaults(parser=train)
    kinds = train.add_subparsers(required=True, metavar="MODEL")
    _ae_options(_new(kinds, "ae", _ae, 60, "autoencoder"), 32)
    dae = _new(kinds, "dae", _dae, 60, "denoising autoencoder")
    _ae_options(dae, 64)
    dae.add_argument("--corruption", choices=CORRUPTIONS, default="gaussian", help="kind of noise")
    dae.add_argument("--level", type=float, default=LEVEL, help="how much of it: standard deviation or probability")
    _vae_options(_new(kinds, "vae", _vae, 15, "variational autoencoder"))
    _vqvae_options(_new(kinds, "vqvae", _vqvae, 15, "vector-quantised autoencoder"))
    _prior_options(options.add_command(kinds, "prior", _train_prior, "PixelCNN over the codes of a trained VQ-VAE"))


def _new(kinds: Any, name: str, build: Build, epochs: int, text: str) -> argparse.ArgumentParser:
    """The command that trains a model from nothing."""
    parser = options.add_command(kinds, name, _train, text)
    parser.set_defaults(build=build)
    options.data(parser)
    options.training(parser, epochs)
    parser.add_argument("--out", type=Path, default=Path("runs") / name, help="folder of the run")
    options.keeping(parser)
    return parser


def _train(args: argparse.Namespace) -> None:
    files, settings = Files(args.out), options.of_training(args)
    settings = {"model": args.parser.prog.split()[-1], **settings}
    with training(files, settings, args) as run:
        manual_seed(args.seed)
        data = datasets.load(args.data)
        model = args.build(args, data)
        check_pixels(model, data)
        x_train, x_test = model.check_images(data.x_train), model.check_images(data.x_test)
        print(f"{settings['model']} with {model.num_parameters():,} parameters on {data.name}: ", end="")
        print(f"{len(x_train):,} training and {len(x_test):,} test images {x_train.shape[1:]}", flush=True)
        model.to(device=args.device)
        if not run.goes_on:
            model.prepare(x_train)  # here, so that what cannot be trained does not overwrite what was
        run.begin()
        run.fit(model, args, x_train, validation=x_test)
        trained = Run(args.out, model, args.device)
        trained.drop_other_prior()
        _finish(files, model, trained, data)
        gallery.draw(model, data, args.out)
    print(f"model, metrics and pictures are in {args.out}/")


def _finish(files: Files, trained: Estimator, run: Run, data: Dataset) -> None:
    """The course of training as a picture, and the final table."""
    unit = "nats per map of codes" if files.prefix else gallery.unit_of(trained)
    figures.save_training(files.path("training.png"), trained.history, unit)
    print()
    results = report(run, data)
    seconds = sum(record["seconds"] for record in trained.history)  # however often it was interrupted
    speed = float(np.mean([record["images_per_second"] for record in trained.history]))
    print(f"{seconds:.1f} s, {speed:,.0f} images/s in training")
    numbers = {"parameters": trained.num_parameters(), "seconds": round(seconds, 1), "images_per_second": round(speed)}
    write_json(files.path("results.json"), {**numbers, **results})


# ---- autoencoders ----


def _ae_options(parser: argparse.ArgumentParser, latent_dim: int) -> None:
    """Dense unless asked: a few thousand images teach it more in a minute than the convolutional one in three."""
    parser.add_argument("--arch", choices=["conv", "dense"], default="dense", help="encoder and decoder")
    options.count(parser, "--latent-dim", latent_dim, "length of a code", most=options.WIDE)


def _ae(args: argparse.Namespace, data: Dataset) -> Estimator:
    return models.Autoencoder(data.x_train.shape[1:], args.latent_dim, args.arch)


def _dae(args: argparse.Namespace, data: Dataset) -> Estimator:
    return models.Autoencoder(data.x_train.shape[1:], args.latent_dim, args.arch, args.corruption, args.level)


# ---- VAE ----


def _vae_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arch", choices=["conv", "dense"], default="conv", help="encoder and decoder")
    parser.add_argument("--likelihood", choices=["bernoulli", "gaussian"], default="bernoulli", help="of a pixel")
    options.count(parser, "--latent-dim", 16, "number of latents", most=options.WIDE)
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the KL term")
    warmup = "epochs in which the weight of the KL term rises from 0"
    options.count(parser, "--warmup-epochs", 0, warmup, least=0)
    parser.add_argument("--free-bits", type=float, default=0.0, help="nats that each latent has for nothing")
    parser.add_argument("--binarize", action="store_true", help="make grey pixels black or white, anew in each epoch")


def _vae(args: argparse.Namespace, data: Dataset) -> Estimator:
    steps = -(-len(data.x_train) // args.batch_size)  # of an epoch
    return models.VAE(
        data.x_train.shape[1:],
        latent_dim=args.latent_dim,
        arch=args.arch,
        likelihood=args.likelihood,
        beta=args.beta,
        kl_warmup=args.warmup_epochs * steps,
        free_bits=args.free_bits,
        binarize="dynamic" if args.binarize else None,
    )


# ---- VQ-VAE and its prior ----


def _vqvae_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--likelihood", choices=["bernoulli", "gaussian"], default="bernoulli", help="of a pixel")
    options.count(parser, "--codes", 256, "size of the codebook", most=2**16)
    options.count(parser, "--code-dim", 16, "length of a code", most=options.WIDE)
    options.count(parser, "--channels", 64, "of the convolutions", most=options.CHANNELS)
    parser.add_argument("--update", choices=["ema", "gradient"], default="ema", help="how the codebook learns")
    parser.add_argument("--commitment", type=float, default=0.25, help="weight of the commitment term")


def _vqvae(args: argparse.Namespace, data: Dataset) -> Estimator:
    return models.VQVAE(
        data.x_train.shape[1:],
        codes=args.codes,
        code_dim=args.code_dim,
        channels=args.channels,
        likelihood=args.likelihood,
        update=args.update,
        commitment=args.commitment,
    )


def _prior_options(parser: argparse.ArgumentParser) -> None:
    options.run(parser)
    options.training(parser, 15)
    options.count(parser, "--channels", 32, "of each stack of the PixelCNN", most=options.CHANNELS)
    options.count(parser, "--layers", 5, "of the PixelCNN", most=100)
    parser.add_argument("--conditional", action="store_true", help="one distribution for each class of the labels")
    options.keeping(parser)


def _train_prior(args: argparse.Namespace) -> None:
    run = Run.open(args.run, args.device)
    model = run.model
    if not isinstance(model, models.VQVAE):
        raise ValueError(f"{str(args.run)!r} holds {type(model).__name__}; a prior is for the codes of a VQVAE")
    files = Files(run.folder, "prior_")
    with training(files, options.of_training(args), args) as of_prior:
        data = run.data()
        y_train, y_test = _labels(data, args.conditional)
        manual_seed(args.seed)
        prior = models.PixelCNN(
            model.code_shape,
            model.codes,
            channels=args.channels,
            layers=args.layers,
            classes=None if y_train is None else int(y_train.max()) + 1,
            codebook_digest=model.codebook_digest,
        )
        h, w = model.code_shape
        print(f"prior with {prior.num_parameters():,} parameters on the {h} x {w} codes of {run.folder}", flush=True)
        maps, test_maps = model.encode(data.x_train), model.encode(data.x_test)
        prior.check_labels(y_test, len(test_maps))  # while nothing is overwritten yet
        of_prior.begin()
        of_prior.fit(prior, args, maps, y_train, validation=test_maps if y_test is None else (test_maps, y_test))
        _finish(files, prior, run, data)
        gallery.draw_samples(run, gallery.SHEET, run.folder / "samples.png")
    print(f"prior, metrics and samples are in {run.folder}/")


def _labels(data: Dataset, conditional: bool) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Of the training and test images, for a conditional prior."""
    if not conditional:
        return None, None
    if data.y_train is None or data.y_test is None:
        raise ValueError(f"--conditional needs labels, and {data.name!r} has none")
    known, found = np.unique(data.y_train).tolist(), np.unique(data.y_test).tolist()
    if known != list(range(len(known))):
        raise ValueError(
            f"--conditional needs classes that are numbered 0, 1, 2, ..., those of training are {_some(known)}"
        )
    if other := sorted({*found} - {*known}):
        raise ValueError(f"no training image of {data.name!r} has the labels {_some(other)} of its test images")
    return data.y_train, data.y_test


def _some(labels: list[int]) -> str:
    """The first few."""
    return ", ".join(map(str, labels[:5])) + (", ..." if len(labels) > 5 else "")
