"""The part of a table that says which share of a model's samples is whole (uses/wholeness.py), and how real they look
(uses/realism.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae import uses
from minivae.data import Dataset
from minivae.random import fork
from minivae.uses.realism import laplacian_energy
from minivae.uses.wholeness import SMALLEST

from .pixels import in_unit_interval
from .text import Numbers, fixed, print_table
from .views.view import View

COUNT = 1000  # the most samples and test images that are judged
SEED = 0x3A7  # of the samples


def print_wholeness(view: View, model: Any, prior: Any, data: Dataset) -> Numbers:
    """Print which share of a model's samples a classifier takes for whole, beside the share of the test images; how
    sharp the samples are, and how far from the test images in the classifier's features.

    Returns these numbers by what is judged; nothing for data that have no judge.
    """
    judge = judge_for(data)
    if judge is None:
        return {}
    x = model.check_images(data.x_test[:COUNT])
    with fork(SEED):
        images = {"test images": x, "their reconstructions": model.reconstruct(x), **view.samples(model, prior, COUNT)}
    found = {}
    for name, seen in images.items():
        made = np.clip(seen, 0, 1)
        found[name] = {**judge.judge(made)._asdict(), **uses.realism(judge, made, x)._asdict()}
    print()
    rows = [
        [name, f"{of['whole']:.1%}", f"{of['certain']:.1%}", *fixed(of["sharpness"], of["frechet"])]
        for name, of in found.items()
    ]
    print_table(["images", "whole", "of a certain class", "sharpness", "Frechet distance"], rows)
    print("whole: a classifier finds it more like the data than like patchworks of them")
    print("sharpness: energy of the Laplacian, in proportion to that of the test images")
    print("Frechet distance: to the test images, in the features of that classifier; it is not the FID")
    return {"wholeness": found}


def judge_for(data: Dataset) -> uses.WholenessJudge | None:
    """Train a judge on a data set; None for data that have none, as they are no labelled pictures of two classes."""
    if not _has_judge(data):
        return None
    return uses.WholenessJudge(data.x_train, data.y_train)  # type: ignore[arg-type] # which _has_judge has seen


def _has_judge(data: Dataset) -> bool:
    """Say whether a judge can be trained: of labelled pictures of two classes, not too small or without edges."""
    if data.frame_rate is not None or data.y_train is None or len(np.unique(data.y_train)) < 2 or not len(data.x_test):
        return False
    if not in_unit_interval(data) or min(data.x_train.shape[2:]) < SMALLEST:
        return False
    return laplacian_energy(data.x_test) > 0  # sharpness is relative to it
