"""The CUDA backend: every primitive of kernels/contract.py, and the names through which arrays come and go.

Its arrays are CuPy's. Importing it imports neither CuPy nor a GPU's driver: both wait for the first array or launch
(launcher.engine()). One difference from the CPU cannot be switched off: float32 numbers below 1.2e-38, subnormals,
count as zero, since CuPy compiles all kernels, its own and these, with -ftz=true.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..contract import Array
from ..session import Session
from . import launcher
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
from .gemm import matmul
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
from .matrix import reduce_sum, segment_sum
from .norm import batch_norm, batch_norm_grad, group_norm, group_norm_grad
from .optim import adam_step, global_norm, sgd_step
from .quantize import nearest_code
from .random import normal, random_bits, reparameterize, reparameterize_grad, uniform
from .resample import max_pool2d, max_pool2d_grad, upsample, upsample_grad
from .steps import CudaSession

device = "cuda"


def asarray(array: np.ndarray | Array) -> Array:
    """Copy a host array to the current GPU. An array that is there already is returned as it is."""
    return launcher.engine().xp.asarray(array)


def to_host(array: Array) -> np.ndarray:
    """Copy an array of this backend to the host, after waiting for the GPU's work so far."""
    return launcher.engine().xp.asnumpy(array)


def session() -> Session:
    """Return the session of a training: steps are captured once and replayed. CuPy keeps freed memory by itself."""
    return CudaSession()


def __getattr__(name: str) -> Any:
    """Return the engine's array module as `xp`: CuPy, which is imported when it is first asked for."""
    if name == "xp":
        return launcher.engine().xp
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
