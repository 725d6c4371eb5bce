"""Conversion of values of NumPy and of paths into those that JSON has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from minivae.kernels.checks import shown


def plain(value: Any, name: str = "") -> Any:
    """Turn values of NumPy and paths into those of Python. Raise TypeError, with the name, for what JSON lacks."""
    if isinstance(value, dict):
        return {k: plain(v, str(k)) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(v, name) for v in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise TypeError(f"{name or 'a value'} must be a number, a str or a list of them, got {shown(value)}")
    return value
