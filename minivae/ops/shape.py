"""Operations that move elements and compute nothing; each backward pass moves the gradient back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minivae.autograd import Function, Tensor
from minivae.autograd.tensor import as_tensor
from minivae.kernels import backend_of
from minivae.kernels.contract import Array

from .broadcast import sum_to_shape
from .reduce import normalize_axes


class Reshape(Function):
    def forward(self, x: Array, shape: tuple[int, ...]) -> Array:
        self.shape = x.shape
        return x.reshape(shape)

    def backward(self, dy: Array) -> Array:
        return dy.reshape(self.shape)


class Transpose(Function):
    def forward(self, x: Array, axes: tuple[int, ...]) -> Array:
        self.axes = axes
        return x.transpose(axes)

    def backward(self, dy: Array) -> Array:
        return dy.transpose(tuple(sorted(range(len(self.axes)), key=self.axes.__getitem__)))


class BroadcastTo(Function):
    def forward(self, x: Array, shape: tuple[int, ...]) -> Array:
        self.shape = x.shape
        return self.backend.xp.broadcast_to(x, shape)

    def backward(self, dy: Array) -> Array:
        return sum_to_shape(self, dy, self.shape)


class GetItem(Function):
    """x[index]. Slices never meet an element twice; arrays of indices may, and then its gradients add up."""

    def forward(self, x: Array, index: Any) -> Array:
        self.shape, self.index = x.shape, index
        return x[index]

    def backward(self, dy: Array) -> Array:
        xp = self.backend.xp
        if _is_basic(self.index):
            dx = xp.zeros(self.shape, dy.dtype)
            dx[self.index] = dy
            return dx
        size = int(np.prod(self.shape))
        positions = xp.arange(size).reshape(self.shape)[self.index].reshape(-1)
        return self.backend.segment_sum(dy.reshape(-1, 1), positions, size).reshape(self.shape)


class Gather(Function):
    def forward(self, x: Array, index: Array, axis: int) -> Array:
        self.shape, self.axis = x.shape, axis
        self.save(index)
        return self.backend.xp.take_along_axis(x, index, axis)

    def backward(self, dy: Array) -> Any:
        (index,) = self.saved
        xp = self.backend.xp
        size = int(np.prod(self.shape))
        positions = xp.take_along_axis(xp.arange(size).reshape(self.shape), index, self.axis).reshape(-1)
        return self.backend.segment_sum(dy.reshape(-1, 1), positions, size).reshape(self.shape), None


class Concatenate(Function):
    def forward(self, *arrays: Array, axis: int) -> Array:
        self.axis = axis
        return self.backend.xp.concatenate(arrays, axis)

    def backward(self, dy: Array) -> Any:
        gradients, start = [], 0
        for shape, dtype in self.inputs:
            stop = start + shape[self.axis]
            part = dy[(slice(None),) * self.axis + (slice(start, stop),)]
            gradients.append(part.astype(dtype, copy=False))
            start = stop
        return tuple(gradients)


class Pad(Function):
    def forward(self, x: Array, widths: tuple[tuple[int, int], ...], value: float) -> Array:
        self.inner = tuple(slice(before, before + n) for (before, _), n in zip(widths, x.shape, strict=True))
        y = self.backend.xp.full(tuple(n + sum(w) for n, w in zip(x.shape, widths, strict=True)), value, x.dtype)
        y[self.inner] = x
        return y

    def backward(self, dy: Array) -> Array:
        return dy[self.inner]


def _is_basic(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(p is None or p is Ellipsis or isinstance(p, (int, np.integer, slice)) for p in parts)


def reshape(x: Any, shape: int | Sequence[int]) -> Tensor:
    """x with another shape of the same size; one length may be -1. Elements are read in C order."""
    return Reshape.apply(x, shape=tuple(shape) if isinstance(shape, Sequence) else (shape,))


def flatten(x: Any, start_axis: int = 0) -> Tensor:
    """x with all axes from start_axis on made into one: (N, C, H, W) -> (N, C * H * W) for start_axis = 1."""
    x = as_tensor(x)
    if not 0 <= start_axis <= max(x.ndim - 1, 0):
        raise ValueError(f"flatten: start_axis {start_axis} does not fit shape {x.shape}")
    return reshape(x, (*x.shape[:start_axis], int(np.prod(x.shape[start_axis:]))))


def transpose(x: Any, axes: Sequence[int] | None = None) -> Tensor:
    """x with its axes permuted; reversed by default."""
    x = as_tensor(x)
    order = tuple(reversed(range(x.ndim))) if axes is None else tuple(a + x.ndim if a < 0 else a for a in axes)
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"transpose: axes {axes} are no permutation of the {x.ndim} axes of shape {x.shape}")
    return Transpose.apply(x, axes=order)


def broadcast_to(x: Any, shape: Sequence[int]) -> Tensor:
    """x repeated to this shape by NumPy's broadcasting."""
    return BroadcastTo.apply(x, shape=tuple(shape))


