"""What belongs to the GPU alone: settings, and training steps that are captured once and then replayed.

    mv.cuda.allow_tf32 = True               tensor cores for float32, with operands rounded to 10 bits of mantissa
    mv.cuda.capture_steps = False           fit(device="cuda") launches kernel by kernel
    step = mv.cuda.graph(step, model, [optimizer])

A training step of a small model is some two hundred kernels of a few microseconds each, and Python takes longer to
launch them than the GPU to run them. A CUDA graph is the list of those launches, taken down once (*captured*); a replay
hands the whole list to the GPU. It repeats the same kernels with the same arguments on the same memory. So whatever
differs between two steps must lie in memory: the batch, in buffers that stay where they are; the step of the optimiser,
the learning rate and the draw of the noise, in words that the captured kernels read (kernels/cuda/live.py); and what a
model changes, in buffers that it writes into (Trainable.before_step).

A step is captured anew when what it has taken over has changed: the array of a parameter, buffer or optimiser, a
setting of the optimiser or of this module, the seed, train() or eval(). Other Python values it keeps as they were.
"""

from __future__ import annotations

import operator
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from minivae.autograd import Tensor
from minivae.kernels import backend, checks
from minivae.kernels.contract import Array
from minivae.kernels.cuda.capture import Staging, capture
from minivae.kernels.cuda.live import LiveNumbers
from minivae.kernels.cuda.settings import settings
from minivae.nn import Module
from minivae.nn.module import Buffer, Parameter
from minivae.optim import Optimizer
from minivae.random import current_generator

Step: TypeAlias = Callable[..., Any]
Signature: TypeAlias = tuple[tuple[tuple[int, ...], str], ...]

__all__ = ["Graph", "graph"]


def graph(step: Step, model: Module, optimizers: Sequence[Optimizer] = ()) -> Graph:
    """`step` as a function that is captured into a CUDA graph and replayed, with bitwise the same results.

    step(*tensors): one training step, as it would run without a graph: zero_grad, loss, backward, optimizer.step() of
    the optimizers named here. It gets the batch as Tensors on the GPU and returns a named tuple of Tensors. Inside it
    nothing may wait for the GPU or ask it for a number, and what it changes must be Parameters and Buffers of `model`,
    written in place. Between steps lr may change, by a schedule for instance.
    """
    return Graph(step, model, optimizers)


class Graph:
    """See graph(). The first step on a batch of given shapes runs as it is, the second is captured, then replayed.

    A step that cannot be captured goes on running as it is, after a RuntimeWarning that says why.
    """

    def __init__(self, step: Step, model: Module, optimizers: Sequence[Optimizer]) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"model must be a Module, got {checks.shown(model)}")
        if not isinstance(optimizers, (list, tuple)) or not all(isinstance(o, Optimizer) for o in optimizers):
            raise TypeError(f"optimizers must be a list of Optimizers, got {checks.shown(optimizers)}")
        self._step, self._model, self._optimizers = checks.function("step", step), model, list(optimizers)
        backend("cuda")  # or it says what is missing
        self._staging: dict[Signature, list[Staging]] = {}
        self._captured: dict[Signature, _Capture] = {}
        self.fallback: str | None = None  # why steps are not captured

    def __call__(self, *batch: np.ndarray) -> Any:
        """One step on a batch of host arrays. The Tensors returned are the caller's own."""
        signature = tuple((array.shape, array.dtype.str) for array in batch)
        staging = self._staging.get(signature)
        if staging is None:
            self._staging[signature] = staging = [Staging(array) for array in batch]
            return self._step(*_fill(staging, batch))
        inputs = _fill(staging, batch)
        if self.fallback is not None:
            return self._step(*inputs)
        taken = self._current(signature)
        if taken is not None:
            taken.advance()
            return taken.launch()
        try:
            taken = self._captured[signature] = self._capture(inputs)
        except Exception as error:
            self.fallback = f"{type(error).__name__}: {error}"
            warnings.warn(f"training goes on without a CUDA graph: {self.fallback}", RuntimeWarning, stacklevel=2)
        return self._step(*inputs) if taken is None else taken.launch()

    def _current(self, signature: Signature) -> _Capture | None:
        """The step captured for these shapes, if Python would still do the same; if not, its memory is let go of."""
        taken = self._captured.get(signature)
        if taken is None or taken.holds(self._circumstances()):
            return taken
        del self._captured[signature]
        return None

    def _circumstances(self) -> _Circumstances:
        """As they are now."""
        tensors = [tensor for _, tensor in self._model.named_tensors((Parameter, Buffer))]
        states = [array for o in self._optimizers for arrays in o.state.values() for array in arrays]
        modes = [module.training for module in self._model.modules()] + [tensor.requires_grad for tensor in tensors]
        chosen = [
            (name, value)
            for optimizer in self._optimizers
            for name, value in vars(optimizer).items()
            if name != "lr" and isinstance(value, (bool, int, float, str, tuple))
        ]
        return _Circumstances(
            [tensor._array for tensor in tensors] + states,
            [current_generator().seed, settings.allow_tf32, *modes, *chosen],
        )

    def _capture(self, inputs: list[Tensor]) -> _Capture:
        """The step captured, the counters one step further, nothing computed yet. If it fails, all is as before."""
        tensors = dict(self._model.named_tensors((Parameter, Buffer)))
        before = {name: (tensor._array, tensor.grad) for name, tensor in tensors.items()}
        counts = [list(optimizer.steps) for optimizer in self._optimizers]
        generator = current_generator().state_dict()
        taken = _Capture(self._circumstances(), current_generator().draw, LiveNumbers())
        for tensor in tensors.values():
            if tensor._node is not None and tensor.grad is not None:
                tensor._node.grad = _OfTheStepBefore()
        try:
            taken.follow(self._optimizers)
            taken.result, taken.launches = capture(lambda: self._step(*inputs))
            for name, tensor in tensors.items():
                if tensor._array is not before[name][0]:
                    raise RuntimeError(f"the step puts a new array in place of {name}; it must write into it")
        except BaseException:
            for name, tensor in tensors.items():
                tensor._array, tensor.grad = before[name]
            for optimizer, count in zip(self._optimizers, counts, strict=True):
                optimizer.steps = count
            current_generator().load_state_dict(generator)
            raise
        finally:
            taken.leave(self._optimizers)
        for name, tensor in tensors.items():
            if isinstance(tensor.grad, _OfTheStepBefore):
                tensor.grad = before[name][1]
        taken.draws = current_generator().draw - taken.first_draw
        taken.grads = [(p, p.grad) for optimizer in self._optimizers for p in optimizer.params]
        return taken


