"""What the command line knows of a model: its `minivae train` command, its table and its pictures.

A View is a subclass for a family of models; registry.py says which belongs to which. What is not overridden is
that of any model with encode, decode and reconstruct.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minivae import figures
from minivae.data import Dataset
from minivae.models.base import Estimator

from ..parser import Parser
from ..runs import Run
from ..text import Numbers

PAIRS = 20  # images on a sheet of reconstructions


@dataclass(frozen=True)
class Command:
    """`minivae train NAME`: help, default number of epochs, options of its own, and how they make a model.

    complete: sets options that were not given and follow from others. of: what it is trained on, 'images',
    'sounds' or 'videos'. for_sounds: the command that takes the place of this one if its --data are sounds.
    """

    name: str
    text: str
    epochs: int
    options: Callable[[Parser], None]
    build: Callable[[argparse.Namespace, Dataset], Estimator]
    complete: Callable[[argparse.Namespace], None] | None = None
    of: str = "images"
    for_sounds: str | None = None


@dataclass(frozen=True)
class Asked:
    """What the user may ask of a table or of samples; a command refuses what the model has no use for (takes).

    images, samples: test images and importance samples of an estimate of log p(x). temperature: of a prior of codes.
    label: the class of samples.
    """

    images: int | None = None
    samples: int | None = None
    temperature: float | None = None
    label: int | None = None


class View:
    """unit: of the model's loss. takes: those attributes of Asked that the model has a use for. temperature: of a prior
    of its codes, unless another is asked for."""

    unit = "nats per image"
    temperature = 1.0
    takes: tuple[str, ...] = ()

    def table(self, run: Run, data: Dataset, asked: Asked) -> Numbers:
        """Print the numbers of a run on a data set, and return what stands in the table."""
        raise NotImplementedError(f"{type(self).__name__} does not define table()")

    def draw(self, model: Any, data: Dataset, folder: Path) -> None:
        """Draw all pictures of a model that has just been trained, except samples that need a prior."""
        self.draw_reconstructions(model, data, PAIRS, folder / "reconstructions.png")

    def draw_reconstructions(self, model: Any, data: Dataset, count: int, path: Path) -> None:
        """Draw the first test images beside the model's reconstructions of them."""
        x = model.check_images(data.x_test[:count])
        figures.save_reconstructions(path, x, model.reconstruct(x), min(10, len(x)))

    def draw_samples(self, run: Run, count: int, path: Path, asked: Asked) -> None:
        """Draw new images."""
        raise ValueError(f"{type(run.model).__name__} is no distribution; there is nothing to draw samples from")

    def samples(self, model: Any, prior: Any, count: int) -> dict[str, np.ndarray]:
        """Draw `count` new images in each of the ways that the table compares, by the name of the way."""
        return {}