def getitem(x: Any, index: Any) -> Tensor:
    """x[index] with NumPy's meaning; index Tensors and arrays may repeat elements."""
    x = as_tensor(x)
    parts = index if isinstance(index, tuple) else (index,)
    parts = tuple(_index_array(x, p) if isinstance(p, (Tensor, np.ndarray, list)) else p for p in parts)
    return GetItem.apply(x, index=parts if isinstance(index, tuple) else parts[0])


def _index_array(x: Tensor, index: Any) -> Array:
    """Indices on x's device; those that are plain arrays or lists are brought there."""
    if isinstance(index, Tensor):
        backend_of(x._array, index._array)  # raises TypeError for arrays of different devices
        return index._array
    return x.backend.asarray(np.zeros(0, np.int64) if isinstance(index, list) and not index else np.asarray(index))


def gather(x: Any, index: Any, axis: int) -> Tensor:
    """y[i, j] = x[i, index[i, j]] for axis = 1, and likewise along any axis of any number of axes.

    index: integers of as many axes as x, of x's lengths except along `axis`. Raises TypeError for an index that is not
    of integers, IndexError for one out of range, ValueError for a shape that does not fit.
    """
    x, index = as_tensor(x), as_tensor(index)
    (axis,) = normalize_axes(axis, x.ndim)
    if index.dtype.kind not in "iu":
        raise TypeError(f"gather needs an index of integers, got {index.dtype}")
    lengths = [(a, b) for i, (a, b) in enumerate(zip(x.shape, index.shape, strict=False)) if i != axis]
    if index.ndim != x.ndim or any(a != b for a, b in lengths):
        raise ValueError(f"gather: index {index.shape} does not fit {x.shape} along axis {axis}")
    check_range("gather", index, x.shape[axis])
    return Gather.apply(x, index, axis=axis)


def check_range(name: str, index: Tensor, count: int) -> None:
    """IndexError unless all indices are in [0, count)."""
    if index.size:
        least, most = int(index.data.min()), int(index.data.max())
        if least < 0 or most >= count:
            raise IndexError(f"{name}: indices must be in [0, {count}), got {least} to {most}")


def cat(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """The Tensors one after another along an existing axis."""
    tensors = [as_tensor(t) for t in tensors]
    if not tensors:
        raise ValueError("cat needs at least one Tensor")
    (axis,) = normalize_axes(axis, tensors[0].ndim)
    shapes = [t.shape for t in tensors]
    if len({s[:axis] + s[axis + 1 :] for s in shapes}) != 1 or len({len(s) for s in shapes}) != 1:
        raise ValueError(f"cat along axis {axis}: all other lengths must agree, got {shapes}")
    return Concatenate.apply(*tensors, axis=axis)


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """The Tensors, all of one shape, along a new axis."""
    tensors = [as_tensor(t) for t in tensors]
    if len({t.shape for t in tensors}) != 1:
        raise ValueError(f"stack needs Tensors of one shape, got {[t.shape for t in tensors]}")
    (axis,) = normalize_axes(axis, tensors[0].ndim + 1)
    shape = tensors[0].shape
    return cat([reshape(t, (*shape[:axis], 1, *shape[axis:])) for t in tensors], axis)


def pad(x: Any, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """x with a border of `value`: widths has (before, after) for each of the last axes, as many as are given.

    pad(x, [(1, 1), (2, 0)]) adds a row above and below and two columns to the left of (..., H, W).
    """
    x = as_tensor(x)
    if len(widths) > x.ndim or any(len(w) != 2 or min(w) < 0 for w in widths):
        raise ValueError(
            f"pad: widths must be pairs of numbers >= 0, at most {x.ndim} for shape {x.shape}, got {widths}"
        )
    full = ((0, 0),) * (x.ndim - len(widths)) + tuple((int(a), int(b)) for a, b in widths)
    return Pad.apply(x, widths=full, value=value)
