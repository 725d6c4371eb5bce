"""Convolutions of signals (N, C, L): the layers of PyTorch's names and arguments, and a causal one.

N is the number of signals, C channels, L the length, OL that of the output, K that of the kernel. The functions
F.conv1d and F.conv_transpose1d say what is computed: it is a two-dimensional convolution of an image of one row.

A layer is **causal** if its output at time t depends on the inputs up to t and on no later one. A convolution is when
all of its padding is on the left: with a kernel of K taps at a distance of `dilation`, (K - 1) dilation zeros. K = 3
and dilation = 2 read the times t - 4, t - 2 and t. With K = 2 and dilations 1, 2, 4, ..., 2^(n-1) a stack of n layers
sees 2^n times with 2 n taps (WaveNet, van den Oord et al. 2016).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor, as_tensor
from minivae.kernels.checks import integer

from .layers import _Conv, takes_relu


def _kernel(kernel_size: int) -> tuple[int]:
    return (integer("kernel_size", kernel_size, 1),)


class Conv1d(_Conv):
    """Convolves x (N, C_in, L) -> (N, C_out, OL) with a weight (C_out, C_in / groups, K), see F.conv1d."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__((in_channels, out_channels), _kernel(kernel_size), groups, bias, dtype)
        self.stride, self.padding = integer("stride", stride, 1), integer("padding", padding, 0)
        self.dilation = integer("dilation", dilation, 1)

    @takes_relu
    def forward(self, x: Any, relu: bool = False) -> Tensor:
        return F.conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups, relu)


class CausalConv1d(_Conv):
    """Convolves x (N, C_in, L) -> (N, C_out, L): the output at time t depends on x up to t alone (see above)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__((in_channels, out_channels), _kernel(kernel_size), groups, bias, dtype)
        self.dilation = integer("dilation", dilation, 1)

    @takes_relu
    def forward(self, x: Any, relu: bool = False) -> Tensor:
        x = as_tensor(x)
        if x.ndim != 3:
            raise ValueError(f"CausalConv1d needs signals (N, C, L), got shape {x.shape}")
        before = (self.kernel_size[0] - 1) * self.dilation
        x = F.pad(x, [(0, 0), (0, 0), (before, 0)])  # (N, C_in, before + L)
        return F.conv1d(x, self.weight, self.bias, 1, 0, self.dilation, self.groups, relu)


class ConvTranspose1d(_Conv):
    """Computes the transpose of a convolution of signals, which goes from its outputs to its inputs.

    x (N, C_in, L) -> (N, C_out, OL), with a weight (C_in, C_out / groups, K); see F.conv_transpose1d.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int = 1,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__((in_channels, out_channels), _kernel(kernel_size), groups, bias, dtype, transposed=True)
        self.stride, self.padding = integer("stride", stride, 1), integer("padding", padding, 0)
        self.output_padding = integer("output_padding", output_padding, 0)
        self.dilation = integer("dilation", dilation, 1)

    @takes_relu
    def forward(self, x: Any, relu: bool = False) -> Tensor:
        return F.conv_transpose1d(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation, relu
        )
