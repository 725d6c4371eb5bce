"""`minivae train MODEL` trains a model from nothing, `minivae train prior RUN` the prior of a VQ-VAE's codes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from minivae import manual_seed

from . import images, options, priors
from .ending import finish
from .pixels import check_pixels
from .reports import write_report
from .runs import Files, Run
from .training import training
from .views.registry import COMMANDS, view_of
from .views.view import Command

EXAMPLES = {"images": "images", "sounds": "segments", "videos": "clips"}


def add_commands(commands: Any) -> None:
    train = commands.add_parser("train", help="train a model", description="Train a model.")
    kinds = train.add_subparsers(required=True, metavar="MODEL")
    for kind in COMMANDS:
        _add(kinds, kind)
    text = "train the prior of a VQ-VAE's codes: a PixelCNN, for a VQ-VAE-2 two of them, for sounds a WaveNet"
    priors.add_options(options.add_command(kinds, "prior", priors.train, text))


def for_sounds(args: argparse.Namespace) -> str | None:
    """Return the model, as in `minivae train MODEL`, that takes the place of the one asked for as its data are sounds.

    Prints a line that says so. Returns None where there is nothing to replace.
    """
    kind = getattr(args, "kind", None)  # of `minivae train MODEL` alone
    if kind is None or kind.for_sounds is None or not images.are_sounds(args.data):
        return None
    print(f"{args.data} holds sounds, for which {kind.name} is `minivae train {kind.for_sounds}`", flush=True)
    return kind.for_sounds


def _add(kinds: Any, kind: Command) -> None:
    """Add the command that trains a model from nothing."""
    parser = options.add_command(kinds, kind.name, _train, kind.text)
    parser.set_defaults(kind=kind)
    options.data(parser)
    options.training(parser, kind.epochs)
    options.validation(parser)
    kind.options(parser)
    parser.add_argument("--out", type=Path, default=Path("runs") / kind.name, help="folder of the run")
    options.keeping(parser)


def _train(args: argparse.Namespace) -> None:
    if args.kind.complete is not None:
        args.kind.complete(args)
    files = Files(args.out)
    with training(files, args) as run:
        manual_seed(args.seed)
        whole = run.checked(images.load(args.data, args.image_shape))
        kind = images.kind(whole)
        if kind not in ("images", args.kind.of):
            other = next(command.name for command in COMMANDS if command.of == kind)
            raise ValueError(f"{whole.name!r} holds {kind}: `minivae train {other} --data {args.data}` is for these")
        data, x_validation, y_validation = images.set_aside(whole, args.validation, args.seed)
        model = args.kind.build(args, data)
        check_pixels(model, whole)
        x_train, x_validation = model.check_images(data.x_train), model.check_images(x_validation)
        model.check_images(data.x_test)
        sizes = images.sizes(args.validation, x_train, x_validation, data.x_test)
        print(f"{run.options['model']} with {model.num_parameters():,} parameters on {data.name}: ", end="")
        print(f"{sizes} {EXAMPLES[kind]} {x_train.shape[1:]}", flush=True)
        model.to(device=args.device)
        if not run.goes_on:
            model.prepare(x_train)  # here, so that what cannot be trained does not overwrite what was
        run.begin()
        if model.classes is None:
            run.fit(model, args, x_train, validation=x_validation)
        else:
            run.fit(model, args, x_train, data.y_train, validation=(x_validation, y_validation))
        if not run.leads:
            return
        trained = Run(args.out, model, args.device)
        trained.drop_other_prior()
        finish(run, args, model, trained, data)
        view_of(model).draw(model, data.in_memory(), args.out)
        write_report(args.out)
    print(f"model, metrics, pictures and report.html are in {args.out}/")
