"""Reductions over axes, and the soft maximum in its three forms.

logsumexp(x) = log sum exp(x) is computed as m + log sum exp(x - m) with m = max(x). So the largest term is exp(0) = 1:
nothing overflows, and the sum cannot underflow to 0. Its derivative is softmax(x) = exp(x) / sum exp(x), and
log_softmax(x) = x - logsumexp(x).

`axis` is NumPy's word, and `dim`, PyTorch's, means the same. Giving both raises TypeError, unless axis is its default.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from minivae.autograd import Function, Tensor
from minivae.autograd.dtypes import DIFFERENTIABLE
from minivae.autograd.tensor import as_tensor
from minivae.kernels.checks import flag, integer, shown
from minivae.kernels.contract import Array

from .arguments import floats

Axis = int | tuple[int, ...] | None


def one_axis_argument(axis: Any, dim: Any, default: Any = None) -> Any:
    """Return the axis, given as NumPy's `axis` or as PyTorch's `dim`. Raise TypeError if both are given."""
    if dim is None:
        return axis
    if axis is not default:
        raise TypeError(f"axis and dim are two names of one argument, got axis={shown(axis)} and dim={shown(dim)}")
    return dim


def normalize_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Return axes as ascending non-negative numbers; None means all. Raise ValueError for unknown or repeated ones."""
    if axis is None:
        return tuple(range(ndim))
    axes = [integer("axis", a) for a in (axis if isinstance(axis, (tuple, list)) else (axis,))]
    found = sorted([a + ndim if a < 0 else a for a in axes])
    if any(not 0 <= a < ndim for a in found) or len(set(found)) != len(found):
        raise ValueError(f"axis {axis} does not fit an array with {ndim} axes")
    return tuple(found)


def normalize_axis(axis: int, ndim: int) -> int:
    """Return an axis as a non-negative number. Raise TypeError unless it is an int, ValueError if it does not exist."""
    return normalize_axes(integer("axis", axis), ndim)[0]


def _kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


