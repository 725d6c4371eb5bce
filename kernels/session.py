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
    """A Session is a context manager whose value is itself.

    lag: how many results of steps may stay on the device before somebody looks at them. With 1 the caller may look at
    the loss in the middle of a step; beyond 1 a step must not wait for the device.
    """

    lag = 1

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing, as a Session holds nothing that would have to be given back."""

    def prepare(self, step: Step, state: State) -> Step:
        """Return the training step as it should be called, with a batch of host arrays: here the step itself."""
        return step


class State(Protocol):
    """It knows what a training step changes and takes for granted, for backends that do not run its Python each time.

    training/step_state.py, which knows models, optimisers and generators, implements it.
    """

    def snapshot(self) -> Snapshot:
        """Return the training as it is now."""

    def restore(self, snapshot: Snapshot) -> None:
        """Put arrays, counters and gradients back to what they were."""

    def advance(self, snapshot: Snapshot, counts: Sequence[int], grads: Mapping[int, Any]) -> None:
        """Move on as a step would. snapshot: taken now. counts: to add to each counter. grads: new ones, by index."""

    def live(self, add: Callable[[str, Callable[[], float]], Array]) -> AbstractContextManager[None]:
        """Return a context where a step reads changing numbers, such as the learning rate, from arrays on the device.

        It gets each array by add(dtype, function), where the function tells what the number is now.
        """

    def tensor(self, array: Array) -> Any:
        """Return a Tensor around this array: steps take and return Tensors, which have their array as `data`."""

    def names(self) -> list[str]:
        """Return the name of each array for error messages."""


class Snapshot(NamedTuple):
    """A Snapshot is the state of a training between two steps."""

    arrays: list[Array]  # what a step writes to in place: parameters, buffers, moments of optimisers
    values: list[Any]  # Python values that a step takes for granted: seed, modes, settings
    counters: list[int]  # what a step moves on: draws of noise, steps of optimisers
    tensors: list[Any]  # their arrays are the first of `arrays`
    leaves: list[Any]  # where gradients arrive, each in its `grad`
    grads: list[Any]  # those of the leaves
