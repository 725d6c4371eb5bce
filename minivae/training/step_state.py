"""What a training step changes and takes for granted, as backends ask for it that capture steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minivae.nn import Module
from minivae.optim import Optimizer


class StepState:
    """The state of a step of these optimizers on this model."""

    def __init__(self, model: Module, optimizers: Sequence[Optimizer]) -> None:
        self.model, self.optimizers = model, list(optimizers)

    def captured(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The step as a CUDA graph."""
        from minivae import cuda

        return cuda.graph(step, self.model, self.optimizers)
