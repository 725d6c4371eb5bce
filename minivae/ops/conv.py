"""Convolution and transposed convolution: two operations made of three kernels.

For fixed weights w a convolution is a linear map, y = A x with a matrix A. The gradient of <dy, A x> by x is A^T dy,
which the kernel `conv2d_input_grad` computes, and its gradient by w is `conv2d_weight_grad`. kernels/reference/conv.py
derives all three passes, with a matrix of numbers.

The transposed convolution is the map x -> A^T x, which is the same kernel `conv2d_input_grad`. The gradient of
<dy, A^T x> by x is A dy, the plain convolution of dy. Its gradient by w is that of the convolution with x and dy
exchanged, because <dy, A^T x> = <x, A dy>.
"""

from __future__ import annotations

from typing import Any

from minivae.autograd import Function, Tensor
from minivae.autograd.tensor import as_tensor
from minivae.kernels.checks import flag
from minivae.kernels.contract import Array
from minivae.kernels.geometry import ConvGeometry, Pair, conv2d_geometry, conv_transpose2d_geometry

from .arguments import check_dtypes


class Conv2d(Function):
    """y = conv2d(x, w) + b. With relu it is max(conv2d(x, w) + b, 0), and the backward pass needs y."""

    def forward(self, x: Array, w: Array, *b: Array, g: ConvGeometry, relu: bool) -> Array:
        self.g, self.relu = g, relu
        y = self.backend.conv2d(x, w, b[0] if b else None, g, relu)  # (N, OC, OH, OW)
        self.save(x, w, *([y] if relu else []))
        return y

    def backward(self, dy: Array) -> Any:
        x, w, *y = self.saved
        k = self.backend
        dy = k.relu_grad(dy, *y) if self.relu else dy
        dx = k.conv2d_input_grad(dy, w, None, self.g) if self.needs[0] else None
        dw = k.conv2d_weight_grad(dy, x, self.g) if self.needs[1] else None
        return (dx, dw, *_bias_grad(self, dy))


class ConvTranspose2d(Function):
    """y = conv2d_input_grad(x, w) + b, or with relu its maximum with 0. x takes the place of a convolution's dy."""

    def forward(self, x: Array, w: Array, *b: Array, g: ConvGeometry, relu: bool) -> Array:
        self.g, self.relu = g, relu
        y = self.backend.conv2d_input_grad(x, w, b[0] if b else None, g, relu)  # (N, C, H, W)
        self.save(x, w, *([y] if relu else []))
        return y

    def backward(self, dy: Array) -> Any:
        x, w, *y = self.saved
        k = self.backend
        dy = k.relu_grad(dy, *y) if self.relu else dy
        dx = k.conv2d(dy, w, None, self.g) if self.needs[0] else None
        dw = k.conv2d_weight_grad(x, dy, self.g) if self.needs[1] else None
        return (dx, dw, *_bias_grad(self, dy))


def _bias_grad(function: Function, dy: Array) -> tuple[Array | None, ...]:
    """Return the gradient of b (C,), which every pixel of a channel used, in a tuple; an empty tuple without bias."""
    if len(function.needs) == 2:
        return ()
    return (function.backend.reduce_sum(dy, (0, 2, 3), False) if function.needs[2] else None,)


def conv2d(
    x: Any,
    w: Any,
    b: Any = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    relu: bool = False,
) -> Tensor:
    """Cross-correlate x (N, C, H, W) with w (OC, C / groups, KH, KW) and add b (OC,) -> (N, OC, OH, OW).

    OH = floor((H + 2 padding - dilation (KH - 1) - 1) / stride) + 1. With relu the result is max(y, 0), in the pass
    that adds the bias. Raises ValueError where shapes or arguments do not fit together, TypeError for dtypes that
    differ or are not float32 or float64.
    """
    x, w = as_tensor(x), as_tensor(w)
    g = conv2d_geometry(x.shape, w.shape, stride, padding, dilation, groups)
    bias = _bias("conv2d", b, g.OC, w, g)
    check_dtypes("conv2d", x, w, *bias)
    return Conv2d.apply(x, w, *bias, g=g, relu=flag("relu", relu))


def conv_transpose2d(
    x: Any,
    w: Any,
    b: Any = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    output_padding: int | Pair = 0,
    groups: int = 1,
    dilation: int | Pair = 1,
    relu: bool = False,
) -> Tensor:
    """Apply the transpose of conv2d to x (N, C_in, H, W) and add b -> (N, C_out, OH, OW).

    w: (C_in, C_out / groups, KH, KW). b: (C_out,). OH = (H - 1) stride - 2 padding + dilation (KH - 1) + 1 +
    output_padding. With stride > 1 several sizes shrink to H under conv2d; output_padding chooses among them. relu and
    the errors are those of conv2d.
    """
    x, w = as_tensor(x), as_tensor(w)
    g = conv_transpose2d_geometry(x.shape, w.shape, stride, padding, output_padding, groups, dilation)
    bias = _bias("conv_transpose2d", b, g.C, w, g)
    check_dtypes("conv_transpose2d", x, w, *bias)
    return ConvTranspose2d.apply(x, w, *bias, g=g, relu=flag("relu", relu))


def _bias(name: str, b: Any, channels: int, w: Tensor, g: ConvGeometry) -> tuple[Tensor, ...]:
    if b is None:
        return ()
    b = as_tensor(b)
    if b.shape != (channels,):
        weight = f"weight {w.shape} with groups={g.groups}"
        raise ValueError(f"{name}: bias must have shape ({channels},) for {weight}, got {b.shape}")
    return (b,)
