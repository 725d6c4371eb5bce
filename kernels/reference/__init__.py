"""The reference backend: every primitive of the contract in the shortest clear NumPy.

It is the lesson, and the specification that the other backends are tested against. Its docstrings state the
mathematics. It runs everywhere, so the CPU uses it where there is no C compiler.
"""

from __future__ import annotations

import numpy as np

from ..session import Session
from .activation import (
    bias_relu,
    erf,
    gelu,
    gelu_grad,
    relu_grad,
    sigmoid,
    sigmoid_grad,
    silu,
    silu_grad,
    softplus,
    softplus_grad,
    tanh,
    tanh_grad,
)
from .conv import conv2d, conv2d_input_grad, conv2d_weight_grad
from .likelihood import (
    bernoulli_nll,
    bernoulli_nll_grad,
    gaussian_nll,
    gaussian_nll_grad,
    logistic_mixture_nll,
    logistic_mixture_nll_grad,
    softmax_cross_entropy,
    softmax_cross_entropy_grad,
)
from .matrix import matmul, reduce_sum, segment_sum
from .norm import batch_norm, batch_norm_grad, group_norm, group_norm_grad
from .optim import adam_step, global_norm, sgd_step
from .quantize import nearest_code
from .random import normal, random_bits, reparameterize, reparameterize_grad, uniform
from .resample import max_pool2d, max_pool2d_grad, upsample, upsample_grad

device = "cpu"
xp = np


def asarray(array: np.ndarray) -> np.ndarray:
    """A NumPy array as an array of this backend: itself."""
    return np.asarray(array)


def to_host(array: np.ndarray) -> np.ndarray:
    """An array of this backend as a NumPy array: itself."""
    return array


def session() -> Session:
    """What this backend needs around a training: nothing."""
    return Session()


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
    "gelu",
    "gelu_grad",
    "global_norm",
    "group_norm",
    "group_norm_grad",
    "logistic_mixture_nll",
    "logistic_mixture_nll_grad",
    "matmul",
    "max_pool2d",
    "max_pool2d_grad",
    "nearest_code",
    "normal",
    "random_bits",
    "reduce_sum",
    "relu_grad",
    "reparameterize",
    "reparameterize_grad",
    "segment_sum",
    "session",
    "sgd_step",
    "sigmoid",
    "sigmoid_grad",
    "silu",
    "silu_grad",
    "softmax_cross_entropy",
    "softmax_cross_entropy_grad",
    "softplus",
    "softplus_grad",
    "tanh",
    "tanh_grad",
    "to_host",
    "uniform",
    "upsample",
    "upsample_grad",
    "xp",
]
