"""`minivae train cvae`, and what is shown of a conditional VAE: a VAE's table, and what it knows of classes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from minivae import figures, models
from minivae.data import Dataset
from minivae.models.base import Estimator
from minivae.random import current_generator, fork

from .. import gallery
from ..parser import Parser
from ..runs import Run
from ..text import Numbers, print_table
from ..wholeness import COUNT, SEED, judge_for
from .vae import VAEView, common_arguments, common_options, print_elbo
from .view import PAIRS, Asked, Command

COLUMNS = 10  # samples of each class on the sheet
ROWS = 20  # the most classes on a sheet
GUESSES = 10  # importance samples for each image and class when images are classified


class ConditionalVAEView(VAEView):
    takes = ("images", "samples", "label")

    def table(self, run: Run, data: Dataset, asked: Asked) -> Numbers:
        model: Any = run.model
        _check_labels(model, data)
        parts = ("train", data.x_train, data.y_train), ("test", data.x_test, data.y_test)
        numbers = print_elbo(model, data, asked, *parts)
        images = numbers["images"]
        x, y = data.x_test[:images], data.y_test[:images]  # type: ignore[index] # labels are there
        return {**numbers, **_classified(model, x, y), **_print_classes(model, data)}

    def draw(self, model: Any, data: Dataset, folder: Path) -> None:
        self.draw_reconstructions(model, data, PAIRS, folder / "reconstructions.png")
        latents = model.encode(data.x_test, data.y_test)
        figures.save_latent(folder / "latent.png", latents, data.y_test, data.class_names)
        _draw_classes(model, COLUMNS, folder / "samples.png", data.class_names)
        _draw_analogies(model, data, folder / "analogies.png")

    def draw_reconstructions(self, model: Any, data: Dataset, count: int, path: Path) -> None:
        _check_labels(model, data)
        x, y = model.check_images(data.x_test[:count]), data.y_test[:count]  # type: ignore[index] # labels are there
        figures.save_reconstructions(path, x, model.reconstruct(x, y), min(10, len(x)))

    def draw_samples(self, run: Run, count: int, path: Path, asked: Asked) -> None:
        model: Any = run.model
        if asked.label is None:
            _draw_classes(model, -(-count // len(_shown(model))), path)
            return
        images = model.sample(count, asked.label)
        figures.save_sheet(path, images, gallery.columns_of(count), f"samples of class {asked.label}")


def _check_labels(model: Any, data: Dataset) -> None:
    """Raise ValueError for data without labels, with labels that the model has none for, or with none to train on."""
    y_train, y_test = _labels(data)
    lowest, highest = (int(f([f(y) for y in (y_train, y_test) if len(y)])) for f in (np.min, np.max))
    if lowest < 0 or highest >= model.classes:
        raise ValueError(f"the labels of {data.name!r} must be in [0, {model.classes}), got {lowest} to {highest}")


def _labels(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of the training and of the test images. Raise ValueError where there are none."""
    if data.y_train is None or data.y_test is None:
        raise ValueError(f"a conditional VAE needs a label for each image, and {data.name!r} has none")
    return data.y_train, data.y_test


def _seen(model: Any) -> np.ndarray:
    """Return the classes that the model was trained on."""
    return np.flatnonzero(model.class_counts.numpy())


def _shown(model: Any) -> np.ndarray:
    return _seen(model)[:ROWS]


def _classified(model: Any, x: np.ndarray, y: np.ndarray) -> Numbers:
    """Print and return the share of images whose class is the likeliest, argmax_y of p(x, y)."""
    if len(_seen(model)) == 1:
        print("all training images are of one class: their label says nothing, and the model is a VAE of them")
        return {}
    accuracy = float((model.classify(x, GUESSES) == y).mean())
    print(f"argmax_y p(x, y) is the class of {accuracy:.1%} of them: {GUESSES} importance samples for each class")
    return {"accuracy": accuracy}


def _print_classes(model: Any, data: Dataset) -> Numbers:
    """Print which share of images a classifier takes for whole, and for images of the class that they were drawn as."""
    judge = judge_for(data)
    if judge is None:
        return {}
    x, y = model.check_images(data.x_test[:COUNT]), data.y_test[:COUNT]  # type: ignore[index] # labels are there
    asked = np.resize(_seen(model), COUNT)
    with fork(SEED):
        drawn = model.sample(COUNT, asked)
    images = {"test images": (x, y), "their reconstructions": (model.reconstruct(x, y), y), "samples": (drawn, asked)}
    found: Numbers = {}
    for name, (seen, of) in images.items():
        seen = np.clip(seen, 0, 1)
        guessed = judge.labels[judge.probabilities(seen)[:, :-1].argmax(axis=1)]
        found[name] = {**judge.judge(seen)._asdict(), "of_class": float((guessed == of).mean())}
    print()
    rows = [[name, *(f"{share:.1%}" for share in shares.values())] for name, shares in found.items()]
    print_table(["images", "whole", "of a certain class", "of their class"], rows)
    print("whole: a classifier finds it more like the data than like patchworks of them")
    print("of their class: the classifier's likeliest class is the label of the image, of a sample the one asked for")
    return {"wholeness": found}


def _draw_classes(model: Any, columns: int, path: Path, names: tuple[str, ...] | None = None) -> None:
    """Draw a row of samples for each class; all images of a column are decoded from one z."""
    classes = _shown(model)
    z = current_generator().normal((columns, model.latent_dim))
    images = model.decode(np.tile(z, (len(classes), 1)), np.repeat(classes, columns))
    labels = [str(k) if names is None else names[k] for k in classes]
    figures.save_sheet(path, images, columns, "samples of each class, from one z in each column", labels)


def _draw_analogies(model: Any, data: Dataset, path: Path) -> None:
    """Draw test images in the first column and, to the right, what their z is in each class (Kingma et al. 2014)."""
    classes = _shown(model)
    y = data.y_test
    chosen = [int(np.flatnonzero(y == k)[0]) for k in classes if (y == k).any()]
    x, y = model.check_images(data.x_test[chosen]), y[chosen]  # type: ignore[index] # labels are there
    z = model.encode(x, y)
    images = model.decode(np.repeat(z, len(classes), 0), np.tile(classes, len(z)))
    rows = np.concatenate([x[:, None], images.reshape(len(z), len(classes), *x.shape[1:])], axis=1)
    title = "a test image of each class, and its z as each class"
    figures.save_sheet(path, rows.reshape(-1, *x.shape[1:]), len(classes) + 1, title, None, ["", *map(str, classes)])


def _cvae_options(parser: Parser) -> None:
    common_options(parser, "dense")
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the KL term in the loss")


def _cvae(args: argparse.Namespace, data: Dataset) -> Estimator:
    y_train, y_test = _labels(data)
    if unseen := sorted(set(y_test.tolist()) - set(y_train.tolist())):
        raise ValueError(f"test images have labels {unseen}, of which there is no training image")
    if (lowest := int(y_train.min())) < 0:
        raise ValueError(f"labels must be at least 0, got {lowest}")
    return models.ConditionalVAE(data.x_train.shape[1:], int(y_train.max()) + 1, **common_arguments(args))


COMMANDS = (Command("cvae", "train a conditional variational autoencoder", 25, _cvae_options, _cvae),)
