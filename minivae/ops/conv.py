"""Convolution and transposed convolution: two operations made of three kernels.

For fixed weights w a convolution is a linear map, y = A x with a matrix A. The gradient of <dy, A x> by x is A^T dy,
which the kernel `conv2d_input_grad` computes, and its gradient by w is `conv2d_weight_grad`. kernels/reference/conv.py
derives all three passes, with a matrix of numbers.

The transposed convolution is the map x -> A^T x, which is the same kernel `conv2d_input_grad`. The gradient of
<dy, A^T x> by x is A dy, the plain convolution of dy. Its gradient by w is that of the convolution with x and dy
exchanged, because <dy, A^T x> = <x, A dy>.

A signal (N, C, L) is an image (N, C, 1, L) of one row, and its kernel (OC, C, K) is one of shape 1 x K. So the
one-dimensional functions are the two-dimensional ones between two reshapes, which copy nothing, and have their
gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minivae.autograd import Function, Tensor
from minivae.autograd.tensor import as_tensor
from minivae.kernels.checks import flag, integer
from minivae.kernels.contract import Array
from minivae.kernels.geometry import ConvGeometry, Pair, conv2d_geometry, conv_transpose2d_geometry

from .arguments import check_dtypes
from .shape import reshape


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


def conv1d(
    x: Any,
    w: Any,
    b: Any = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    relu: bool = False,
) -> Tensor:
    """Cross-correlation of signals: x (N, C, L), w (OC, C / groups, K), b (OC,) -> (N, OC, OL).

    OL = floor((L + 2 padding - dilation (K - 1) - 1) / stride) + 1. relu and errors as for conv2d.
    """
    x, w = _as_row("conv1d: x", x), _as_row("conv1d: w", w)
    stride, padding, dilation = _in_row(stride=(stride, 1), padding=(padding, 0), dilation=(dilation, 1))
    with _of_signals("conv1d", x, w):
        return _from_row(conv2d(x, w, b, (1, stride), (0, padding), (1, dilation), groups, relu))


def conv_transpose1d(
    x: Any,
    w: Any,
    b: Any = None,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
    relu: bool = False,
) -> Tensor:
    """The transpose of conv1d: x (N, C_in, L), w (C_in, C_out / groups, K), b (C_out,) -> (N, C_out, OL).

    OL = (L - 1) stride - 2 padding + dilation (K - 1) + 1 + output_padding. relu and errors as for conv_transpose2d.
    """
    x, w = _as_row("conv_transpose1d: x", x), _as_row("conv_transpose1d: w", w)
    stride, padding, dilation, more = _in_row(
        stride=(stride, 1), padding=(padding, 0), dilation=(dilation, 1), output_padding=(output_padding, 0)
    )
    with _of_signals("conv_transpose1d", x, w):
        return _from_row(conv_transpose2d(x, w, b, (1, stride), (0, padding), (0, more), groups, (1, dilation), relu))


def _as_row(name: str, x: Any) -> Tensor:
    """(A, B, L) -> (A, B, 1, L); ValueError for another number of axes."""
    x = as_tensor(x)
    if x.ndim != 3:
        raise ValueError(f"{name} must have 3 axes, the last of them the signal's, got shape {x.shape}")
    return reshape(x, (*x.shape[:2], 1, x.shape[2]))


@contextmanager
def _of_signals(name: str, x: Tensor, w: Tensor) -> Iterator[None]:
    """Inside, a ValueError about images of one row says which signals (N, C, L) and weight they are."""
    try:
        yield
    except ValueError as error:
        shapes = " and weight ".join(str((*t.shape[:2], t.shape[3])) for t in (x, w))
        raise ValueError(f"{name} of signals {shapes}, as images of one row: {error}") from None


def _from_row(y: Tensor) -> Tensor:
    """(N, OC, 1, OL) -> (N, OC, OL)."""
    return reshape(y, (*y.shape[:2], y.shape[3]))


def _in_row(**settings: tuple[Any, int]) -> list[int]:
    """The values of settings of one axis, each with its least value, as ints."""
    return [integer(name, value, least) for name, (value, least) in settings.items()]


def _bias(name: str, b: Any, channels: int, w: Tensor, g: ConvGeometry) -> tuple[Tensor, ...]:
    if b is None:
        return ()
    b = as_tensor(b)
    if b.shape != (channels,):
        weight = f"weight {w.shape} with groups={g.groups}"
        raise ValueError(f"{name}: bias must have shape ({channels},) for {weight}, got {b.shape}")
    return (b,)
