"""What belongs to the GPU alone: settings, and training steps that are captured once and then replayed.

    mv.cuda.allow_tf32 = True               tensor cores for float32, with operands rounded to 10 bits of mantissa
    mv.cuda.capture_steps = False           fit(device="cuda") launches kernel by kernel
    step = mv.cuda.graph(step, model, [optimizer])

kernels/cuda/steps.py explains what a CUDA graph is, and kernels/cuda/settings.py the settings.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from minivae.kernels import backend, checks
from minivae.kernels.cuda.settings import settings
from minivae.kernels.cuda.steps import CapturedStep
from minivae.nn import Module
from minivae.optim import Optimizer
from minivae.training.step_state import StepState

__all__ = ["graph"]

allow_tf32: bool  # for type checkers; at run time they are properties of _Module
capture_steps: bool


def graph(step: Callable[..., Any], model: Module, optimizers: Sequence[Optimizer] = ()) -> CapturedStep:
    """Return `step` as a function that is captured into a CUDA graph and replayed, with bitwise the same results.

    step(*tensors): one training step, as it would run without a graph: zero_grad, loss, backward, optimizer.step() of
    the optimizers named here. It gets the batch as Tensors on the GPU and returns a named tuple of Tensors. Inside it
    nothing may wait for the GPU or ask it for a number, and what it changes must be Parameters and Buffers of `model`,
    written in place. Between steps lr may change, by a schedule for instance.

    The function that is returned takes the batch as host arrays. For each shape of a batch it runs the first step as it
    is, captures the second, and replays it from then on. It captures a step anew when something has changed that the
    step takes for granted: the array of a parameter, buffer or optimiser, a setting of the optimiser or of this module,
    the seed, train() or eval(). Other Python values stay what they were in the capture. A step that cannot be captured
    goes on running as it is, after a RuntimeWarning that says why.

    Raises TypeError for a model that is no Module and for optimizers that are none; RuntimeError without a GPU.
    """
    if not isinstance(model, Module):
        raise TypeError(f"model must be a Module, got {checks.shown(model)}")
    if not isinstance(optimizers, (list, tuple)) or not all(isinstance(o, Optimizer) for o in optimizers):
        raise TypeError(f"optimizers must be a list of Optimizers, got {checks.shown(optimizers)}")
    checks.function("step", step)
    backend("cuda")  # raises RuntimeError if something is missing
    return CapturedStep(step, StepState(model, optimizers))


def _setting(name: str) -> property:
    """Return a property for the setting of this name, which `settings` checks when it is set."""
    return property(lambda _: getattr(settings, name), lambda _, value: setattr(settings, name, value))


class _Module(ModuleType):
    """This module's class. Python runs code when a module's attribute is set only if the module's class defines it."""

    allow_tf32, capture_steps = _setting("allow_tf32"), _setting("capture_steps")


sys.modules[__name__].__class__ = _Module
