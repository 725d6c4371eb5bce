"""A model of the scaling to many machines. It is a model: the compute is measured here, the networks are assumed.

R ranks, each a machine that computes like one core of the measured one, train with a batch of B images and P weights:

    T(R) = a + b B / R                      compute: a for what each step costs anyway (such as the optimiser, which
                                            every rank does for all weights), b for each image
         + 2 (R - 1) (L + 4 P / (R W))      all-to-all and all-gather: R - 1 messages each, one after the other, of
                                            P / R numbers of 4 bytes; latency L, bandwidth W of a machine's link
         + g P (R - 1) / R                  sums of the R parts, P / R numbers each, that a rank receives

The time of a message falls with 1 / R and their number grows with R, so that the bytes of a rank, 8 P (R - 1) / R, are
nearly independent of R, and the latency grows linearly. Not in the model: a network that is shared by several, ranks
that are slower than others, the overlap of communication and computation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Network(NamedTuple):
    """latency: of a message, in seconds. bandwidth: of a machine's link, in bytes per second."""

    name: str
    latency: float
    bandwidth: float


NETWORKS = (  # assumed: what programs get of TCP over Ethernet, and of RDMA
    Network("10 Gb/s Ethernet", 30e-6, 1.1e9),
    Network("100 Gb/s InfiniBand", 2e-6, 11e9),
)


class Compute(NamedTuple):
    """fixed: a, seconds. image: b, seconds. addition: g, seconds for a number. weights: P."""

    fixed: float
    image: float
    addition: float
    weights: int


def fit(batches: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Return (a, b) of the line a + b B whose relative errors have the least sum of squares; a is at least 0."""
    B, T = np.asarray(batches, float), np.asarray(seconds, float)
    (a, b), *_ = np.linalg.lstsq(np.stack([1 / T, B / T], axis=1), np.ones(len(T)), rcond=None)
    if a < 0:
        a, b = 0.0, (B / T).sum() / (B**2 / T**2).sum()
    return float(a), float(b)


def communication(ranks: int, weights: int, network: Network) -> float:
    """The seconds of an all-to-all and an all-gather of so many weights."""
    return 2 * (ranks - 1) * (network.latency + 4 * weights / (ranks * network.bandwidth))


def step(ranks: int, batch: float, compute: Compute, network: Network) -> float:
    """T(R), in seconds."""
    sums = compute.addition * compute.weights * (ranks - 1) / ranks
    return compute.fixed + compute.image * batch / ranks + communication(ranks, compute.weights, network) + sums
