"""What a Tensor may hold: booleans, integers, float32 and float64, in the machine's own byte order.

float16, long double and complex numbers are refused where they come in, as no kernel calculates with them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae.kernels.checks import shown

DIFFERENTIABLE = (np.dtype(np.float32), np.dtype(np.float64))
DTYPES = frozenset((*map(np.dtype, "?bhilqBHILQ"), *DIFFERENTIABLE))  # in the machine's own byte order

# A number on its own has no device, and beside an array NumPy gives Python's numbers the dtype of that array. So
# numbers stay as they are.
SCALARS = frozenset((bool, int, float, *(dtype.type for dtype in DTYPES)))


def check_dtype(name: str, dtype: np.dtype) -> None:
    """Raise TypeError unless it is the dtype of a Tensor: booleans, integers, float32 or float64."""
    if dtype not in DTYPES:
        raise TypeError(f"{name} holds booleans, integers, float32 or float64, got {dtype}")


def as_dtype(dtype: Any) -> np.dtype:
    """Return the dtype that this value names. Raise TypeError unless a Tensor may have it."""
    try:
        found = None if dtype is None else np.dtype(dtype)
    except (TypeError, ValueError):
        found = None
    if found is None:
        raise TypeError(f"dtype must be that of a Tensor, such as numpy.float32, got {shown(dtype)}")
    found = found.newbyteorder("=")
    check_dtype("a Tensor", found)
    return found
