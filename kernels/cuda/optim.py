"""One step of an optimiser, in place on all parameters in one launch, and the norm of all gradients (optim.cu).

The mathematics is in minivae/optim.py. What is done here is to find the memory: the elements of a parameter, its
gradient and its state must lie in the same order, and the kernels are told by tables where that memory is.
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
    """In place on params and velocities: g += weight_decay * p; v = momentum * v + g; p -= lr * v.

    With nesterov p -= lr * (g + momentum * v). Without momentum velocities is empty and v is g. `lr` may be a float64
    array of one element on the device, read when the kernel runs.
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
    """In place on params and the moments m and v; `step` counts from 1 (Kingma & Ba 2014, algorithm 1).

    `step` and `lr` may be arrays of one element on the device, int64 and float64, read when the kernel runs.
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
    """The Euclidean norm of all elements of all arrays together, (); squares are summed in float64."""
    total = zeros((), "float64")
    for (tensors,) in _by_dtype(arrays):
        together = _Together(tensors)
        sums = empty(together.chunks, "float64")
        kernel = MODULE.kernel("sum_squares", together.dtype)
        kernel[together.chunks, THREADS](*together.tables, *together.layout, sums)
        total += reduce_sum(sums, (0,), False)
    return xp().sqrt(total)


def _number_or_live(value: Any) -> tuple[Any, Array | None]:
    """A number and no array, or an array on the device and a number that nobody reads."""
    return (0, value) if isinstance(value, launcher.engine().array_type) else (value, None)


def _by_dtype(*lists: Sequence[Array]) -> Iterator[tuple[list[Array], ...]]:
    """The lists again for each dtype among them, without tensors that have no elements."""
    tensors = [together for together in zip(*lists, strict=True) if together[0].size]
    for dtype in dict.fromkeys(first.dtype for first, *_ in tensors):
        yield tuple(map(list, zip(*(t for t in tensors if t[0].dtype == dtype), strict=True)))


class _Together:
    """Lists of tensors as the kernels take them: the k-th of each list with its elements in one and the same order.

    That order is the one in which those of the first list lie in memory. What lies there in another order, or has gaps,
    is copied. The copies of what a kernel changes, all lists but the second, the gradients, must be written back.
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
        """What the kernel did to copies, to the tensors themselves."""
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
    """A table of addresses that is uploaded once for the same addresses.

    There are few: parameters and moments stay where they are, and a pool of memory gives the gradients of one step the
    same places as those of the step before. A captured graph has tables of its own, which it keeps as long as it lives.
    """

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = tuple(arrays)  # of this launch: the cache keeps addresses, but no gradient alive
        self.addresses = _on_device(tuple(map(launcher.engine().address, arrays)), "uint64")


def _on_device(numbers: tuple[int, ...], dtype: str) -> Array:
    """An array of these numbers on the device, the same one each time unless they are for a graph."""
    engine: Any = launcher.engine()
    if engine.capturing:
        return engine.upload(np.array(numbers, dtype))
    return _uploaded(engine, engine.device(), numbers, dtype)


@lru_cache(maxsize=256)
def _uploaded(engine: Any, device: int, numbers: tuple[int, ...], dtype: str) -> Array:
    return engine.upload(np.array(numbers, dtype))
