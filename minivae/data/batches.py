"""Mini-batches in a seeded order that can be saved and continued."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from hashlib import sha256
from reprlib import repr as short
from typing import Any

import numpy as np

from minivae.kernels import checks
from minivae.kernels.contract import Noise
from minivae.kernels.reference import random_bits

from .lazy import LazyArray, in_memory

ORDER = 0x0DE4 << 48  # xor-ed into the seed, so that the order is independent of all other noise from that seed
DIGEST_BLOCK = 1024  # examples that digest() copies into contiguous memory at a time


class Batches:
    """Each iteration over a Batches object yields one epoch of mini-batches.

    A batch is x[chosen] or, if y is given, the pair (x[chosen], y[chosen]). x: (N, ...) with N >= 1, an array or a
    LazyArray, of which each batch reads its own examples; y: (N, ...) or None. The order of epoch e depends on (seed,
    e) alone: it is the stable argsort of N random words. Without `shuffle` it is the order of the data. The last batch
    holds the examples that are left over; `drop_last` omits it if it is short. After a `break`, or after
    load_state_dict(), the next iteration continues with the batch that comes next.

    An iteration is take(chosen()) again and again. Whoever needs a part of each batch, as one of several processes
    does, calls chosen() for the indices of the whole batch and take() with some of them.

    Raises ValueError for no data, x and y of different lengths, batch_size < 1, drop_last with fewer than batch_size
    examples, or a seed outside [0, 2^64); TypeError where an int is expected.
    """

    def __init__(
        self,
        x: np.ndarray,
        batch_size: int,
        seed: int = 0,
        y: np.ndarray | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> None:
        x = x if isinstance(x, LazyArray) else checks.array("x", x)
        y = None if y is None else checks.array("y", y)
        self.batch_size, self.seed = checks.integer("batch_size", batch_size, 1), checks.seed("seed", seed)
        self.shuffle, self.drop_last = checks.flag("shuffle", shuffle), checks.flag("drop_last", drop_last)
        if not x.ndim or not len(x):
            raise ValueError(f"batches need at least one example, got x of shape {x.shape}")
        if y is not None and y.shape[:1] != x.shape[:1]:
            raise ValueError(f"x and y must have the same length, got {x.shape} and {y.shape}")
        if drop_last and len(x) < batch_size:
            raise ValueError(f"with drop_last there must be at least {batch_size} examples for a batch, got {len(x)}")
        self.x, self.y = x, y
        self.epoch, self.position = 0, 0  # which batch comes next
        self._order: tuple[Any, np.ndarray] | None = None  # of the epoch that chosen() is in, and which one that is

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self.x) // self.batch_size if self.drop_last else -(-len(self.x) // self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """The order of an epoch: the indices of all examples, (N,)."""
        epoch = checks.integer("epoch", epoch, 0)
        if not self.shuffle:
            return np.arange(len(self.x))
        return np.argsort(random_bits(len(self.x), Noise(self.seed ^ ORDER, epoch)), kind="stable")

    def chosen(self) -> np.ndarray:
        """Return the indices of the examples of the next batch, (n,) int64, and go on to the batch after it."""
        key = self.seed, self.epoch
        if self._order is None or self._order[0] != key:
            self._order = key, self.order(self.epoch)
        start = self.position * self.batch_size
        last = self.position + 1 == len(self)
        self.epoch, self.position = (self.epoch + 1, 0) if last else (self.epoch, self.position + 1)
        return self._order[1][start : start + self.batch_size]

    def take(self, indices: np.ndarray) -> Any:
        """Return the examples at these indices, ints (n,), as a batch: x[indices] or (x[indices], y[indices]).

        Raises TypeError unless they are ints, ValueError for another shape and for those that are not in [0, N).
        """
        indices, N = checks.array("indices", indices, "iu"), len(self.x)
        if indices.ndim != 1:
            raise ValueError(f"indices must have shape (n,), got {indices.shape}")
        if indices.size and not 0 <= indices.min() <= indices.max() < N:
            raise ValueError(f"indices must be in [0, {N}), got {indices.min()} to {indices.max()}")
        return self.x[indices] if self.y is None else (self.x[indices], self.y[indices])

    def __iter__(self) -> Iterator[Any]:
        """Yield the remaining batches of the current epoch."""
        for chosen in self.indices():
            yield self.take(chosen)

    def indices(self) -> Iterator[np.ndarray]:
        """Yield the indices of the examples of each remaining batch of the current epoch."""
        epoch = self.epoch
        while self.epoch == epoch:
            yield self.chosen()

    @cached_property
    def digest(self) -> str:
        """digest(x, y)."""
        return digest(self.x, self.y)

    def state_dict(self) -> dict[str, Any]:
        """The seed, epoch and position, and what they refer to: number of examples, batch size, digest of the data."""
        own = {"seed": self.seed, "epoch": self.epoch, "position": self.position}
        return {**own, "examples": len(self.x), "batch_size": self.batch_size, "digest": self.digest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the batch that came next when the state was saved.

        Raises ValueError if the number of examples, the batch size or the content of the data differs, or if the epoch
        has no batch at that position.
        """
        mine = self.state_dict()
        checks.state("the batches", state, mine)
        for name in ("examples", "batch_size"):
            if state[name] != mine[name]:
                raise ValueError(f"the saved order has {name} = {state[name]}, these batches have {mine[name]}")
        if state["digest"] != self.digest:
            raise ValueError(f"the saved order belongs to data of another content, digest {short(state['digest'])}")
        seed, epoch = checks.seed("seed", state["seed"]), checks.integer("epoch", state["epoch"], 0)
        self.position = checks.integer("position", state["position"], 0, most=len(self) - 1)
        self.seed, self.epoch = seed, epoch


def range_text(low: float, high: float) -> str:
    """'0 to 254 (if that is 0 to 255, divide by 255)': a range of pixels, with advice if they look like bytes."""
    hint = " (if that is 0 to 255, divide by 255)" if low >= 0 and 1 < high <= 255 else ""
    return f"{low:.6g} to {high:.6g}{hint}"


def digest(*arrays: np.ndarray | None) -> str:
    """The SHA-256 of the shapes, dtypes and contents of arrays (N, ...), in hexadecimal; it identifies data.

    Of a LazyArray only the contents of its sample() are read, at most 4,096 examples at even distances. One that is no
    larger has the digest of the same examples in memory; in a larger one a change elsewhere is not noticed.
    """
    found = sha256()
    for array in arrays:
        if array is None:
            found.update(b"None")
            continue
        found.update(f"{array.shape} {array.dtype.str}".encode())
        contents = in_memory(array)
        for start in range(0, len(contents), DIGEST_BLOCK):
            found.update(np.ascontiguousarray(contents[start : start + DIGEST_BLOCK]).data)
    return found.hexdigest()


def images_as_floats(x: Any) -> np.ndarray:
    """x as a floating-point array; the TypeError for other dtypes says how to convert bytes."""
    x = checks.array("images", x, "biuf")
    if x.dtype.kind != "f":
        raise TypeError(f"images must be floating-point numbers, got {x.dtype}; for bytes use x / np.float32(255)")
    return x