class Sum(Function):
    def forward(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        self.shape, self.axes = x.shape, axes
        return self.backend.reduce_sum(x, axes, keepdims)

    def backward(self, dy: Array) -> Array:
        xp = self.backend.xp
        return xp.broadcast_to(dy.reshape(_kept(self.shape, self.axes)), self.shape)


class Extreme(Function):
    """It takes the largest or smallest element, by the name 'max' or 'min'; equal ones share the gradient equally."""

    def forward(self, x: Array, axes: tuple[int, ...], keepdims: bool, name: str) -> Array:
        y = getattr(x, name)(axis=axes, keepdims=True)
        self.save(x, y)
        self.axes = axes
        return y if keepdims else y.reshape(tuple(n for i, n in enumerate(x.shape) if i not in axes))

    def backward(self, dy: Array) -> Array:
        x, y = self.saved
        chosen = x == y
        share = chosen.sum(axis=self.axes, keepdims=True).astype(dy.dtype)
        return chosen * (dy.reshape(y.shape) / share)


class LogSumExp(Function):
    def forward(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        xp = self.backend.xp
        m = x.max(axis=axes, keepdims=True)
        m = xp.where(xp.isfinite(m), m, 0)  # all -inf: log 0 = -inf; any +inf: inf
        with np.errstate(divide="ignore"):
            y = m + xp.log(self.backend.reduce_sum(xp.exp(x - m), axes, True))
        self.save(x, y)
        return y if keepdims else y.reshape(tuple(n for i, n in enumerate(x.shape) if i not in axes))

    def backward(self, dy: Array) -> Array:
        x, y = self.saved
        return dy.reshape(y.shape) * self.backend.xp.exp(x - y)


class Softmax(Function):
    """y = exp(x - m) / sum exp(x - m). dy_j/dx_i = y_j (1 if i = j else 0) - y_j y_i, hence dx = y (dy - <dy, y>)."""

    def forward(self, x: Array, axis: int) -> Array:
        y = self.backend.xp.exp(x - x.max(axis=axis, keepdims=True))
        y /= self.backend.reduce_sum(y, (axis,), True)
        self.save(y)
        self.axis = axis
        return y

    def backward(self, dy: Array) -> Array:
        (y,) = self.saved
        return y * (dy - self.backend.reduce_sum(dy * y, (self.axis,), True))


class LogSoftmax(Function):
    """y = x - logsumexp(x); dx = dy - softmax(x) sum(dy)."""

    def forward(self, x: Array, axis: int) -> Array:
        xp = self.backend.xp
        y = x - x.max(axis=axis, keepdims=True)
        y -= xp.log(self.backend.reduce_sum(xp.exp(y), (axis,), True))
        self.save(y)
        self.axis = axis
        return y

    def backward(self, dy: Array) -> Array:
        (y,) = self.saved
        return dy - self.backend.xp.exp(y) * self.backend.reduce_sum(dy, (self.axis,), True)


def sum(x: Any, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None) -> Tensor:
    """Sum over the axes given, all by default. Integers and booleans are summed as NumPy does, as long integers."""
    x = as_tensor(x)
    axes, keepdims = normalize_axes(one_axis_argument(axis, dim), x.ndim), flag("keepdims", keepdims)
    if x.dtype not in DIFFERENTIABLE:
        xp = x.backend.xp
        return Tensor.wrap(xp.asarray(x.data.sum(axis=axes, keepdims=keepdims)))
    return Sum.apply(x, axes=axes, keepdims=keepdims)


def mean(x: Any, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None) -> Tensor:
    """Return the mean over the axes given, all by default. Raise ValueError where there is nothing to average."""
    x, axis = as_tensor(x), one_axis_argument(axis, dim)
    count = prod([x.shape[a] for a in normalize_axes(axis, x.ndim)])
    if not count:
        raise ValueError(f"mean over axis {axis} of shape {x.shape}: there are no elements")
    return sum(x, axis, keepdims) / count


def max(x: Any, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None) -> Tensor:
    """Return the largest element over the axes given, all by default; ties share the gradient.

    Raises ValueError on empty axes.
    """
    return _extreme("max", x, one_axis_argument(axis, dim), keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None) -> Tensor:
    """Return the smallest element over the axes given, all by default; ties share the gradient.

    Raises ValueError on empty axes.
    """
    return _extreme("min", x, one_axis_argument(axis, dim), keepdims)


def _extreme(name: str, x: Any, axis: Axis, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    axes = _filled_axes(name, x, axis)
    return Extreme.apply(x, axes=axes, keepdims=flag("keepdims", keepdims), name=name)


def argmax(x: Any, axis: int | None = None, keepdims: bool = False, *, dim: int | None = None) -> Tensor:
    """Return the index of the largest element along one axis, int64; the first of equal ones. Without an axis it is the
    index in the flattened array. It has no gradient. Raise ValueError on empty axes."""
    x, axis = as_tensor(x), one_axis_argument(axis, dim)
    axes = _filled_axes("argmax", x, axis if axis is None else normalize_axis(axis, x.ndim))
    xp, keepdims = x.backend.xp, flag("keepdims", keepdims)
    found = xp.asarray(x._array.argmax(None if axis is None else axes[0])).astype(np.int64)
    return Tensor.wrap(found.reshape(_kept(x.shape, axes)) if keepdims else found)


def _filled_axes(name: str, x: Tensor, axis: Axis) -> tuple[int, ...]:
    """Return normalize_axes(); raise ValueError where an axis is empty."""
    axes = normalize_axes(axis, x.ndim)
    if any(x.shape[a] == 0 for a in axes):
        raise ValueError(f"{name} over axis {axis} of shape {x.shape}: there are no elements")
    return axes


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None) -> Tensor:
    """Return log sum exp(x) over the axes given, all by default."""
    x, axis = floats("logsumexp", x), one_axis_argument(axis, dim)
    return LogSumExp.apply(x, axes=_filled_axes("logsumexp", x, axis), keepdims=flag("keepdims", keepdims))


def softmax(x: Any, axis: int = -1, *, dim: int | None = None) -> Tensor:
    """Return exp(x) / sum exp(x) along one axis."""
    x, axis = floats("softmax", x), one_axis_argument(axis, dim, -1)
    return Softmax.apply(x, axis=_filled_axes("softmax", x, normalize_axis(axis, x.ndim))[0])


def log_softmax(x: Any, axis: int = -1, *, dim: int | None = None) -> Tensor:
    """Return x - logsumexp(x) along one axis."""
    x, axis = floats("log_softmax", x), one_axis_argument(axis, dim, -1)
    return LogSoftmax.apply(x, axis=_filled_axes("log_softmax", x, normalize_axis(axis, x.ndim))[0])
