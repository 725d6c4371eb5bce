"""The errors of float32 convolutions, by column: sqrt(mean error^2) / sqrt(mean result^2).

The exact result is that of the reference backend in float64, computed from the same float32 numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from minivae.kernels import reference

from . import cases
from .convolutions import passes
from .rows import hosted, primitives, torch_arguments

BATCH = 8


def convolutions(quick: bool = False) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """The title of each pass of each layer, and the function that measures its errors."""
    for layer in cases.LAYERS[:3] if quick else cases.LAYERS:
        g = layer.geometry(BATCH)
        for name, arrays, (ours, _, theirs) in passes(g):
            yield f"conv {layer}: {name}", partial(_errors, arrays, ours, theirs)


def _errors(arrays: Any, ours: Callable[..., Any], theirs: Callable[..., Any]) -> dict[str, Any]:
    """{'rms': {column: relative error}} of ours(backend, *arrays) and of PyTorch's theirs(*tensors)."""
    exact = ours(reference, *(a.astype(np.float64) for a in arrays))
    found = {column: ours(k, *arrays) for column, k in primitives().items()}
    found |= {column.partition(",")[0]: theirs(*tensors) for column, tensors in torch_arguments(arrays)}
    errors = {column: hosted(result, None)[0].astype(np.float64) - exact for column, result in found.items()}
    size = float(np.sqrt(np.mean(exact**2)))
    return {"rms": {column: float(np.sqrt(np.mean(error**2))) / size for column, error in errors.items()}}
