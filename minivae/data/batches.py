"""Mini-batches in a seeded order that can be saved and gone on with."""

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

ORDER = 0x0DE4 << 48  # xor-ed into the seed, so that the order shares no draws with other noise of that seed
DIGEST_BLOCK = 1024  # examples that are made contiguous at once


class Batches:
    """One epoch of mini-batches each time it is iterated over: parts of x or, if y is given, pairs of parts of x and y.

    x: (N, ...) with N >= 1; y: (N, ...) or None. The order of epoch e is a permutation that depends on (seed, e) alone:
    the ranks of N random words, ties in order of place; without shuffle it is that of the data. The last batch holds
    what is left over, or is left out with drop_last. Iterating after a `break`, or after load_state_dict, goes on with
    the batch that would have come next.

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
        x, y = checks.array("x", x), None if y is None else checks.array("y", y)
        self.batch_size, self.seed = checks.integer("batch_size", batch_size, 1), checks.seed("seed", seed)
        self.shuffle, self.drop_last = checks.flag("shuffle", shuffle), checks.flag("drop_last", drop_last)
        if not x.ndim or not len(x):
            raise ValueError(f"there is nothing to make batches of: the data has shape {x.shape}")
        if y is not None and y.shape[:1] != x.shape[:1]:
            raise ValueError(f"x and y must be of one length, got {x.shape} and {y.shape}")
        if drop_last and len(x) < batch_size:
            raise ValueError(f"with drop_last {len(x)} examples make no batch of {batch_size}")
        self.x, self.y = x, y
        self.epoch, self.position = 0, 0  # of the batch that comes next

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.x) // self.batch_size if self.drop_last else -(-len(self.x) // self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """The permutation of an epoch, (N,)."""
        epoch = checks.integer("epoch", epoch, 0)
        if not self.shuffle:
            return np.arange(len(self.x))
        return np.argsort(random_bits(len(self.x), Noise(self.seed ^ ORDER, epoch)), kind="stable")

    def __iter__(self) -> Iterator[Any]:
        """The rest of the current epoch: all of it, unless it was begun before."""
        epoch, order = self.epoch, self.order(self.epoch)
        for position in range(self.position, len(self)):
            last = position + 1 == len(self)
            self.epoch, self.position = (epoch + 1, 0) if last else (epoch, position + 1)
            chosen = order[position * self.batch_size : (position + 1) * self.batch_size]
            yield self.x[chosen] if self.y is None else (self.x[chosen], self.y[chosen])

    @cached_property
    def digest(self) -> str:
        """Of x and y, see digest()."""
        return digest(self.x, self.y)

    def state_dict(self) -> dict[str, Any]:
        """Seed, epoch, position in it, and what gives them their meaning."""
        own = {"seed": self.seed, "epoch": self.epoch, "position": self.position}
        return {**own, "examples": len(self.x), "batch_size": self.batch_size, "digest": self.digest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the batch that would have come next.

        ValueError for another number of examples, another batch_size, data of another content or a batch that there
        is not.
        """
        mine = self.state_dict()
        checks.state("the batches", state, mine)
        for name in ("examples", "batch_size"):
            if state[name] != mine[name]:
                raise ValueError(f"the saved order has {name} = {state[name]}, these batches have {mine[name]}")
        if state["digest"] != self.digest:
            raise ValueError(f"the saved order is that of data of another content, of digest {short(state['digest'])}")
        seed, epoch = checks.seed("seed", state["seed"]), checks.integer("epoch", state["epoch"], 0)
        self.position = checks.integer("position", state["position"], 0, most=len(self) - 1)
        self.seed, self.epoch = seed, epoch


def range_text(low: float, high: float) -> str:
    """'0 to 254', the range of pixels that should lie in [0, 1], with what to do where they look like bytes."""
    hint = " (if that is 0 to 255, divide by 255)" if low >= 0 and 1 < high <= 255 else ""
    return f"{low:.6g} to {high:.6g}{hint}"


def digest(*arrays: np.ndarray | None) -> str:
    """SHA-256 of the shapes, dtypes and contents of arrays (N, ...), by which data is known again."""
    found = sha256()
    for array in arrays:
        if array is None:
            found.update(b"None")
            continue
        found.update(f"{array.shape} {array.dtype.str}".encode())
        for start in range(0, len(array), DIGEST_BLOCK):
            found.update(np.ascontiguousarray(array[start : start + DIGEST_BLOCK]).data)
    return found.hexdigest()


def images_as_floats(x: Any) -> np.ndarray:
    """x as an array of floating numbers; TypeError for other ones, with what to do about bytes."""
    x = checks.array("images", x, "biuf")
    if x.dtype.kind != "f":
        raise TypeError(f"images must be floating numbers, got {x.dtype}; for bytes use x / np.float32(255)")
    return x
