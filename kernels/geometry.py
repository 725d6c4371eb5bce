"""The one shape formula of the 2-D convolution, and every check of its arguments.

Notation, the same in every kernel, on the CPU and on the GPU:

    N        examples in the batch
    C, OC    input and output channels of the convolution
    H, W     input height and width
    OH, OW   output height and width
    KH, KW   kernel height and width
    groups   how many independent convolutions the channels are divided into, also written G
    stride (sh, sw), padding (ph, pw), dilation (dh, dw)

    OH = floor((H + 2 * padding - dilation * (KH - 1) - 1) / stride) + 1

With stride > 1 several input sizes share one output size: with kernel 3, stride 2 and padding 1, sizes 7 and 8 both
become 4. A transposed convolution goes from the output size back to an input size and must be told which one is meant:
`output_padding` is the number of rows and columns to add to the smallest. It enlarges the result; it inserts no zeros.

The transposed convolution *is* the input gradient of a convolution, so its geometry is that of this convolution: it
reads (N, OC, OH, OW) and writes (N, C, H, W). Three kernels therefore serve both operations.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from .checks import elements, integer, integers, shown

Pair = tuple[int, int]


class ConvGeometry(NamedTuple):
    """All sizes of one convolution, checked once by the functions below; kernels trust it.

    OH and OW are at most what the formula gives. They are smaller for a transposed convolution whose output_padding
    reaches the stride: H and W are then so large that one more output would fit, which is not computed.
    """

    N: int
    C: int
    H: int
    W: int
    OC: int
    KH: int
    KW: int
    OH: int
    OW: int
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W), the shape that the convolution reads and the transposed convolution writes."""
        return self.N, self.C, self.H, self.W

    @property
    def w_shape(self) -> tuple[int, int, int, int]:
        """(OC, C / groups, KH, KW), the shape of the weight."""
        return self.OC, self.C // self.groups, self.KH, self.KW

    @property
    def y_shape(self) -> tuple[int, int, int, int]:
        """(N, OC, OH, OW), the shape that the convolution writes and the transposed convolution reads."""
        return self.N, self.OC, self.OH, self.OW


def output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How often a dilated kernel fits on a padded line, in steps of the stride; zero or less if it does not fit."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def transposed_size(size: int, kernel: int, stride: int, padding: int, dilation: int, output_padding: int) -> int:
    """The smallest input size that `output_size` maps to `size`, plus output_padding."""
    return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 + output_padding


