"""The source of all noise: one seed, one counter, and Philox4x32-10 behind them (see kernels/contract.py).

Every request for random numbers takes the next draw of the generator, a `Noise(seed, draw)`. Noise is a name, not an
array: whoever holds it can produce the same numbers again, on any device. So the state of the generator is two
integers, and a backward pass that needs its noise draws it anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from minivae.kernels import backend
from minivae.kernels.contract import Array, Noise


class Generator:
    """Hands out draws 0, 1, 2, ... of a seed. seed: an int in [0, 2^64), ValueError otherwise.

    offset: what Noise calls so; set while a step is captured into a CUDA graph (minivae/cuda.py).
    """

    offset: Array | None = None

    def __init__(self, seed: int = 0) -> None:
        self.manual_seed(seed)

    def manual_seed(self, seed: int) -> None:
        """Start again at draw 0 of this seed."""
        if isinstance(seed, bool) or not hasattr(seed, "__index__"):
            raise TypeError(f"seed must be an int, got {seed!r}")
        if not 0 <= int(seed) < 2**64:
            raise ValueError(f"seed must be in [0, 2**64), got {seed}")
        self.seed, self.draw = int(seed), 0

    def next(self) -> Noise:
        """The next draw."""
        noise = Noise(self.seed, self.draw, self.offset)
        self.draw += 1
        return noise

    def state_dict(self) -> dict[str, int]:
        """{'seed', 'draw'}: all there is."""
        return {"seed": self.seed, "draw": self.draw}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where state_dict() was taken."""
        self.manual_seed(int(state["seed"]))
        self.draw = int(state["draw"])

    def uniform(self, shape: tuple[int, ...], dtype: Any = np.float32, device: str = "cpu") -> Array:
        """Uniform in [0, 1)."""
        return backend(device).uniform(shape, np.dtype(dtype), self.next())

    def normal(self, shape: tuple[int, ...], dtype: Any = np.float32, device: str = "cpu") -> Array:
        """Standard normal."""
        return backend(device).normal(shape, np.dtype(dtype), self.next())

    def bernoulli(self, p: Array | float, shape: tuple[int, ...] | None = None, device: str = "cpu") -> Array:
        """True with probability p: a number for a given shape, or an array of probabilities, each for itself.

        An array on the host is brought to the device.
        """
        kernels = backend(device)
        if shape is None:
            p = kernels.asarray(p)
            shape = p.shape
        return kernels.uniform(shape, np.dtype(np.float32), self.next()) < p


default_generator = Generator(0)


def manual_seed(seed: int) -> None:
    """Seed all noise of minivae. Without a call the seed is 0: runs are reproducible unless someone asks otherwise."""
    default_generator.manual_seed(seed)


@contextmanager
def fork(seed: int) -> Iterator[None]:
    """Inside, all noise comes from draw 0 on of another seed; afterwards the generator goes on where it was.

    An evaluation in between training epochs thus always sees the same noise, and training does not notice it.
    """
    state = default_generator.state_dict()
    default_generator.manual_seed(seed)
    try:
        yield
    finally:
        default_generator.load_state_dict(state)
