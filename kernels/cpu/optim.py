"""One step of an optimiser, in place, a block at a time: temporaries are never larger than a block.

The mathematics is in minivae/optim.py. Adam needs 12 ufuncs; over whole parameters each would stream its operands
through memory, over blocks only the seven unavoidable reads and writes of p, g, m and s do. Threads share the numbers
of all parameters evenly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt

import numpy as np

from .blocks import memory_order
from .columns import workspace
from .threads import share

BLOCK = 1 << 17  # numbers; in smaller blocks two threads wait for the interpreter more than they share


def sgd_step(
    params: Sequence[np.ndarray],
    grads: Sequence[np.ndarray],
    velocities: Sequence[np.ndarray],
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """In place on params and velocities: g += weight_decay * p; v = momentum * v + g; p -= lr * v.

    With nesterov p -= lr * (g + momentum * v). Without momentum velocities is empty and v is g.
    """
    lists = [params, grads, velocities] if momentum else [params, grads]

    def some(part: slice) -> None:
        _sgd(_together(part, *lists), lr, momentum, weight_decay, nesterov)

    count = sum(p.size for p in params)
    share(count, 1e-3 * count, some)


def _sgd(
    blocks: Iterator[tuple[np.ndarray, ...]], lr: float, momentum: float, weight_decay: float, nesterov: bool
) -> None:
    for p, g, *velocity in blocks:
        t, u = (workspace(slot, p.shape, p.dtype) for slot in (0, 1))
        if weight_decay:
            g = np.add(g, np.multiply(p, weight_decay, out=t), out=t)
        for v in velocity:
            v *= momentum
            v += g
            g = np.add(g, np.multiply(v, momentum, out=u), out=u) if nesterov else v
        p -= np.multiply(g, lr, out=t)


def adam_step(
    params: Sequence[np.ndarray],
    grads: Sequence[np.ndarray],
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """In place on params, first and second moments; `step` counts from 1 (Kingma & Ba 2014, algorithm 1).

    Written, as their section 2 suggests, with one step size:
    p -= lr sqrt(c2) / c1 * first / (sqrt(second) + eps sqrt(c2)),  c1 = 1 - b1^step, c2 = 1 - b2^step.
    """
    b1, b2 = betas
    root = sqrt(1 - b2**step)
    step_size = float(lr * root / (1 - b1**step))  # a numpy.float64 would lift the arithmetic to float64
    shrink = 1 - lr * weight_decay if decoupled else 1.0
    count = sum(p.size for p in params)

    def some(part: slice) -> None:
        blocks = _together(part, params, grads, first, second)
        _adam(blocks, b1, b2, step_size, eps * root, shrink, 0.0 if decoupled else weight_decay)

    share(count, 3e-3 * count, some)


def _adam(
    blocks: Iterator[tuple[np.ndarray, ...]],
    b1: float,
    b2: float,
    step_size: float,
    eps: float,
    shrink: float,
    weight_decay: float,
) -> None:
    """p -= step_size * first / (sqrt(second) + eps) after p *= shrink; weight_decay * p is added to g."""
    for p, g, m, s in blocks:
        t, u = (workspace(slot, p.shape, p.dtype) for slot in (0, 1))
        if shrink != 1:
            p *= shrink
        if weight_decay:
            g = np.add(g, np.multiply(p, weight_decay, out=u), out=u)
        m *= b1
        m += np.multiply(g, 1 - b1, out=t)
        s *= b2
        np.multiply(g, g, out=t)
        t *= 1 - b2
        s += t
        np.sqrt(s, out=t)
        t += eps
        np.divide(m, t, out=t)
        t *= step_size
        p -= t


def global_norm(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The Euclidean norm of all elements of all arrays together, (); squares are summed in float64."""
    total = 0.0
    for (block,) in _together(slice(0, sum(a.size for a in arrays)), arrays):
        squares = np.square(block, out=workspace(0, block.shape, np.dtype(np.float64)), dtype=np.float64)
        total += float(squares.sum())
    return np.array(sqrt(total))


def _together(part: slice, *lists: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, ...]]:
    """Views of a part of the elements of each list, its arrays laid end to end, block by block.

    An array of its own memory layout, or with gaps, is taken whole, if its first element is in the part.
    """
    end = 0
    for arrays in zip(*lists, strict=True):
        begin, end = end, end + arrays[0].size
        first, last = max(part.start, begin) - begin, min(part.stop, end) - begin
        order = memory_order(arrays[0])
        aligned = [a.transpose(order) for a in arrays]
        if all(a.flags.c_contiguous for a in aligned):
            flat = [a.reshape(-1) for a in aligned]
            for start in range(first, last, BLOCK):
                yield tuple(a[start : min(start + BLOCK, last)] for a in flat)
        elif part.start <= begin < part.stop:
            yield arrays
