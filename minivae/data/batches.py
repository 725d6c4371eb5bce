"""Mini-batches in a seeded order that can be saved and gone on with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from minivae.kernels.contract import Noise
from minivae.kernels.cpu import random_bits

ORDER = 0x0DE4 << 64 - 16  # xor-ed into the seed, so that the order shares no draws with other noise of that seed


class Batches:
    """One epoch of mini-batches each time it is iterated over.

    x: (N, ...) with N >= 1. The last batch holds what is left over. The order of epoch e is a permutation that depends
    on (seed, e) alone: the ranks of N random words, ties in order of place. Raises ValueError for no data or
    batch_size < 1.
    """

    def __init__(self, x: np.ndarray, batch_size: int, seed: int = 0, shuffle: bool = True) -> None:
        if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__"):
            raise TypeError(f"batch_size must be an int, got {batch_size!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if not len(x):
            raise ValueError(f"there is nothing to make batches of: the data has shape {x.shape}")
        self.x, self.batch_size, self.seed, self.shuffle = x, int(batch_size), seed, shuffle
        self.epoch, self.position = 0, 0  # the batch that comes next

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-len(self.x) // self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """The permutation of an epoch, (N,)."""
        if not self.shuffle:
            return np.arange(len(self.x))
        return np.argsort(random_bits(len(self.x), Noise(self.seed ^ ORDER, epoch)), kind="stable")

    def __iter__(self) -> Iterator[np.ndarray]:
        """The rest of the current epoch: all of it, unless a state from its middle was loaded."""
        order = self.order(self.epoch)
        while self.position < len(self):
            start = self.position * self.batch_size
            self.position += 1
            yield self.x[order[start : start + self.batch_size]]
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Seed, epoch and position in it."""
        return {"seed": self.seed, "epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the batch that would have come next."""
        self.seed, self.epoch, self.position = (int(state[k]) for k in ("seed", "epoch", "position"))


def check_finite(x: np.ndarray, name: str) -> None:
    """ValueError with the index of the first NaN or infinity in an array of floating numbers."""
    step = max(1, (1 << 22) // max(1, int(np.prod(x.shape[1:]))))
    for start in range(0, len(x), step):
        finite = np.isfinite(x[start : start + step])
        if not finite.all():
            first = np.argwhere(~finite)[0]
            index = (start + int(first[0]), *map(int, first[1:]))
            raise ValueError(f"{name} must be finite: there is {x[index]} at index {index}")
