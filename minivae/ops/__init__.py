"""The differentiable operations, by family. Each Function has its forward and its backward pass side by side.

Importing this package gives the Tensor its operators and methods (operators.py).
"""

from . import operators  # noqa: F401 - gives the Tensor its operators
from .arithmetic import add, clip, div, maximum, minimum, mul, neg, pow, sub, where
from .batch import batch_cat, batch_mean, batch_sum
from .conv import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from .elementwise import (
    abs,
    astype,
    exp,
    gelu,
    leaky_relu,
    log,
    log1p,
    relu,
    sigmoid,
    silu,
    softplus,
    sqrt,
    tanh,
)
from .likelihood import (
    bernoulli_nll,
    binary_cross_entropy_with_logits,
    continuous_bernoulli_mean,
    continuous_bernoulli_nll,
    cross_entropy,
    gaussian_kl,
    gaussian_nll,
    logistic_mixture_nll,
    mse_loss,
)
from .linear import embedding, linear, matmul
from .noise import dropout, reparameterize
from .norm import batch_norm, group_norm
from .pool import max_pool2d, upsample
from .quantize import quantize, straight_through
from .reduce import argmax, log_softmax, logsumexp, max, mean, min, softmax, sum
from .shape import broadcast_to, cat, flatten, gather, getitem, pad, reshape, squeeze, stack, transpose, unsqueeze

__all__ = [
    "abs",
    "add",
    "argmax",
    "astype",
    "batch_cat",
    "batch_mean",
    "batch_norm",
    "batch_sum",
    "bernoulli_nll",
    "binary_cross_entropy_with_logits",
    "broadcast_to",
    "cat",
    "clip",
    "continuous_bernoulli_mean",
    "continuous_bernoulli_nll",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "cross_entropy",
    "div",
    "dropout",
    "embedding",
    "exp",
    "flatten",
    "gather",
    "gaussian_kl",
    "gaussian_nll",
    "gelu",
    "getitem",
    "group_norm",
    "leaky_relu",
    "linear",
    "log",
    "log1p",
    "log_softmax",
    "logistic_mixture_nll",
    "logsumexp",
    "matmul",
    "max",
    "max_pool2d",
    "maximum",
    "mean",
    "min",
    "minimum",
    "mse_loss",
    "mul",
    "neg",
    "pad",
    "pow",
    "quantize",
    "relu",
    "reparameterize",
    "reshape",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "sqrt",
    "squeeze",
    "stack",
    "straight_through",
    "sub",
    "sum",
    "tanh",
    "transpose",
    "unsqueeze",
    "upsample",
    "where",
]
