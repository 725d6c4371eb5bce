"""Draws the pictures that a training leaves in its run; the commands of pictures.py draw the same ones again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from minivae import figures, uses
from minivae.data import Dataset
from minivae.models import VAE, VQVAE, VQVAE2, Autoencoder, VQVAE1d
from minivae.models.autoencoder import LEVEL
from minivae.models.base import Estimator

from . import sounds
from .pixels import in_unit_interval
from .runs import Run

SHEET = 64  # images on a sheet of samples
CLASSES = 20  # the most classes that get a column each on that sheet
STAGES = 10  # images on the sheet of stages
PAIRS = 20  # images on a sheet of reconstructions
WAYS, STEPS = 8, 10  # interpolations on a sheet, and images on each, the ends included
SPAN, VALUES = 3.0, 11  # a traversal moves a latent from -SPAN to SPAN in so many images
ROWS = 20  # the most latents on the traversal that a training draws
MANIFOLD = 20  # images along a side of the manifold
TEMPERATURE = 0.7  # of a VQ-VAE's prior, unless another is asked for


def unit_of(model: Estimator) -> str:
    """Name the unit of the model's loss."""
    if isinstance(model, VQVAE1d):
        return "nats per segment"
    return "nats per image" if isinstance(model, (VAE, VQVAE, VQVAE2)) else "squared error per image"


def draw(model: Any, data: Dataset, folder: Path) -> None:
    """Draw all pictures of a model that has just been trained, except samples that need a prior."""
    if isinstance(model, VQVAE1d):
        sounds.draw(model, data, folder)
    else:
        draw_reconstructions(model, data.x_test[:PAIRS], folder / "reconstructions.png")
    if isinstance(model, VQVAE):
        codes = model.encode(data.x_test)  # (N, h, w) or (N, stages, h, w)
        stages = codes.swapaxes(0, 1) if codes.ndim == 4 else [codes]
        counts = [np.bincount(stage.ravel(), minlength=model.quantizer.codes) for stage in stages]
        figures.save_code_usage(folder / "codes.png", np.array(counts))
        if codes.ndim == 4:
            draw_stages(model, data.x_test[:STAGES], folder / "stages.png")
        return
    if isinstance(model, VQVAE2):
        _draw_levels(model, data.x_test, folder)
        return
    codes = model.transform(data.x_test)
    figures.save_latent(folder / "latent.png", codes, data.y_test, data.class_names)
    if isinstance(model, VAE):
        _draw_vae(model, data, folder)
    elif isinstance(model, Autoencoder) and model.corruption is not None and in_unit_interval(data):
        x = model.check_images(data.x_test[:PAIRS])
        result = uses.denoising(model, x, model.corruption, LEVEL if model.level is None else model.level)
        draw_denoising(x, result, PAIRS, folder / "denoised.png")


def _draw_vae(model: VAE, data: Dataset, folder: Path) -> None:
    figures.save_sheet(folder / "samples.png", model.sample(SHEET), 8, "samples from the prior")
    if len(data.x_test) > 1:
        draw_interpolation(model, data.x_test, WAYS, STEPS, folder / "interpolation.png")
    else:
        print("there is no interpolation.png: it needs two test images, and there is 1")
    draw_traversal(model, data.x_test, None, ROWS, folder / "traversal.png")
    if model.latent_dim == 2:
        figures.save_manifold(folder / "manifold.png", model.manifold(MANIFOLD))


def _draw_levels(model: VQVAE2, x: np.ndarray, folder: Path) -> None:
    """Draw how evenly the codes of both levels are used, and what each level holds."""
    for level, used, count in zip(("top", "bottom"), model.encode(x), (model.top_codes, model.codes), strict=True):
        figures.save_code_usage(folder / f"codes_{level}.png", np.bincount(used.ravel(), minlength=count))
    x = model.check_images(x[:10])
    codes = model.encode(x)
    groups = [x, model.decode(codes), model.decode(codes, without="bottom"), model.decode(codes, without="top")]
    images = figures.interleave([figures.contrast(group, x) for group in groups], len(x))
    title = "test images, and reconstructions from both levels and from one, the other at its mean code"
    figures.save_sheet(folder / "levels.png", images, len(x), title, ["image", "both", "top alone", "bottom alone"])


