"""The source of all noise: one seed, one counter, and Philox4x32-10 behind them (see kernels/contract.py).

Every request for random numbers takes the next draw of a generator, a `Noise(seed, draw)`. Noise is a name, not an
array: whoever holds it can produce the same numbers again, on any device. So the state of a generator is two integers,
and a backward pass that needs its noise draws it anew.

Noise comes from the default generator, which manual_seed() seeds and all threads share, unless the code that runs is
inside of use_generator() or fork(). Those hold for the thread that is inside (and for an asyncio task) and for no
other: threads with generators of their own do not disturb each other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from minivae.kernels import backend
from minivae.kernels.contract import Array, Noise

_lock = threading.RLock()  # no draw is handed out twice
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class Generator:
    """Hands out draws 0, 1, 2, ... of a seed. seed: an int in [0, 2^64), ValueError otherwise.

    offset: what Noise calls so; set while a step is captured into a CUDA graph (minivae/cuda.py).
    """

    offset: Array | None = None

    def __init__(self, seed: int = 0) -> None:
        self.manual_seed(seed)

    def manual_seed(self, seed: int) -> None:
        """Start again at draw 0 of this seed."""
        check_seed(seed)
        self.seed, self.draw = int(seed), 0

    def next(self) -> Noise:
        """The next draw."""
        with _lock:
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


def check_seed(seed: Any, name: str = "seed") -> None:
    """TypeError unless it is an int, ValueError unless that is in [0, 2^64)."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(f"{name} must be an int, got {seed!r}")
    if not 0 <= int(seed) < 2**64:
        raise ValueError(f"{name} must be in [0, 2**64), got {seed}")


default_generator = Generator(0)
_chosen: ContextVar[Generator | None] = ContextVar("generator", default=None)


def current_generator() -> Generator:
    """Where noise comes from here: the generator of the innermost use_generator() or fork(), else the default one."""
    chosen = _chosen.get()
    return default_generator if chosen is None else chosen


def manual_seed(seed: int) -> None:
    """Seed the default generator, hence all noise that has no generator of its own.

    Without a call the seed is 0: runs are reproducible unless someone asks otherwise.
    """
    default_generator.manual_seed(seed)


@contextmanager
def use_generator(generator: Generator) -> Iterator[None]:
    """Inside, in this thread, noise comes from this generator."""
    token = _chosen.set(generator)
    try:
        yield
    finally:
        _chosen.reset(token)


def fork(seed: int) -> AbstractContextManager[None]:
    """Inside, noise comes from draw 0 on of this seed; the generator outside does not notice.

    An evaluation in between training epochs thus always sees the same noise.
    """
    return use_generator(Generator(seed))
