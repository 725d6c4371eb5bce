"""Session: what a backend needs around a training or an evaluation, so that the loop asks for no device.

    with backend.session() as session:
        step = session.prepare(step, state)

Here is the session of the CPU, where a step is over when its function returns. A GPU runs small kernels faster than
Python launches them, so its session captures the step and replays it: see cuda/steps.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeAlias

from .contract import Array

Step: TypeAlias = Callable[..., Any]


class Session:
    """A context manager whose value is itself.

    lag: how many results of steps may stay on the device before somebody looks at them. With 1 the caller may look at
    the loss in the middle of a step; beyond 1 a step must not wait for the device.
    """

    lag = 1

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is held that would have to be given back."""

    def prepare(self, step: Step, state: State) -> Step:
        """The training step as it should be called, with a batch of host arrays: here the step itself."""
        return step


class State(Protocol):
    """What a training step changes and takes for granted, for backends that do not run its Python each time.

    The floors above, which know models, optimisers and generators, have one (training/step_state.py).
    """

    def snapshot(self) -> Snapshot:
        """As it is now."""

    def restore(self, snapshot: Snapshot) -> None:
        """Put back arrays, counters and gradients as they were."""

    def advance(self, snapshot: Snapshot, counts: Sequence[int], grads: Mapping[int, Any]) -> None:
        """Move on from this snapshot, which is of now: each counter by its count; new gradients, by their index."""

    def live(self, add: Callable[[str, Callable[[], float]], Array]) -> AbstractContextManager[None]:
        """Inside, steps read each number that counts from an array: add(dtype, function that tells what it is now)."""

    def tensor(self, array: Array) -> Any:
        """An array as a step takes and returns it, which has it as `data`."""

    def names(self) -> list[str]:
        """Those of the arrays."""


class Snapshot(NamedTuple):
    """A training between two steps.

    arrays: what a step may write to; captured kernels have its addresses. values: of Python, which a captured step has
    as constants, such as settings. counters: numbers that each step moves on. tensors: what the first arrays belong to.
    leaves: at what gradients arrive, and grads: those that are there.
    """

    arrays: list[Array]
    values: list[Any]
    counters: list[int]
    tensors: list[Any]
    leaves: list[Any]
    grads: list[Any]