def draw_reconstructions(model: Any, x: np.ndarray, path: Path) -> None:
    """Draw images beside the model's reconstructions of them."""
    x = model.check_images(x)
    figures.save_reconstructions(path, x, model.reconstruct(x), min(10, len(x)))


def draw_stages(model: VQVAE, x: np.ndarray, path: Path) -> None:
    """Draw images, and below them what is decoded from the first stage of their codes, the first two, and so on."""
    x = model.check_images(x)
    codes = model.encode(x)  # (N, stages, h, w)
    lengths = range(1, codes.shape[1] + 1)
    rows = [x, *(model.decode(codes[:, :s]) for s in lengths)]
    images = np.concatenate([figures.contrast(row, x) for row in rows])
    labels = ["image", *("stage 1" if s == 1 else f"stages 1 to {s}" for s in lengths)]
    figures.save_sheet(path, images, len(x), "test images, decoded from the first stages of their codes", labels)


def draw_denoising(clean: np.ndarray, result: uses.Denoising, count: int, path: Path) -> None:
    """Draw the first `count` images clean, noisy and denoised."""
    groups = clean[:count], result.noisy[:count], result.denoised[:count]
    figures.save_denoising(path, *groups, columns=min(10, len(groups[0])))


def draw_interpolation(model: VAE, x: np.ndarray, ways: int, steps: int, path: Path) -> None:
    """Draw the way from the first image to the second, from the third to the fourth, and so on."""
    ways = min(ways, len(x) // 2)
    if ways < 1:
        raise ValueError(f"an interpolation needs two test images, and there is {len(x)}")
    a, b = x[: 2 * ways : 2], x[1 : 2 * ways : 2]
    figures.save_interpolation(path, a, model.interpolate(a, b, steps), b)


def draw_traversal(model: VAE, x: np.ndarray, image: int | None, rows: int | None, path: Path) -> None:
    """Draw what each latent does alone, from the prior's mean or from the code of test image number `image`."""
    if image is not None and image >= len(x):
        raise ValueError(f"the test images are numbered from 0 to {len(x) - 1}, got {image}")
    values = np.linspace(-SPAN, SPAN, VALUES).tolist()
    images = model.traverse(None if image is None else x[image : image + 1], values=values)
    others = {} if image is None else {"others": f"the code of test image {image}"}
    figures.save_traversal(path, images, values, model.latent_usage(x).kl, rows, **others)


def draw_samples(run: Run, count: int, path: Path, temperature: float | None = None, label: int | None = None) -> None:
    """Draw new images. A VQ-VAE draws its codes from its prior, which must be there; a conditional one by class."""
    model, columns = run.model, columns_of(count)
    if isinstance(model, VAE):
        figures.save_sheet(path, model.sample(count), columns, "samples from the prior")
        return
    if not isinstance(model, (VQVAE, VQVAE2)):
        raise ValueError(f"{type(model).__name__} is no distribution; there is nothing to draw samples from")
    prior = run.prior()
    if prior is None:
        raise ValueError(
            f"the {type(model).__name__} in {str(run.folder)!r} has no prior to draw codes from yet; "
            f"`minivae train prior {run.folder}` trains one"
        )
    if label is not None and prior.classes is None and model.classes is None:
        raise ValueError("--label is for a prior that was trained with --conditional")
    temperature = TEMPERATURE if temperature is None else temperature
    if isinstance(model, VQVAE1d):
        sounds.draw_samples(model, prior, count, path, temperature, label)
        return
    title, names = f"samples from the PixelCNN prior at temperature {temperature:g} and the decoder", None
    if label is not None:
        title = f"{title}, class {label}"
    elif prior.classes is not None and prior.classes <= CLASSES:
        title, names = f"{title}, by class", [str(k) for k in range(min(count, prior.classes))]
        columns = len(names)
    images = of_prior(model, prior, count, temperature, label)
    figures.save_sheet(path, images, columns, title, column_labels=names)


def of_prior(
    model: VQVAE | VQVAE2, prior: Any, count: int, temperature: float = TEMPERATURE, label: int | None = None
) -> np.ndarray:
    """Draw images (count, C, H, W): of one class or, without a label, of all classes of a conditional prior in turn."""
    y = None if prior.classes is None else np.arange(count) % prior.classes if label is None else np.full(count, label)
    return model.sample(count, prior, temperature, y)


def columns_of(count: int) -> int:
    """Choose the number of columns that makes a sheet of `count` images about square."""
    return min(count, max(1, round(count**0.5)))
