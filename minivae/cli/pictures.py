"""`minivae sample|reconstruct|interpolate|traverse|manifold RUN` draw pictures of what a model has learned."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minivae import figures, manual_seed
from minivae.models import VAE

from . import gallery, options
from .runs import Run
from .views.registry import view_of
from .views.video import VideoView
from .views.view import PAIRS, Asked
from .views.vqvae import VQVAEView
from .views.vqvae1d import VQVAE1dView


def add_commands(commands: Any) -> None:
    sample = options.add_command(commands, "sample", _sample, "draw new images from a trained VAE, or VQ-VAE and prior")
    options.picture(sample, "samples.png")
    options.count(sample, "-n", gallery.SHEET, "number of images to draw", most=options.IMAGES)
    options.seed(sample, "seed of the samples")
    usual = f"{VQVAEView.temperature:g}, of clips {VideoView.temperature:g}, of sounds {VQVAE1dView.temperature:g}"
    temperature = f"temperature of a VQ-VAE's prior; below 1 it draws likelier codes (default: {usual})"
    sample.add_argument("--temperature", type=float, help=temperature)
    label = "class to draw, for a conditional VAE or prior (default: all classes in turn)"
    options.count(sample, "--label", None, label, least=0)

    reconstruct = options.add_command(
        commands, "reconstruct", _reconstruct, "show images beside what the model makes of them"
    )
    options.picture(reconstruct, "reconstructions.png")
    options.count(reconstruct, "-n", PAIRS, "number of images to show", most=options.IMAGES)
    options.other_data(reconstruct)

    walk = "walk from one image to another through the latents of a VAE"
    interpolate = options.add_command(commands, "interpolate", _interpolate, walk)
    options.picture(interpolate, "interpolation.png")
    options.count(interpolate, "-n", gallery.WAYS, "number of pairs of images", most=options.IMAGES)
    steps = "number of images on the way, the ends included"
    options.count(interpolate, "--steps", gallery.STEPS, steps, least=2, most=100)
    options.other_data(interpolate)

    traverse = options.add_command(commands, "traverse", _traverse, "move one latent of a VAE after the other")
    options.picture(traverse, "traversal.png")
    options.count(traverse, "-n", None, "number of latents to move, those with the largest KL first (default: all)")
    origin = "number of the test image to start from (default: the prior's mean)"
    options.count(traverse, "--image", None, origin, least=0)
    options.other_data(traverse)

    manifold = options.add_command(commands, "manifold", _manifold, "draw the plane of a VAE with 2 latents")
    options.picture(manifold, "manifold.png")
    options.count(manifold, "-n", gallery.MANIFOLD, "number of images along a side", most=100)


def _sample(args: argparse.Namespace) -> None:
    run = Run.open(args.run, args.device)
    view = view_of(run.model)
    options.refuse_unused(args, run.model, view.takes, "temperature", "label")
    manual_seed(args.seed)
    asked = Asked(temperature=args.temperature, label=args.label)
    write(args, run, "samples.png", lambda path: view.draw_samples(run, args.n, path, asked))


def _reconstruct(args: argparse.Namespace) -> None:
    run = Run.open(args.run, args.device)
    view, data = view_of(run.model), run.data(args.data)
    write(args, run, "reconstructions.png", lambda path: view.draw_reconstructions(run.model, data, args.n, path))


def _interpolate(args: argparse.Namespace) -> None:
    run = Run.open(args.run, args.device)
    model = _vae(run, "interpolate")
    x = model.check_images(run.data(args.data).x_test)
    write(args, run, "interpolation.png", lambda path: gallery.draw_interpolation(model, x, args.n, args.steps, path))


def _traverse(args: argparse.Namespace) -> None:
    run = Run.open(args.run, args.device)
    model = _vae(run, "traverse")
    x = model.check_images(run.data(args.data).x_test)
    write(args, run, "traversal.png", lambda path: gallery.draw_traversal(model, x, args.image, args.n, path))


def _manifold(args: argparse.Namespace) -> None:
    run = Run.open(args.run, args.device)
    images = _vae(run, "manifold").manifold(args.n)
    write(args, run, "manifold.png", lambda path: figures.save_manifold(path, images))


def _vae(run: Run, command: str) -> VAE:
    if not isinstance(run.model, VAE):
        raise ValueError(f"{command} is for a VAE; {str(run.folder)!r} holds {type(run.model).__name__}")
    if run.model.conditional:
        raise ValueError(f"{command} is for a VAE without labels; {str(run.folder)!r} holds a conditional one")
    return run.model


def write(args: argparse.Namespace, run: Run, name: str, draw: Callable[[Path], None]) -> None:
    """Draw a picture into the file of --out or, without it, into the file `name` in the run's folder."""
    path = args.out or run.folder / name
    draw(path)
    print(f"wrote {path}")
