"""Operations that move elements and compute nothing; each backward pass moves the gradient back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minivae.autograd import Function, Tensor
from minivae.autograd.tensor import as_tensor
from minivae.kernels import backend_of, checks
from minivae.kernels.contract import Array

from .arguments import as_index
from .broadcast import sum_to_shape
from .reduce import normalize_axes, normalize_axis, one_axis_argument


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
    """y = x[index]. Slices never meet an element twice; arrays of indices may, and then its gradients add up."""

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
    """Return x with another shape of the same size; one length may be -1. Elements are read in C order."""
    several = isinstance(shape, (tuple, list))
    lengths = checks.integers("shape", shape, -1) if several else (checks.integer("shape", shape, -1),)
    if lengths.count(-1) > 1:
        raise ValueError(f"reshape: only one length may be -1, got {lengths}")
    return Reshape.apply(as_tensor(x), shape=lengths)


def flatten(x: Any, start_axis: int = 0) -> Tensor:
    """Join all axes from start_axis on into one: (N, C, H, W) -> (N, C * H * W) for start_axis = 1."""
    x, start_axis = as_tensor(x), checks.integer("start_axis", start_axis)
    if not 0 <= start_axis <= max(x.ndim - 1, 0):
        raise ValueError(f"flatten: start_axis {start_axis} does not fit shape {x.shape}")
    return reshape(x, (*x.shape[:start_axis], int(np.prod(x.shape[start_axis:]))))


def transpose(x: Any, axes: Sequence[int] | None = None) -> Tensor:
    """Return x with its axes permuted, in reverse order by default."""
    x = as_tensor(x)
    if axes is None:
        return Transpose.apply(x, axes=tuple(reversed(range(x.ndim))))
    order = tuple([a + x.ndim if a < 0 else a for a in checks.integers("axes", axes)])
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"transpose: axes {axes} are no permutation of the {x.ndim} axes of shape {x.shape}")
    return Transpose.apply(x, axes=order)


def squeeze(x: Any, axis: int | tuple[int, ...] | None = None, *, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Remove the axes given, which must have length 1 (else ValueError), or by default all axes of length 1."""
    x, axis = as_tensor(x), one_axis_argument(axis, dim)
    axes = [i for i, n in enumerate(x.shape) if n == 1] if axis is None else normalize_axes(axis, x.ndim)
    if longer := [i for i in axes if x.shape[i] != 1]:
        raise ValueError(f"squeeze: an axis must have length 1, got axis {longer[0]} of shape {x.shape}")
    return reshape(x, tuple([n for i, n in enumerate(x.shape) if i not in axes]))


def unsqueeze(x: Any, axis: int | None = None, *, dim: int | None = None) -> Tensor:
    """Insert an axis of length 1 at this place: (N, C) -> (N, 1, C) for axis = 1, and (N, C, 1) for axis = -1."""
    x, axis = as_tensor(x), checks.integer("axis", one_axis_argument(axis, dim))
    if not -x.ndim - 1 <= axis <= x.ndim:
        raise ValueError(f"unsqueeze: shape {x.shape} has no place {axis} for a new axis")
    axis %= x.ndim + 1
    return reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))


def broadcast_to(x: Any, shape: Sequence[int]) -> Tensor:
    """Repeat x to this shape by NumPy's broadcasting."""
    x, lengths = as_tensor(x), checks.integers("shape", shape, 0)
    if len(lengths) < x.ndim:
        raise ValueError(f"broadcast_to: shape {x.shape} does not broadcast to {lengths}")
    return BroadcastTo.apply(x, shape=lengths)


def getitem(x: Any, index: Any) -> Tensor:
    """Return x[index] with NumPy's meaning; index Tensors and arrays may repeat elements.

    Raises TypeError for anything but an index, and IndexError, which Python's protocols want, for one out of range.
    """
    x = as_tensor(x)
    parts = tuple([_index_part(x, p) for p in (index if isinstance(index, tuple) else (index,))])
    return GetItem.apply(x, index=parts if isinstance(index, tuple) else parts[0])


def _index_part(x: Tensor, part: Any) -> Any:
    """Return one part of an index: slices and the like as they are, arrays on x's device."""
    if part is None or part is Ellipsis or isinstance(part, (int, np.integer, np.bool_, slice)):
        return part
    if isinstance(part, (Tensor, np.ndarray, list)) or hasattr(type(part), "__cuda_array_interface__"):
        return _index_array(x, part)
    raise TypeError(f"an index is made of ints, slices and arrays of integers or booleans, got {checks.shown(part)}")


