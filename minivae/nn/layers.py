"""The layers. Their arguments, weight layouts, initial values and state names are those of PyTorch's layers.

A layer holds settings and weights and calls one function of minivae.functional, which says what is computed and what is
an error. N is the number of examples, C channels, H and W height and width, OH and OW those of the output, KH and KW
those of the kernel. `dtype` is that of the weights, float32 unless given; module.to(dtype=...) converts a whole model.

Constructors raise TypeError for arguments of another type, and ValueError for those out of range.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, TypeVar

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor, as_tensor
from minivae.kernels.checks import float_dtype, integer, integers, number
from minivae.kernels.geometry import Pair, as_pair
from minivae.shards import current_shard

from . import init
from .module import Buffer, Module

Forward = TypeVar("Forward", bound=Callable[..., Tensor])


def takes_relu(forward: Forward) -> Forward:
    """Mark a forward(x, relu=False) that can compute relu(forward(x)) in the pass that adds the bias.

    nn.Sequential lets such a layer do the ReLU behind it. The mark is on the function and not on the class, so that a
    subclass with a forward() of its own is without it.
    """
    forward.takes_relu = forward  # type: ignore[attr-defined]  # itself: functools.wraps copies attributes
    return forward


class Linear(Module):
    """Computes x W^T + b: x (..., in_features) -> (..., out_features), with W (out_features, in_features)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dtype: Any = np.float32) -> None:
        self.in_features = integer("in_features", in_features, 1)
        self.out_features = integer("out_features", out_features, 1)
        self.weight, self.bias = init.weight_and_bias((out_features, in_features), out_features, bias, dtype)

    @takes_relu
    def forward(self, x: Any, relu: bool = False) -> Tensor:
        return F.linear(x, self.weight, self.bias, relu)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class _Conv(Module):
    """Settings and weights of all convolution layers. transposed: the weight has the input channels on axis 0."""

    def __init__(
        self,
        channels: Pair,
        kernel_size: tuple[int, ...],
        groups: int,
        bias: bool,
        dtype: Any,
        transposed: bool = False,
    ) -> None:
        self.in_channels = integer("in_channels", channels[0], 1)
        self.out_channels = integer("out_channels", channels[1], 1)
        self.kernel_size, self.groups = kernel_size, integer("groups", groups, 1)
        if any(c % self.groups for c in channels):
            both = f"{channels[0]} and {channels[1]} channels"
            raise ValueError(f"{type(self).__name__}: groups={groups} does not divide both {both}")
        first, second = (self.in_channels, self.out_channels) if transposed else (self.out_channels, self.in_channels)
        shape = (first, second // self.groups, *self.kernel_size)
        self.weight, self.bias = init.weight_and_bias(shape, self.out_channels, bias, dtype)

    def extra_repr(self) -> str:
        settings = {k: v for k, v in vars(self).items() if k not in ("weight", "bias", "training")}
        text = ", ".join(f"{k}={v}" for k, v in settings.items() if k not in ("in_channels", "out_channels"))
        return f"{self.in_channels}, {self.out_channels}, {text}, bias={self.bias is not None}"


class Conv2d(_Conv):
    """Convolves x (N, C_in, H, W) -> (N, C_out, OH, OW) with a weight (C_out, C_in / groups, KH, KW), see F.conv2d."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__((in_channels, out_channels), as_pair("kernel_size", kernel_size, 1), groups, bias, dtype)
        self.stride, self.padding = as_pair("stride", stride, 1), as_pair("padding", padding, 0)
        self.dilation = as_pair("dilation", dilation, 1)

    @takes_relu
    def forward(self, x: Any, relu: bool = False) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups, relu)


class ConvTranspose2d(_Conv):
    """Computes the transpose of a convolution, which goes from its outputs to its inputs; see F.conv_transpose2d.

    x (N, C_in, H, W) -> (N, C_out, OH, OW), with a weight (C_in, C_out / groups, KH, KW).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        output_padding: int | Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Pair = 1,
        dtype: Any = np.float32,
    ) -> None:
        kernel = as_pair("kernel_size", kernel_size, 1)
        super().__init__((in_channels, out_channels), kernel, groups, bias, dtype, transposed=True)
        self.stride, self.padding = as_pair("stride", stride, 1), as_pair("padding", padding, 0)
        self.output_padding, self.dilation = (
            as_pair("output_padding", output_padding, 0),
            as_pair("dilation", dilation, 1),
        )

    @takes_relu
    def forward(self, x: Any, relu: bool = False) -> Tensor:
        return F.conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation, relu
        )