def as_pair(name: str, value: int | tuple[int, int], least: int) -> Pair:
    """An int or a pair of ints, each at least `least`, as a pair (height, width)."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    try:
        height, width = integers(name, values)
    except (TypeError, ValueError) as error:  # three values, for example
        if len(values) == 2 and isinstance(error, ValueError):
            raise
        raise TypeError(f"{name} must be an int or a pair of ints (height, width), got {shown(value)}") from None
    if min(height, width) < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return height, width


def conv2d_geometry(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: int | Pair,
    padding: int | Pair,
    dilation: int | Pair,
    groups: int,
) -> ConvGeometry:
    """The geometry of conv2d(x, w) with x (N, C, H, W) and w (OC, C / groups, KH, KW).

    Raises ValueError if the shapes or the arguments do not fit together, TypeError if they are not integers.
    """
    return _conv2d_geometry(x_shape, w_shape, *_check_steps(stride, padding, dilation, groups))


@lru_cache(maxsize=1024)  # the arguments were checked before, because a cache takes True and 1.0 for 1
def _conv2d_geometry(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> ConvGeometry:
    _check_layout("conv2d", x_shape, w_shape, "(OC, C / groups, KH, KW)")
    N, C, H, W = x_shape
    OC, per_group, KH, KW = w_shape
    if per_group * groups != C:
        raise ValueError(
            f"conv2d: input {x_shape} has {C} channels, but weight {w_shape} with groups={groups} "
            f"expects {per_group * groups}"
        )
    if OC % groups:
        raise ValueError(f"conv2d: groups={groups} does not divide the {OC} output channels of weight {w_shape}")
    elements("conv2d: an image with its padding", (C, H + 2 * padding[0], W + 2 * padding[1]))
    OH = output_size(H, KH, stride[0], padding[0], dilation[0])
    OW = output_size(W, KW, stride[1], padding[1], dilation[1])
    if OH < 1 or OW < 1:
        raise ValueError(
            f"conv2d: the kernel of weight {w_shape} with dilation={dilation} does not fit into input {x_shape} "
            f"with padding={padding}: the output would be {OH} x {OW}"
        )
    elements("conv2d: an image of the output", (OC, OH, OW))
    return ConvGeometry(N, C, H, W, OC, KH, KW, OH, OW, stride, padding, dilation, groups)


def conv_transpose2d_geometry(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: int | Pair,
    padding: int | Pair,
    output_padding: int | Pair,
    groups: int,
    dilation: int | Pair,
) -> ConvGeometry:
    """The geometry of conv_transpose2d(x, w) with x (N, C_in, H, W) and w (C_in, C_out / groups, KH, KW).

    It is the geometry of the convolution that this operation transposes. x is that convolution's output, so C_in is
    called OC here, and the result of the operation has the geometry's `x_shape`.

    Raises ValueError if the shapes or the arguments do not fit together, TypeError if they are not integers.
    """
    extra = as_pair("output_padding", output_padding, 0)
    return _conv_transpose2d_geometry(x_shape, w_shape, extra, *_check_steps(stride, padding, dilation, groups))


@lru_cache(maxsize=1024)
def _conv_transpose2d_geometry(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    extra: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> ConvGeometry:
    _check_layout("conv_transpose2d", x_shape, w_shape, "(C_in, C_out / groups, KH, KW)")
    N, OC, OH, OW = x_shape
    w_in, per_group, KH, KW = w_shape
    if w_in != OC:
        raise ValueError(f"conv_transpose2d: input {x_shape} has {OC} channels, but weight {w_shape} expects {w_in}")
    if OC % groups:
        raise ValueError(f"conv_transpose2d: groups={groups} does not divide the {OC} channels of input {x_shape}")
    for e, s, d in zip(extra, stride, dilation, strict=True):
        if e >= max(s, d):
            raise ValueError(
                f"conv_transpose2d: output_padding={extra} must be smaller than stride={stride} or dilation={dilation}"
            )
    H = transposed_size(OH, KH, stride[0], padding[0], dilation[0], extra[0])
    W = transposed_size(OW, KW, stride[1], padding[1], dilation[1], extra[1])
    if H < 1 or W < 1:
        raise ValueError(
            f"conv_transpose2d: input {x_shape} and weight {w_shape} with padding={padding} "
            f"leave an output of {H} x {W}"
        )
    elements("conv_transpose2d: an output", (N, per_group * groups, H, W))
    return ConvGeometry(N, per_group * groups, H, W, OC, KH, KW, OH, OW, stride, padding, dilation, groups)


def _check_layout(name: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...], layout: str) -> None:
    if len(x_shape) != 4:
        raise ValueError(f"{name}: input must have 4 axes (N, C, H, W), got shape {x_shape}")
    if len(w_shape) != 4:
        raise ValueError(f"{name}: weight must have 4 axes {layout}, got shape {w_shape}")
    if min(x_shape[1:]) < 1 or min(w_shape) < 1:
        raise ValueError(f"{name}: only the batch may be empty, got input {x_shape} and weight {w_shape}")


def _check_steps(
    stride: int | Pair, padding: int | Pair, dilation: int | Pair, groups: int
) -> tuple[Pair, Pair, Pair, int]:
    steps = as_pair("stride", stride, 1), as_pair("padding", padding, 0), as_pair("dilation", dilation, 1)
    return *steps, integer("groups", groups, 1)
