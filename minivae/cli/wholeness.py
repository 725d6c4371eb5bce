"""The part of a table that says which share of a model's samples is whole (uses/wholeness.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae import uses
from minivae.data import Dataset
from minivae.random import fork
from minivae.uses.wholeness import SMALLEST

from .pixels import in_unit_interval
from .text import Numbers, print_table
from .views.view import View

COUNT = 1000  # the most samples and test images that are judged
SEED = 0x3A7  # of the samples


def print_wholeness(view: View, model: Any, prior: Any, data: Dataset) -> Numbers:
    """Print which share of a model's samples a classifier takes for whole, beside the share of the test images.

    Returns the shares by what is judged; nothing for data that have no judge.
    """
    judge = judge_for(data)
    if judge is None:
        return {}
    x = model.check_images(data.x_test[:COUNT])
    with fork(SEED):
        images = {"test images": x, "their reconstructions": model.reconstruct(x), **view.samples(model, prior, COUNT)}
    found = {name: judge.judge(np.clip(seen, 0, 1)) for name, seen in images.items()}
    print()
    rows = [[name, *(f"{share:.1%}" for share in shares)] for name, shares in found.items()]
    print_table(["images", "whole", "of a certain class"], rows)
    print("whole: a classifier finds it more like the data than like patchworks of them")
    return {"wholeness": {name: shares._asdict() for name, shares in found.items()}}


def judge_for(data: Dataset) -> uses.WholenessJudge | None:
    """Train a judge on a data set; None for data that have none, as they are no labelled pictures of two classes."""
    if not _has_judge(data):
        return None
    return uses.WholenessJudge(data.x_train, data.y_train)  # type: ignore[arg-type] # which _has_judge has seen


def _has_judge(data: Dataset) -> bool:
    """Say whether a judge can be trained: of labelled pictures of two classes that are not too small."""
    if data.y_train is None or len(np.unique(data.y_train)) < 2 or not len(data.x_test):
        return False
    return in_unit_interval(data) and min(data.x_train.shape[2:]) >= SMALLEST
