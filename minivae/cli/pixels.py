"""Checks the pixels of a data set, before anything is trained on them or written."""

from __future__ import annotations

from minivae.data import Dataset
from minivae.data.batches import range_text
from minivae.models.base import Estimator, LikelihoodCodec


def in_unit_interval(data: Dataset) -> bool:
    """Say whether all pixels are in [0, 1], without which PSNR means nothing."""
    low, high = data.value_range
    return low >= 0 and high <= 1


def check_unit_interval(data: Dataset, remedy: str = "") -> None:
    """Raise ValueError for a data set with pixels outside [0, 1]; remedy says what the user can do besides."""
    if not in_unit_interval(data):
        raise ValueError(
            f"pixels must lie in [0, 1], those of {data.name!r} are {range_text(*data.value_range)}{remedy}"
        )


def check_pixels(model: Estimator, data: Dataset) -> None:
    """Raise ValueError for pixels that the likelihood of a model does not allow."""
    if model.unit_interval:
        check_unit_interval(data, "; a model that is trained with --likelihood gaussian takes any")


def scale(data: Dataset, model: LikelihoodCodec | None = None) -> str:
    """Say after a table where its bits/dim mean nothing, or nothing beside others."""
    if not in_unit_interval(data):
        return "; bits/dim are those of pixels in [0, 1], which these are not"
    note = "" if model is None else model.observation.bits_note
    return note and f"; {note}"
