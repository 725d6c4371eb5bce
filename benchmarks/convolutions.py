"""The three passes of thirteen convolution layers, at batch size 32.

Transposed convolutions need no rows of their own: the forward pass of one is the input gradient of a convolution, its
input gradient is the forward pass, and its weight gradient is the weight gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from minivae.kernels.geometry import ConvGeometry

from . import cases, plain
from .backends import torch
from .rows import channels_last, random, row
from .timing import Work

BATCH = 32


def conv(gpu: Any, quick: bool = False) -> Iterator[Work]:
    """The forward pass, the input gradient and the weight gradient of convolution layers, at batch size 32."""
    for layer in cases.LAYERS[:3] if quick else cases.LAYERS:
        g = layer.geometry(BATCH)
        costs = {
            "flops": 2.0 * g.N * g.OH * g.OW * g.OC * g.C * g.KH * g.KW,
            "bytes": 4.0 * (prod(g.x_shape) + prod(g.w_shape) + prod(g.y_shape)),
        }
        for name, arrays, functions in passes(g):
            yield row(f"conv {layer}: {name}", arrays, gpu, *functions, tolerance=1e-3, **costs)


Functions = tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]  # ours, plain and theirs, as in row()


def passes(g: ConvGeometry) -> list[tuple[str, tuple[np.ndarray, ...], Functions]]:
    """The name, the random arrays and the functions of each of the three passes."""
    x, w, dy = (random(*shape, seed=i) for i, shape in enumerate((g.x_shape, g.w_shape, g.y_shape)))
    x, dy = channels_last(x), channels_last(dy)
    return [
        ("forward", (x, w), _forward(g)),
        ("input gradient", (dy, x, w), _input_grad(g)),
        ("weight gradient", (dy, x, w), _weight_grad(g)),
    ]


def _forward(g: ConvGeometry) -> Functions:
    return (
        lambda k, x, w: k.conv2d(x, w, None, g),
        lambda xp, x, w: plain.conv2d(xp, x, w, g),
        lambda x, w: torch.nn.functional.conv2d(x, w, None, g.stride, g.padding, g.dilation, g.groups),
    )


def _input_grad(g: ConvGeometry) -> Functions:
    return (
        lambda k, dy, x, w: k.conv2d_input_grad(dy, w, None, g),
        lambda xp, dy, x, w: plain.conv2d_input_grad(xp, dy, w, g),
        lambda dy, x, w: _torch_backward(g, dy, x, w, 0),
    )


def _weight_grad(g: ConvGeometry) -> Functions:
    return (
        lambda k, dy, x, w: k.conv2d_weight_grad(dy, x, g),
        lambda xp, dy, x, w: plain.conv2d_weight_grad(xp, dy, x, g),
        lambda dy, x, w: _torch_backward(g, dy, x, w, 1),
    )


def _torch_backward(g: ConvGeometry, dy: Any, x: Any, w: Any, which: int) -> Any:
    """PyTorch's gradient of x if which = 0, of w if which = 1."""
    mask = [which == 0, which == 1, False]
    settings = (None, g.stride, g.padding, g.dilation, False, (0, 0), g.groups, mask)
    return torch.ops.aten.convolution_backward(dy, x, w, *settings)[which]
