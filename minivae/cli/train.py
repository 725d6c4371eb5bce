"""`minivae train MODEL` trains a model from nothing, `minivae train prior RUN` the prior of a VQ-VAE's codes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minivae import manual_seed, models
from minivae.data import Dataset
from minivae.models.autoencoder import CORRUPTIONS, LEVEL
from minivae.models.base import Estimator
from minivae.models.vqvae1d import COMMITMENT

from . import gallery, images, options, priors
from .ending import finish
from .parser import Parser
from .pixels import check_pixels
from .runs import Files, Run
from .training import training

TOP_CODES, BOTTOM_CODES = 64, 4  # 16 and 2 lower the bound of the embedded images by 5 nats, at a higher nll
Build = Callable[[argparse.Namespace, Dataset], Estimator]
# Few codes, whose prior can be learned from few images. rvq: of each stage. fsq has none: VQVAE's own default.
CODES = {"vq": 32, "rvq": 16, "fsq": 256}


def add_commands(commands: Any) -> None:
    train = commands.add_parser("train", help="train a model", description="Train a model.")
    kinds = train.add_subparsers(required=True, metavar="MODEL")
    _ae_options(_new(kinds, "ae", _ae, 60, "train an autoencoder"), 32)
    dae = _new(kinds, "dae", _dae, 60, "train a denoising autoencoder")
    _ae_options(dae, 64)
    dae.add_argument("--corruption", choices=CORRUPTIONS, default="gaussian", help="kind of noise in training")
    level = "level of the noise: its standard deviation, or the probability that a pixel is hit"
    dae.add_argument("--level", type=options.positive, default=LEVEL, help=level)
    _vae_options(_new(kinds, "vae", _vae, 15, "train a variational autoencoder"))
    _vqvae_options(_new(kinds, "vqvae", _vqvae, 15, "train a vector-quantised autoencoder"))
    _vqvae2_options(_new(kinds, "vqvae2", _vqvae2, 15, "train a vector-quantised autoencoder of two levels"))
    _vqvae1d_options(_new(kinds, "vqvae1d", _vqvae1d, 12, "train a vector-quantised autoencoder of sounds"))
    text = "train a PixelCNN as the prior of a VQ-VAE's codes, two of them for those of a VQ-VAE-2"
    priors.add_options(options.add_command(kinds, "prior", priors.train, text))


def _new(kinds: Any, name: str, build: Build, epochs: int, text: str) -> Parser:
    """Add the command that trains a model from nothing."""
    parser = options.add_command(kinds, name, _train, text)
    parser.set_defaults(build=build)
    options.data(parser)
    options.training(parser, epochs)
    options.validation(parser)
    parser.add_argument("--out", type=Path, default=Path("runs") / name, help="folder of the run")
    options.keeping(parser)
    return parser


def _train(args: argparse.Namespace) -> None:
    if vars(args).get("codes", 0) is None:
        args.codes = CODES[args.quantizer]
    files = Files(args.out)
    with training(files, args) as run:
        manual_seed(args.seed)
        whole = run.checked(images.load(args.data, args.image_shape))
        if whole.sample_rate is not None and args.build is not _vqvae1d:
            raise ValueError(f"{whole.name!r} holds sounds: `minivae train vqvae1d --data {args.data}` is for these")
        data, x_validation, y_validation = images.set_aside(whole, args.validation, args.seed)
        model = args.build(args, data)
        check_pixels(model, whole)
        x_train, x_validation = model.check_images(data.x_train), model.check_images(x_validation)
        model.check_images(data.x_test)
        sizes = images.sizes(args.validation, x_train, x_validation, data.x_test)
        print(f"{run.options['model']} with {model.num_parameters():,} parameters on {data.name}: ", end="")
        print(f"{sizes} {'images' if data.sample_rate is None else 'segments'} {x_train.shape[1:]}", flush=True)
        model.to(device=args.device)
        if not run.goes_on:
            model.prepare(x_train)  # here, so that what cannot be trained does not overwrite what was
        run.begin()
        if model.classes is None:
            run.fit(model, args, x_train, validation=x_validation)
        else:
            run.fit(model, args, x_train, data.y_train, validation=(x_validation, y_validation))
        trained = Run(args.out, model, args.device)
        trained.drop_other_prior()
        finish(run, args, model, trained, data)
        gallery.draw(model, data, args.out)
    print(f"model, metrics and pictures are in {args.out}/")


# ---- autoencoders ----


def _ae_options(parser: Parser, latent_dim: int) -> None:
    """Add the options of an autoencoder.

    A dense one is the default: in a minute it learns more from a few thousand images than a convolutional one in three.
    """
    options.networks(parser, "dense", (32, 64), {"dense": (1000,), "conv": ()})
    options.count(parser, "--latent-dim", latent_dim, "length of a code", most=options.WIDE)


def _networks(args: argparse.Namespace) -> dict[str, Any]:
    """Collect the arguments of a model that say what its encoder and decoder are made of."""
    return {name: getattr(args, name) for name in ("latent_dim", "arch", "channels", "hidden")}


def _ae(args: argparse.Namespace, data: Dataset) -> Estimator:
    return models.Autoencoder(data.x_train.shape[1:], **_networks(args))


def _dae(args: argparse.Namespace, data: Dataset) -> Estimator:
    shape = data.x_train.shape[1:]
    return models.Autoencoder(shape, corruption=args.corruption, level=args.level, **_networks(args))


# ---- VAE ----


def _vae_options(parser: Parser) -> None:
    options.networks(parser, "conv", (32, 64), {"dense": (400, 400), "conv": (256,)})
    options.count(parser, "--latent-dim", 16, "number of latents, the length of a code", most=options.WIDE)
    options.likelihood(parser)
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the KL term in the loss")
    warmup = "number of epochs in which the weight of the KL term rises from 0 to beta"
    options.count(parser, "--warmup-epochs", 0, warmup, least=0)
    free = "KL in nats that each latent may have without a cost in training"
    parser.add_argument("--free-bits", type=float, default=0.0, help=free)
    options.flag(parser, "--binarize", "draw each grey pixel black or white, anew in each epoch")


def _vae(args: argparse.Namespace, data: Dataset) -> Estimator:
    steps = -(-len(data.x_train) // args.batch_size)  # of an epoch
    return models.VAE(
        data.x_train.shape[1:],
        likelihood=args.likelihood,
        beta=args.beta,
        kl_warmup=args.warmup_epochs * steps,
        free_bits=args.free_bits,
        binarize="dynamic" if args.binarize else None,
        **_networks(args),
    )


# ---- VQ-VAE and its prior ----


def _codebook_options(parser: Parser, codes: int | None, text: str, commitment: float = 0.25) -> None:
    """Add the options of a codebook, and of the convolutions around it."""
    options.count(parser, "--codes", codes, text, most=2**16)
    options.count(parser, "--code-dim", 16, "length of a code", most=options.WIDE)
    options.count(parser, "--channels", 64, "number of channels of each convolution", most=options.CHANNELS)
    update = "how the codebook learns: by moving averages of the encoder's outputs, or by gradients"
    parser.add_argument("--update", choices=["ema", "gradient"], default="ema", help=update)
    weight = "weight of the commitment term in the loss"
    parser.add_argument("--commitment", type=float, default=commitment, help=weight)


def _codebook(args: argparse.Namespace) -> dict[str, Any]:
    """Collect the arguments of a model that _codebook_options() adds."""
    return {name: getattr(args, name) for name in ("codes", "code_dim", "channels", "update", "commitment")}


def _vqvae_options(parser: Parser) -> None:
    codes = "number of codes in the codebook, or in that of each stage of rvq (default: 32, for rvq 16)"
    _codebook_options(parser, None, codes)
    options.likelihood(parser)
    kind = "vq: one codebook; rvq: residual, a codebook for each of several stages; fsq: finite scalar, no codebook"
    parser.add_argument("--quantizer", choices=["vq", "rvq", "fsq"], default="vq", help=kind)
    levels = "numbers of levels of fsq, one for each number of a code (default: 8 6 5)"
    options.counts(parser, "--levels", None, "L", levels, least=2, most=2**16)
    options.count(parser, "--stages", None, "number of codebooks of rvq (default: 2)", most=64)


def _vqvae(args: argparse.Namespace, data: Dataset) -> Estimator:
    return models.VQVAE(
        data.x_train.shape[1:],
        **_codebook(args),
        likelihood=args.likelihood,
        quantizer=args.quantizer,
        levels=args.levels,
        stages=args.stages,
    )


def _vqvae2_options(parser: Parser) -> None:
    options.count(parser, "--top-codes", TOP_CODES, "number of codes in the codebook of the top", most=2**16)
    stride = "pixels along a side of what a bottom code stands for: 2, 4, 8 or 16; a top code's are twice as many"
    options.count(parser, "--stride", 4, stride)
    _codebook_options(parser, BOTTOM_CODES, "number of codes in the codebook of the bottom")
    options.likelihood(parser)


def _vqvae2(args: argparse.Namespace, data: Dataset) -> Estimator:
    return models.VQVAE2(
        data.x_train.shape[1:],
        **_codebook(args),
        top_codes=args.top_codes,
        stride=args.stride,
        likelihood=args.likelihood,
    )


def _vqvae1d_options(parser: Parser) -> None:
    """Add the options of a VQ-VAE of sounds; if the data has labels, its decoder is conditional on them."""
    parser.set_defaults(data="syllables", batch_size=16)
    _codebook_options(parser, 256, "number of codes in the codebook", COMMITMENT)
    strides = "strides of the encoder's convolutions; a code stands for as many samples as their product says"
    options.counts(parser, "--strides", [4, 4], "S", strides, least=2, most=64)


def _vqvae1d(args: argparse.Namespace, data: Dataset) -> Estimator:
    if data.sample_rate is None:
        raise ValueError(f"vqvae1d is for sounds: 'syllables' or a folder of .wav, .flac, .ogg; {data.name!r} is none")
    return models.VQVAE1d(
        data.x_train.shape[1:],
        data.sample_rate,
        **_codebook(args),
        classes=None if data.class_names is None else len(data.class_names),
        strides=args.strides,
    )
