"""The NumPy backend: every primitive of kernels/contract.py, and the names through which arrays come and go."""

from __future__ import annotations

import numpy as np

from .activation import bias_relu, relu_grad
from .conv import conv2d, conv2d_input_grad, conv2d_weight_grad
from .likelihood import (
    bernoulli_nll,
    bernoulli_nll_grad,
    gaussian_nll,
    gaussian_nll_grad,
    softmax_cross_entropy,
    softmax_cross_entropy_grad,
)
from .matrix import matmul, reduce_sum, sum_rows_by_index
from .norm import batch_norm, batch_norm_grad, group_norm, group_norm_grad
from .optim import adam_step, global_norm, sgd_step
from .quantize import nearest_code
from .random import normal, random_bits, reparameterize, reparameterize_grad, uniform
from .special import erf

device = "cpu"
xp = np


def asarray(array: np.ndarray) -> np.ndarray:
    """A host array as an array of this backend: itself."""
    return np.asarray(array)


def to_host(array: np.ndarray) -> np.ndarray:
    """An array of this backend as a host array: itself."""
    return array


__all__ = [
    "adam_step",
    "asarray",
    "batch_norm",
    "batch_norm_grad",
    "bernoulli_nll",
    "bernoulli_nll_grad",
    "bias_relu",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "device",
    "erf",
    "gaussian_nll",
    "gaussian_nll_grad",
    "global_norm",
    "group_norm",
    "group_norm_grad",
    "matmul",
    "nearest_code",
    "normal",
    "random_bits",
    "reduce_sum",
    "relu_grad",
    "reparameterize",
    "reparameterize_grad",
    "sgd_step",
    "softmax_cross_entropy",
    "softmax_cross_entropy_grad",
    "sum_rows_by_index",
    "to_host",
    "uniform",
    "xp",
]