class BatchNorm2d(Module):
    """Normalises x (N, C, H, W) per channel to mean 0 and variance 1, then scales and shifts it; see F.batch_norm.

    Mean and variance are those of the batch in training mode, and running averages of them in evaluation mode.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, dtype: Any = np.float32) -> None:
        self.num_features, dtype = integer("num_features", num_features, 1), float_dtype("dtype", dtype)
        self.eps, self.momentum = number("eps", eps, "(0, inf)"), number("momentum", momentum, "[0, 1]")
        self.weight = init.constant((num_features,), 1.0, dtype)
        self.bias = init.constant((num_features,), 0.0, dtype)
        self.running_mean = Buffer(np.zeros(num_features, dtype))
        self.running_var = Buffer(np.ones(num_features, dtype))
        self.num_batches_tracked = Buffer(np.zeros((), np.int64))

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        if x.ndim != 4:
            raise ValueError(f"BatchNorm2d needs images (N, C, H, W), got shape {x.shape}")
        if self.training and current_shard().leads:
            self.num_batches_tracked.inplace()[...] += 1
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        )

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class GroupNorm(Module):
    """Normalises x (N, C, ...) per example and group of channels, then scales and shifts it; see F.group_norm."""

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, dtype: Any = np.float32) -> None:
        self.num_groups, self.num_channels = (
            integer("num_groups", num_groups, 1),
            integer("num_channels", num_channels, 1),
        )
        self.eps = number("eps", eps, "(0, inf)")
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: {num_groups} groups do not divide {num_channels} channels")
        self.weight = init.constant((num_channels,), 1.0, dtype)
        self.bias = init.constant((num_channels,), 0.0, dtype)

    def forward(self, x: Any) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}"


class Dropout(Module):
    """In training mode, sets each element to 0 with probability p and divides the others by 1 - p; see F.dropout.

    In evaluation mode it returns x.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = number("p", p, "[0, 1)")

    def forward(self, x: Any) -> Tensor:
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Embedding(Module):
    """Looks up rows of a trained table: indices (...) in [0, num_embeddings) -> (..., embedding_dim)."""

    def __init__(self, num_embeddings: int, embedding_dim: int, dtype: Any = np.float32) -> None:
        self.num_embeddings = integer("num_embeddings", num_embeddings, 1)
        self.embedding_dim = integer("embedding_dim", embedding_dim, 1)
        self.weight = init.normal((num_embeddings, embedding_dim), dtype)

    def forward(self, index: Any) -> Tensor:
        return F.embedding(index, self.weight)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"


class Flatten(Module):
    """Makes each example a vector: (N, ...) -> (N, D)."""

    def forward(self, x: Any) -> Tensor:
        return F.flatten(x, 1)


class Unflatten(Module):
    """Gives each example a shape: (N, D) -> (N, *shape). ValueError for x of other shapes."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = integers("shape", shape, 1)

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        if x.ndim != 2 or x.shape[1] != prod(self.shape):
            raise ValueError(f"Unflatten needs input (N, {prod(self.shape)}) for {self.shape}, got {x.shape}")
        return F.reshape(x, (x.shape[0], *self.shape))

    def extra_repr(self) -> str:
        return str(self.shape)


class ReLU(Module):
    """Computes max(x, 0)."""

    def forward(self, x: Any) -> Tensor:
        return F.relu(x)


class LeakyReLU(Module):
    """Computes x where it is positive and negative_slope * x elsewhere."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = number("negative_slope", negative_slope)

    def forward(self, x: Any) -> Tensor:
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class GELU(Module):
    """Computes x * Phi(x), where Phi is the cumulative distribution function of N(0, 1)."""

    def forward(self, x: Any) -> Tensor:
        return F.gelu(x)


class SiLU(Module):
    """Computes x * sigmoid(x)."""

    def forward(self, x: Any) -> Tensor:
        return F.silu(x)


class Tanh(Module):
    """Computes the hyperbolic tangent."""

    def forward(self, x: Any) -> Tensor:
        return F.tanh(x)


class Sigmoid(Module):
    """Computes 1 / (1 + exp(-x))."""

    def forward(self, x: Any) -> Tensor:
        return F.sigmoid(x)


class Softplus(Module):
    """Computes log(1 + exp(x))."""

    def forward(self, x: Any) -> Tensor:
        return F.softplus(x)


class MaxPool2d(Module):
    """Takes the largest element of each window: x (N, C, H, W) -> (N, C, OH, OW); see F.max_pool2d."""

    def __init__(self, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> None:
        self.kernel_size, self.padding = as_pair("kernel_size", kernel_size, 1), as_pair("padding", padding, 0)
        self.stride = self.kernel_size if stride is None else as_pair("stride", stride, 1)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(f"MaxPool2d: padding {padding} is more than half of the window {kernel_size}")

    def forward(self, x: Any) -> Tensor:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class Upsample(Module):
    """Repeats each pixel scale_factor times along both axes: x (N, C, H, W) -> (N, C, H * factor, W * factor)."""

    def __init__(self, scale_factor: int | Pair) -> None:
        self.scale_factor = as_pair("scale_factor", scale_factor, 1)

    def forward(self, x: Any) -> Tensor:
        return F.upsample(x, self.scale_factor)

    def extra_repr(self) -> str:
        return f"scale_factor={self.scale_factor}"