def _fill(staging: list[Staging], batch: Sequence[np.ndarray]) -> list[Tensor]:
    return [Tensor.wrap(stage.put(array)) for stage, array in zip(staging, batch, strict=True)]


class _OfTheStepBefore:
    """In the place of a gradient while a step is captured: a replay would add to the same old array each time."""

    def __add__(self, other: Array) -> Array:
        raise RuntimeError("the step adds to gradients of the step before; it must begin with zero_grad()")


@dataclass
class _Circumstances:
    """What a captured step takes for granted: the arrays whose addresses and the values that became part of it."""

    arrays: list[Array]
    values: list[Any]


@dataclass
class _Capture:
    """A captured step, and the numbers that differ from launch to launch."""

    made_for: _Circumstances
    first_draw: int
    live: LiveNumbers  # the draw's offset, then step and learning rate of each group of parameters
    result: Any = None
    launches: Any = None
    draws: int = 0
    groups: list[tuple[Optimizer, list[int]]] = field(default_factory=list)
    grads: list[tuple[Tensor, Array | None]] = field(default_factory=list)

    def follow(self, optimizers: list[Optimizer]) -> None:
        """From now on noise and optimisers take their numbers from `live`."""
        current_generator().offset = self.live.add("uint64")
        for optimizer in optimizers:
            optimizer.live = self._numbers

    def _numbers(self, optimizer: Optimizer, chosen: list[int]) -> tuple[Array, Array]:
        self.groups.append((optimizer, chosen))
        return self.live.add("int64"), self.live.add("float64")

    def leave(self, optimizers: list[Optimizer]) -> None:
        current_generator().offset = None
        for optimizer in optimizers:
            optimizer.live = None

    def holds(self, now: _Circumstances) -> bool:
        """Whether nothing has changed that it took for granted."""
        arrays = self.made_for.arrays
        return (
            len(arrays) == len(now.arrays)
            and all(map(operator.is_, arrays, now.arrays))
            and self.made_for.values == now.values
            and all(len({o.steps[i] for i in chosen}) == 1 for o, chosen in self.groups)
        )

    def advance(self) -> None:
        """The counters, as if the step had run in Python."""
        current_generator().draw += self.draws
        for optimizer, chosen in self.groups:
            for i in chosen:
                optimizer.steps[i] += 1
        for parameter, grad in self.grads:
            if parameter.grad is not grad:
                parameter.grad = grad

    def launch(self) -> Any:
        """Run the step whose numbers the counters have arrived at."""
        values: list[float] = [current_generator().draw - self.draws - self.first_draw]
        for optimizer, chosen in self.groups:
            values += [optimizer.steps[chosen[0]], optimizer.lr]
        self.live.set(*values)
        self.launches.launch()
        return type(self.result)(*(Tensor.wrap(tensor.data.copy()) for tensor in self.result))


class _Settings(ModuleType):
    """This module, with the settings of the CUDA backend as attributes that are checked when they are set."""

    @property
    def allow_tf32(self) -> bool:
        """Whether float32 products may round operands to TF32 and use tensor cores: see kernels/cuda/settings.py."""
        return settings.allow_tf32

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        settings.allow_tf32 = value

    @property
    def capture_steps(self) -> bool:
        """Whether fit(device="cuda") captures its steps: see kernels/cuda/settings.py."""
        return settings.capture_steps

    @capture_steps.setter
    def capture_steps(self, value: bool) -> None:
        settings.capture_steps = value


sys.modules[__name__].__class__ = _Settings
