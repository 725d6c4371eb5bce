"""One step of an optimiser, in place on all parameters in one call. minivae/optim.py explains the algorithms."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np


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
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        g = g + float(weight_decay) * p
        if momentum:
            v = velocities[i]
            v[...] = float(momentum) * v + g
            g = g + float(momentum) * v if nesterov else v
        p -= float(lr) * g


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
    weight_decay adds weight_decay p to g (Adam) or, decoupled, first scales p by 1 - lr weight_decay
    (AdamW, Loshchilov & Hutter 2017).
    """
    b1, b2 = map(float, betas)
    lr, eps, weight_decay = float(lr), float(eps), float(weight_decay)
    for p, g, m_i, v_i in zip(params, grads, m, v, strict=True):
        if decoupled:
            p *= 1 - lr * weight_decay
        elif weight_decay:
            g = g + weight_decay * p
        m_i[...] = b1 * m_i + (1 - b1) * g
        v_i[...] = b2 * v_i + (1 - b2) * g * g
        p -= lr / (1 - b1**step) * m_i / (np.sqrt(v_i) / sqrt(1 - b2**step) + eps)


def global_norm(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The Euclidean norm of all elements of all arrays together, a float64 array without axes."""
    squares = [np.square(a, dtype=np.float64).sum() for a in arrays]
    return np.asarray(np.sqrt(np.sum(squares, dtype=np.float64)))
