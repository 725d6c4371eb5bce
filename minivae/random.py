"""The source of all noise: a seed, a counter of draws, and the generator Philox4x32-10 (kernels/reference/random.py).

Philox is a function of (seed, draw, position) without any state. So every request for random numbers takes the next
draw of a Generator, and what it gets is a name, `Noise(seed, draw)`. Whoever holds the name can make the same numbers
again, on any device. The state of a generator is therefore two integers, and a backward pass draws its noise again
instead of saving it.

Noise comes from the default generator, which manual_seed() seeds and all threads share, unless the code runs
inside use_generator() or fork(). Those hold only for the thread (or the asyncio task) that is inside: threads with
generators of their own do not disturb each other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from minivae.kernels import backend, checks
from minivae.kernels.contract import Array, Noise
from minivae.shards import current_shard

_lock = threading.RLock()  # so that no draw is handed out twice
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class Generator:
    """It hands out draws 0, 1, 2, ... of a seed. seed: an int in [0, 2^64), otherwise ValueError.

    offset: the offset of each Noise, set while a step is captured into a CUDA graph (kernels/cuda/steps.py).
    """

    offset: Array | None = None

    def __init__(self, seed: int = 0) -> None:
        self.manual_seed(seed)

    def manual_seed(self, seed: int) -> None:
        """Start again at draw 0 of this seed."""
        self.seed, self.draw = checks.seed("seed", seed), 0

    def next(self) -> Noise:
        """Return the next draw."""
        with _lock:
            noise = Noise(self.seed, self.draw, self.offset)
            self.draw += 1
        return noise

    def copy(self) -> Generator:
        """Return a Generator that goes on from here by itself."""
        other = Generator(self.seed)
        other.draw, other.offset = self.draw, self.offset
        return other

    def state_dict(self) -> dict[str, int]:
        """Return seed and draw by name, which is the whole state."""
        return {"seed": self.seed, "draw": self.draw}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where state_dict() was taken."""
        checks.state("the generator", state, ("seed", "draw"))
        seed, draw = checks.seed("seed", state["seed"]), checks.seed("draw", state["draw"])
        self.seed, self.draw = seed, draw

    def uniform(self, shape: tuple[int, ...], dtype: Any = np.float32, device: str = "cpu") -> Array:
        """Return uniform random numbers in [0, 1)."""
        return self._draw("uniform", shape, dtype, device)

    def normal(self, shape: tuple[int, ...], dtype: Any = np.float32, device: str = "cpu") -> Array:
        """Return standard normal random numbers."""
        return self._draw("normal", shape, dtype, device)

    def _draw(self, distribution: str, shape: tuple[int, ...], dtype: Any, device: str) -> Array:
        """Draw numbers. Raise TypeError or ValueError for a wrong shape, dtype (not float32 or float64) or device."""
        shape = checks.elements("an array", checks.integers("shape", shape, 0))
        dtype, kernels = checks.float_dtype("dtype", dtype), backend(device)
        return getattr(kernels, distribution)(shape, dtype, self.next())

    def bernoulli(self, p: Array | float, shape: tuple[int, ...] | None = None, device: str = "cpu") -> Array:
        """Return booleans that are True with probability p: a number for a given shape, or an array of probabilities.

        An array on the host is brought to the device. Raises ValueError for p outside [0, 1] (on the host), or for both
        an array and a shape.
        """
        kernels = backend(device)
        if shape is not None:
            return self._draw("uniform", shape, np.float32, device) < checks.number("p", p, "[0, 1]")
        probabilities: Any = p
        if not hasattr(type(p), "__cuda_array_interface__"):
            array = checks.array("p", p, "f")
            if array.size and not (array.min() >= 0 and array.max() <= 1):
                raise ValueError(f"p must be probabilities in [0, 1], got {array.min()} to {array.max()}")
            probabilities = kernels.asarray(array)
        return kernels.uniform(probabilities.shape, np.dtype(np.float32), self.next()) < probabilities


default_generator = Generator(0)
_chosen: ContextVar[Generator | None] = ContextVar("generator", default=None)


def current_generator() -> Generator:
    """Return the generator that noise comes from here: of the innermost use_generator() or fork(), else the default."""
    chosen = _chosen.get()
    return default_generator if chosen is None else chosen


def noise_or_next(noise: Noise | None) -> Noise:
    """Return noise itself or, for None, the next draw of minivae's generator. Raise TypeError for anything else.

    The next draw is that of arrays (N, ...) of the examples of a batch: each shard gets the part of its examples.
    """
    if noise is None:
        return current_generator().next()._replace(example=current_shard().first)
    if not isinstance(noise, Noise):
        raise TypeError(f"noise must be a Noise(seed, draw) or None, got {checks.shown(noise)}")
    checks.seed("noise.seed", noise.seed), checks.seed("noise.draw", noise.draw)
    return noise


def manual_seed(seed: int) -> None:
    """Seed the default generator, hence all noise that has no generator of its own.

    Without a call the seed is 0: runs are reproducible unless someone asks otherwise.
    """
    default_generator.manual_seed(seed)


@contextmanager
def use_generator(generator: Generator) -> Iterator[None]:
    """Let the noise of a with block come from this generator, in this thread."""
    if not isinstance(generator, Generator):
        raise TypeError(f"generator must be a Generator, got {checks.shown(generator)}")
    token = _chosen.set(generator)
    try:
        yield
    finally:
        _chosen.reset(token)


def fork(seed: int) -> AbstractContextManager[None]:
    """Let the noise of a with block come from draw 0 on of this seed; the generator outside is not affected.

    An evaluation in between training epochs thus always sees the same noise.
    """
    return use_generator(Generator(seed))