def _index_array(x: Tensor, index: Any) -> Array:
    """Return indices on x's device; plain arrays and lists are brought there."""
    if isinstance(index, list) and not index:
        return x.backend.asarray(np.zeros(0, np.int64))
    if isinstance(index, Tensor):
        backend_of(x._array, index._array)  # raises TypeError for arrays of different devices
        index = index._array.copy()  # the caller may change it before the backward pass
    if isinstance(index, (np.ndarray, list)):
        return x.backend.asarray(checks.array("an index", index, "biu").copy())
    if backend_of(x._array, index) and index.dtype.kind in "biu":
        return index
    raise TypeError(f"an index must be of integers or booleans, got {checks.shown(index)}")


def gather(x: Any, index: Any, axis: int | None = None, *, dim: int | None = None) -> Tensor:
    """Return y with y[i, j] = x[i, index[i, j]] for axis = 1, and likewise along any axis of any number of axes.

    index: integers, with as many axes as x and the same lengths except along `axis`. Raises TypeError for an index that
    is not of integers, ValueError for one out of range or a shape that does not fit.
    """
    x, index = as_tensor(x), as_tensor(index)
    axis = normalize_axis(one_axis_argument(axis, dim), x.ndim)
    lengths = [(a, b) for i, (a, b) in enumerate(zip(x.shape, index.shape, strict=False)) if i != axis]
    if index.ndim != x.ndim or any(a != b for a, b in lengths):
        raise ValueError(f"gather: index {index.shape} does not fit {x.shape} along axis {axis}")
    return Gather.apply(x, as_index("gather", index, x.shape[axis]), axis=axis)


def cat(tensors: Sequence[Any], axis: int = 0, *, dim: int | None = None) -> Tensor:
    """Join Tensors one after another along an existing axis."""
    tensors, axis = _several("cat", tensors), one_axis_argument(axis, dim, 0)
    axis = normalize_axis(axis, tensors[0].ndim)
    shapes = [t.shape for t in tensors]
    if len({s[:axis] + s[axis + 1 :] for s in shapes}) != 1 or len({len(s) for s in shapes}) != 1:
        raise ValueError(f"cat along axis {axis}: all other lengths must agree, got {shapes}")
    return Concatenate.apply(*tensors, axis=axis)


def stack(tensors: Sequence[Any], axis: int = 0, *, dim: int | None = None) -> Tensor:
    """Join Tensors of one shape along a new axis."""
    tensors, axis = _several("stack", tensors), one_axis_argument(axis, dim, 0)
    if len({t.shape for t in tensors}) != 1:
        raise ValueError(f"stack needs Tensors of one shape, got {[t.shape for t in tensors]}")
    axis = normalize_axis(axis, tensors[0].ndim + 1)
    return cat([unsqueeze(t, axis) for t in tensors], axis)


def _several(name: str, tensors: Any) -> list[Tensor]:
    """Return a sequence of arrays as Tensors, at least one of them."""
    if not isinstance(tensors, (list, tuple)):
        raise TypeError(f"{name} needs a list or a tuple of Tensors, got {checks.shown(tensors)}")
    if not tensors:
        raise ValueError(f"{name} needs at least one Tensor, got {tensors}")
    return [as_tensor(t) for t in tensors]


def pad(x: Any, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """Add a border of `value` to x: widths has (before, after) for each of the last axes, as many as are given.

    pad(x, [(1, 1), (2, 0)]) adds a row above and below and two columns to the left of (..., H, W).
    """
    x = as_tensor(x)
    if not isinstance(widths, (list, tuple)):
        raise TypeError(f"pad: widths must be a list of pairs (before, after), got {checks.shown(widths)}")
    if len(widths) > x.ndim:
        raise ValueError(f"pad: there must be at most {x.ndim} widths for shape {x.shape}, got {widths}")
    pairs = [checks.integers("widths", w, 0, count=2) for w in widths]
    value = checks.number("value", value, "[-inf, inf]")
    if x.dtype.kind != "f" and value != (np.dtype(x.dtype).type(value) if np.isfinite(value) else None):
        raise ValueError(f"pad: the value {value} is no {x.dtype}")
    full = ((0, 0),) * (x.ndim - len(widths)) + tuple([(before, after) for before, after in pairs])
    checks.elements("pad: an output", tuple([n + sum(w) for n, w in zip(x.shape, full, strict=True)]))
    return Pad.apply(x, widths=full, value=value)
