"""One step of an optimiser, in place on all parameters in one call: the Python side of optim.c."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt

import numpy as np

from .layout import memory_views
from .library import Kernel

_sgd_step, _adam_step, _sum_of_squares = Kernel("sgd_step"), Kernel("adam_step"), Kernel("sum_of_squares")


def sgd_step(
    params: Sequence[np.ndarray],
    grads: Sequence[np.ndarray],
    velocities: Sequence[np.ndarray],
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """Changes params p and velocities v in place: g' = g + weight_decay p;  v = momentum v + g';  p -= lr v.

    With nesterov the last step is p -= lr (g' + momentum v). Without momentum there are no velocities, and v is g'.
    """
    changed = [params, velocities] if momentum else [params]
    for dtype, sizes, (p, *v), g in _by_dtype(changed, grads):
        velocity = v[0] if v else []  # one for each parameter, or none
        _sgd_step[dtype](
            len(p),
            sizes,
            p,
            g,
            len(velocity),
            velocity,
            float(lr),
            float(momentum),
            float(weight_decay),
            bool(nesterov),
        )


def adam_step(
    params: Sequence[np.ndarray],
    grads: Sequence[np.ndarray],
    m: Sequence[np.ndarray],
    v: Sequence[np.ndarray],
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Changes params p and the moments m and v in place; `step` counts from 1 (Kingma & Ba 2014, algorithm 1).

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr m_hat / (sqrt(v_hat) + eps),
    with m_hat = m / (1 - b1^step) and v_hat = v / (1 - b2^step).
    weight_decay adds weight_decay p to g (Adam) or, decoupled, first scales p by 1 - lr weight_decay (AdamW).
    """
    (b1, b2), lr, weight_decay = map(float, betas), float(lr), float(weight_decay)
    rate, bias2 = lr / (1 - b1**step), 1 / sqrt(1 - b2**step)
    decay, shrink = (0.0, 1 - lr * weight_decay) if decoupled else (weight_decay, 1.0)
    for dtype, sizes, (p, m_, v_), g in _by_dtype([params, m, v], grads):
        _adam_step[dtype](len(p), sizes, p, g, m_, v_, rate, b1, b2, bias2, float(eps), decay, shrink)


def global_norm(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The Euclidean norm of all elements of all arrays together, a float64 array without axes."""
    total = 0.0
    for dtype, sizes, _, flat in _by_dtype([], arrays):
        result = np.empty(1)
        _sum_of_squares[dtype](len(flat), sizes, flat, result)
        total += float(result[0])
    return np.array(sqrt(total))


def _by_dtype(
    changed: Sequence[Sequence[np.ndarray]], read: Sequence[np.ndarray]
) -> Iterator[tuple[np.dtype, np.ndarray, list[list[np.ndarray]], list[np.ndarray]]]:
    """For each dtype: the dtype, the sizes of its arrays, the lists of changed arrays and the list of read ones.

    All arrays are contiguous, and those that belong together have the same order in memory. Arrays with gaps are
    copied, and the changed ones are copied back at the end. Raises ValueError if shapes differ.
    """
    members: dict[np.dtype, list[Sequence[np.ndarray]]] = {}
    copies: list[tuple[np.ndarray, np.ndarray]] = []
    for together in zip(*changed, read, strict=True):
        if len({a.shape for a in together}) > 1:
            raise ValueError(f"a parameter and what belongs to it have shapes {[a.shape for a in together]}")
        views, _ = memory_views(*together)
        dense = [v if v.flags.c_contiguous else v.copy() for v in views]
        copies += [(v, d) for v, d in zip(views[: len(changed)], dense, strict=False) if v is not d]
        members.setdefault(together[0].dtype, []).append(dense)
    for dtype, rows in members.items():
        *lists, last = map(list, zip(*rows, strict=True))
        yield dtype, np.array([a.size for a in last]), lists, last
    for view, array in copies:
        view[...] = array
