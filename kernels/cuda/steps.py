"""Training steps that are captured once, as a CUDA graph, and then replayed.

A training step of a small model is some two hundred kernels of a few microseconds each, and Python takes longer to
launch them than the GPU to run them. A CUDA graph is the list of those launches. It is made by *capturing*: Python runs
the step once, and the driver notes what is launched instead of running it. A *replay* hands the whole list to the GPU
in one call, without Python.

A replay runs the same kernels with the same arguments at the same addresses. So each address must stay valid, and what
differs between two steps must lie in memory:

    the batch           in arrays that each step fills from the host (staging.py)
    what is learned     in arrays that the step changes in place: parameters, buffers, moments of optimisers
    what is counted     in words that are written before each replay (live.py): the step and the learning rate of an
                        optimiser, and the draw of the noise
    all that is made    activations, gradients and results keep the memory that they had in the capture, which serves
                        nothing else as long as the graph lives (graph_memory.py)

For example, a VAE draws noise once a step and is trained by Adam. Its first step runs as it is: it uses draw 0. The
second is captured when draw is 1. The kernel that makes noise has 1 among its arguments, and adds a word to it:

    replay    word of the noise    draw that is used    Adam's step    learning rate
      1               0                    1                 2             0.001
      2               1                    2                 3             0.001

All else that Python decided in the capture has become part of the graph. Where it would decide otherwise now, since a
setting, a mode or an array is another one, the step is captured anew.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import checks
from ..contract import Array
from ..session import Session, Snapshot, State, Step
from . import launcher
from .live import LiveNumbers
from .settings import settings
from .staging import Staging


class CudaSession(Session):
    """It is a training on the GPU, which works behind the host; the host looks at results now and then."""

    lag = 64

    def prepare(self, step: Step, state: State) -> Step:
        """Return the step captured and replayed, unless the user has chosen otherwise."""
        return CapturedStep(step, state) if settings.capture_steps else step


class CapturedStep:
    """It is a training step that takes a batch of host arrays, with bitwise the results of the step itself.

    The first call with a batch of given shapes runs the step as it is, for what happens only once, such as compiling
    kernels. The second captures it; from then on it is replayed. The results are the caller's own.

    fallback: None or, for a step that cannot be captured, the reason; it then runs as it is, after a RuntimeWarning.
    """

    def __init__(self, step: Step, state: State) -> None:
        self._step, self._state = step, state
        self._inputs: dict[Any, list[Staging]] = {}  # by shapes and dtypes of a batch
        self._graphs: dict[Any, _Graph] = {}
        self.fallback: str | None = None

    def __call__(self, *batch: np.ndarray) -> Any:
        signature = tuple((array.shape, array.dtype.str) for array in batch)
        first = signature not in self._inputs
        if first:
            self._inputs[signature] = [Staging(array) for array in batch]
        staged = [staging.put(array) for staging, array in zip(self._inputs[signature], batch, strict=True)]
        step = partial(self._step, *map(self._state.tensor, staged))
        if first or self.fallback is not None:
            return step()
        now = self._state.snapshot()
        graph = self._graph(signature, step, now)
        return step() if graph is None else graph.replay(now)

    def _graph(self, signature: Any, step: Step, now: Snapshot) -> _Graph | None:
        """Return the graph of the step on such a batch, or None if it cannot be captured."""
        if signature in self._graphs:
            if self._graphs[signature].fits(now):
                return self._graphs[signature]
            del self._graphs[signature]  # frees its memory before the next one asks for as much
        try:
            self._graphs[signature] = _Graph(step, self._state, now)
        except Exception as error:
            self.fallback = f"{type(error).__name__}: {error}"
            warnings.warn(f"training goes on without a CUDA graph: {self.fallback}", RuntimeWarning, stacklevel=3)
        return self._graphs.get(signature)


class _Graph:
    """It is one captured step, and does what Python has to do at a replay.

    A capture computes nothing, so when it is over the state is put back to where it was, whether it failed or not.
    """

    def __init__(self, step: Callable[[], Any], state: State, now: Snapshot) -> None:
        self._state, self._live = state, LiveNumbers()
        self._arrays, self._values, self._tf32 = now.arrays, now.values, settings.allow_tf32
        try:
            state.restore(now._replace(grads=[None if grad is None else _OldGradient() for grad in now.grads]))
            with state.live(self._live.add):
                self._result, self._launches = launcher.engine().capture(step)
            after = state.snapshot()
        finally:
            state.restore(now)
        if not hasattr(self._result, "_fields"):
            raise TypeError(f"the step must return a named tuple of Tensors, got {checks.shown(self._result)}")
        for name, array, found in zip(state.names(), now.arrays, after.arrays, strict=True):
            if found is not array:
                raise RuntimeError(f"the step puts a new array in place of {name}; it must write into it")
        self._counts = [end - start for start, end in zip(now.counters, after.counters, strict=True)]
        self._grads = {i: grad for i, grad in enumerate(after.grads) if not isinstance(grad, _OldGradient)}

    def fits(self, now: Snapshot) -> bool:
        """Return whether all that the graph takes for granted is as it was."""
        return (
            len(now.arrays) == len(self._arrays)
            and all(map(operator.is_, now.arrays, self._arrays))
            and now.values == self._values
            and settings.allow_tf32 == self._tf32
        )

    def replay(self, now: Snapshot) -> Any:
        """Run one step. Its results are copied, as the next replay writes to the same memory."""
        self._live.update()
        self._launches.launch()
        self._state.advance(now, self._counts, self._grads)
        return type(self._result)(*(self._state.tensor(tensor.data.copy()) for tensor in self._result))


class _OldGradient:
    """It stands for a gradient while a step is captured: a replay would add to the same old array each time."""

    def __add__(self, other: Array) -> Array:
        raise RuntimeError("the step adds to gradients of the step before; it must begin with zero_grad()")
