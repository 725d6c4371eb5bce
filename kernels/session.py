"""Session: what a backend needs around a training or an evaluation, so that the loop asks for no device.

    with backend.session() as session:
        step = session.prepare(step, state)

Here is the session of the CPU, where every step is over when its function returns. That of a GPU is in cuda/.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

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

    def prepare(self, step: Step, state: Any) -> Step:
        """The training step as it should be called: step itself.

        state: what the step changes and takes for granted, for backends that do not run the same Python at each step.
        """
        return step
