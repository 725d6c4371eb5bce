"""Small quantisers, and latents for them."""

import numpy as np
import pytest
from strategies import numbers

import minivae as mv
from minivae.nn import VectorQuantizer

K, D = 5, 3


def quantizer(update="ema", codes=K, dim=D, **settings):
    mv.manual_seed(0)
    return VectorQuantizer(codes, dim, update, **{"restart": 0.0, **settings}, dtype=np.float64)


def latents(n=4, dim=D, size=(2, 3), seed=0):
    return mv.Tensor(numbers(n, dim, *size, seed=seed), requires_grad=True)


def rows_of(z):
    """Turn (N, D, ...) into rows (M, D) on the host."""
    return np.moveaxis(z.numpy(), 1, -1).reshape(-1, z.shape[1])


def distances(rows, codebook):
    return ((rows[:, None] - codebook) ** 2).sum(-1)


UPDATES = pytest.mark.parametrize("update", ["ema", "gradient"])
