"""The C backend: the primitives of kernels/contract.py with register blocks, vector types and threads.

The C files are compiled when the first primitive is called (see build.py); why_not() says why that cannot be done on a
machine where it cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from .build import BuildError
from .conv import conv2d, conv2d_input_grad, conv2d_weight_grad
from .library import set_num_threads, why_not
from .matrix import matmul, reduce_sum, segment_sum
from .memory import keep_freed_memory

device = "cpu"
xp = np


def asarray(array: np.ndarray) -> np.ndarray:
    """A NumPy array as an array of this backend: itself."""
    return np.asarray(array)


def to_host(array: np.ndarray) -> np.ndarray:
    """An array of this backend as a NumPy array: itself."""
    return array


@contextmanager
def session() -> Iterator[None]:
    """What this backend needs around a training: memory that is freed is kept for the next step (see memory.py).

    The threads need nothing: they are started by the first kernel, and sleep when there is nothing to do.
    """
    keep_freed_memory()
    yield


__all__ = [
    "BuildError",
    "asarray",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "device",
    "matmul",
    "reduce_sum",
    "segment_sum",
    "session",
    "set_num_threads",
    "to_host",
    "why_not",
    "xp",
]
