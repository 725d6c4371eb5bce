"""One step of an optimiser, in place on all parameters in one launch, and the norm of all gradients (optim.cu).

The mathematics is in minivae/optim.py. This module prepares the memory: the elements of a parameter, of its gradient
and of its state (velocity, or m and v) must lie in the same order, and tables tell the kernels where all of them are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..contract import Array
from . import launcher
from .arrays import contiguous, empty, memory_order, xp, zeros
from .launcher import ceil_div
from .matrix import reduce_sum
from .parameters import PointerTable

MODULE = launcher.Module(Path(__file__).with_name("optim.cu"))
REGISTERS = {"sgd": 48, "adam": 80, "sum_squares": 40}

CHUNK = 4096
THREADS = 256


def sgd_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    velocities: Sequence[Array],
    lr: float | Array,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """Changes params p and velocities v in place: g' = g + weight_decay p;  v = momentum v + g';  p -= lr v.

    With nesterov the last step is p -= lr (g' + momentum v). Without momentum there are no velocities, and v is g'.
    `lr` may also be a float64 array of one element on the device, which is read when the kernel runs.
    """
    lr, live_lr = _number_or_live(lr)
    settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": bool(nesterov)}
    states = [velocities] if momentum else []
    for tensors in _by_dtype(params, grads, *states):
        together = _Together(*tensors)
        p, g, *v = together.tables
        kernel = MODULE.kernel("sgd", together.dtype)
        kernel[together.chunks, THREADS](p, g, *(v or [_Table([])]), *together.layout, live_lr, settings)
        together.write_back()


def adam_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    step: int | Array,
    lr: float | Array,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Changes params p and the moments m and v in place; `step` counts from 1 (Kingma & Ba 2014, algorithm 1).

    kernels/reference/optim.py has the formulas. `step` and `lr` may also be arrays of one element on the device, int64
    and float64, which are read when the kernel runs.
    """
    step, live_step = _number_or_live(step)
    lr, live_lr = _number_or_live(lr)
    settings = {"step": step, "lr": lr, "b1": betas[0], "b2": betas[1], "eps": eps, "weight_decay": weight_decay}
    settings["decoupled"] = bool(decoupled)
    for tensors in _by_dtype(params, grads, m, v):
        together = _Together(*tensors)
        kernel = MODULE.kernel("adam", together.dtype)
        kernel[together.chunks, THREADS](*together.tables, *together.layout, live_step, live_lr, settings)
        together.write_back()


def global_norm(arrays: Sequence[Array]) -> Array:
    """The Euclidean norm of all elements of all arrays together, a float64 array without axes."""
    total = zeros((), "float64")
    for (tensors,) in _by_dtype(arrays):
        together = _Together(tensors)
        sums = empty(together.chunks, "float64")
        kernel = MODULE.kernel("sum_squares", together.dtype)
        kernel[together.chunks, THREADS](*together.tables, *together.layout, sums)
        total += reduce_sum(sums, (0,), False)
    return xp().sqrt(total)


def _number_or_live(value: Any) -> tuple[Any, Array | None]:
    """(value, None) for a number, (0, value) for an array on the device, which the kernel reads instead of the 0."""
    return (0, value) if isinstance(value, launcher.engine().array_type) else (value, None)


def _by_dtype(*lists: Sequence[Array]) -> Iterator[tuple[list[Array], ...]]:
    """For each dtype: the lists, restricted to the tensors of that dtype that have elements."""
    tensors = [together for together in zip(*lists, strict=True) if together[0].size]
    for dtype in dict.fromkeys(first.dtype for first, *_ in tensors):
        yield tuple(map(list, zip(*(t for t in tensors if t[0].dtype == dtype), strict=True)))


class _Together:
    """Lists of tensors in the form that the kernels take: all k-th tensors have their elements in the same order.

    That is the order in which the k-th tensor of the first list lies in memory. A tensor that lies in another order, or
    has gaps, is copied. Kernels change the tensors of all lists but the second, the gradients; write_back() copies
    these changes back.
    """

    def __init__(self, *lists: Sequence[Array]) -> None:
        self.dtype = lists[0][0].dtype
        self._copies: list[tuple[Array, Array]] = []
        orders = [memory_order(tensor) for tensor in lists[0]]
        self.tables = [
            _Table([self._flat(x.transpose(order), which != 1) for x, order in zip(tensors, orders, strict=True)])
            for which, tensors in enumerate(lists)
        ]
        sizes = tuple(tensor.size for tensor in lists[0])
        first_chunk = [0]
        for size in sizes:
            first_chunk.append(first_chunk[-1] + ceil_div(size, CHUNK))
        self.chunks = first_chunk[-1]
        self.layout = (_on_device(sizes, "int64"), _on_device(tuple(first_chunk), "int64"), len(sizes))

    def write_back(self) -> None:
        """Copies the changed copies back to the tensors that they were made from."""
        for tensor, copy in self._copies:
            tensor[...] = copy

    def _flat(self, tensor: Array, changes: bool) -> Array:
        if tensor.flags.c_contiguous:
            return tensor
        copy = contiguous(tensor)
        if changes:
            self._copies.append((tensor, copy))
        return copy


class _Table(PointerTable):
    """A table of addresses that is uploaded only once for the same addresses.

    There are few different tables: parameters and moments stay where they are, and the memory pool gives the gradients
    of one step the same addresses as those of the step before. A captured graph has tables of its own, which live as
    long as the graph.
    """

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = tuple(arrays)  # kept alive for this launch; the cache holds only addresses
        self.addresses = _on_device(tuple(map(launcher.engine().address, arrays)), "uint64")


def _on_device(numbers: tuple[int, ...], dtype: str) -> Array:
    """An array (n,) of these numbers on the device. Equal numbers share one array, except while a graph is captured."""
    engine: Any = launcher.engine()
    if engine.capturing:
        return engine.upload(np.array(numbers, dtype))
    return _uploaded(engine, engine.device(), numbers, dtype)


@lru_cache(maxsize=256)
def _uploaded(engine: Any, device: int, numbers: tuple[int, ...], dtype: str) -> Array:
    return engine.upload(np.array(numbers, dtype))
