"""Checks that several operations share: dtypes that the kernels have, and indices that are in range."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae.autograd import Tensor
from minivae.autograd.dtypes import DIFFERENTIABLE
from minivae.autograd.tensor import as_tensor


def check_dtypes(name: str, *tensors: Tensor) -> None:
    """Raise TypeError unless all are float32 or all are float64, as a kernel works in one precision."""
    dtypes = [t.dtype for t in tensors]
    if len(set(dtypes)) != 1 or dtypes[0] not in DIFFERENTIABLE:
        raise TypeError(f"{name} needs inputs of one dtype, float32 or float64, got {', '.join(map(str, dtypes))}")


def floats(name: str, x: Any) -> Tensor:
    """Return x as a Tensor. Raise TypeError unless it is float32 or float64."""
    x = as_tensor(x)
    check_dtypes(name, x)
    return x


def as_index(name: str, index: Any, count: int) -> Tensor:
    """Return index as an int64 Tensor. Raise TypeError unless of integers, ValueError unless all are in [0, count)."""
    index = as_tensor(index)
    if index.dtype.kind not in "iu":
        raise TypeError(f"{name} needs an index of integers, got {index.dtype} of shape {index.shape}")
    if index.size:
        least, most = int(index.data.min()), int(index.data.max())
        if least < 0 or most >= count:
            raise ValueError(f"{name}: indices must be in [0, {count}), got {least} to {most}")
    return index if index.dtype == np.int64 else Tensor.wrap(index.data.astype(np.int64))
