"""Optimisers, gradient clipping and learning-rate schedules.

    SGD     v = momentum v + g;  p -= lr v                                        (Polyak 1964; Nesterov as in PyTorch)
    Adam    m = b1 m + (1-b1) g;  s = b2 s + (1-b2) g^2
            p -= lr (m / (1-b1^t)) / (sqrt(s / (1-b2^t)) + eps)                   (Kingma & Ba 2014, algorithm 1)
    AdamW   Adam without weight decay in g; first p *= 1 - lr weight_decay        (Loshchilov & Hutter 2017)

The arithmetic is in the kernels, which update all parameters in one call and in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import cos, pi
from typing import Any

import numpy as np

from minivae.autograd import Tensor
from minivae.kernels import backend_of
from minivae.kernels.contract import Array


class Optimizer:
    """Base class: holds the parameters, the learning rate and the state arrays, one list per name.

    live: while a step is captured into a CUDA graph (minivae/cuda.py), gives step and learning rate of some parameters
    as arrays in the place of numbers.

    Raises ValueError for no parameters, one given twice, or a setting out of range; TypeError for anything but a
    leaf Tensor with requires_grad.
    """

    state_names: tuple[str, ...] = ()

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        self.params = list(params)
        if not self.params:
            raise ValueError("an optimiser needs at least one parameter")
        for p in self.params:
            if not isinstance(p, Tensor) or not p.requires_grad or p._creator is not None:
                raise TypeError(f"an optimiser takes leaf Tensors with requires_grad=True, got {type(p).__name__}")
        if len({id(p) for p in self.params}) != len(self.params):
            raise ValueError("a parameter was given to the optimiser twice")
        _in_range("lr", lr, 0, np.inf)
        self.lr = lr
        self.live: Callable[[Optimizer, list[int]], tuple[Array, Array]] | None = None
        self.steps = [0] * len(self.params)
        self.state: dict[str, list[Array]] = {
            name: [p.backend.xp.zeros(p.shape, p.dtype) for p in self.params] for name in self.state_names
        }

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        active = [i for i, p in enumerate(self.params) if p.grad is not None]
        for i in active:
            self.steps[i] += 1
        for step in sorted({self.steps[i] for i in active}):  # one, unless a parameter was without gradient before
            chosen = [i for i in active if self.steps[i] == step]
            params = [self.params[i].inplace() for i in chosen]
            state = {name: [arrays[i] for i in chosen] for name, arrays in self.state.items()}
            kernels = backend_of(*params, *(array for arrays in state.values() for array in arrays))
            numbers = (step, self.lr) if self.live is None else self.live(self, chosen)
            self._update(kernels, params, [self.params[i].grad for i in chosen], state, *numbers)

    def _update(
        self, kernels: Any, params: list[Array], grads: list[Array], state: dict[str, list[Array]], step: Any, lr: Any
    ) -> None:
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.params:
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Learning rate, steps and state arrays (copies on the host), flat: 'lr', 'steps', 'first.0', ..."""
        state: dict[str, Any] = {"lr": np.float64(self.lr), "steps": np.array(self.steps, np.int64)}
        for name, arrays in self.state.items():
            for i, array in enumerate(arrays):
                state[f"{name}.{i}"] = np.array(backend_of(array).to_host(array))
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state_dict() of the same kind of optimiser over the same shapes; ValueError otherwise."""
        own = self.state_dict()
        if own.keys() != state.keys():
            raise ValueError(
                f"state does not fit {type(self).__name__}: missing {sorted(own.keys() - state.keys())}, "
                f"unexpected {sorted(state.keys() - own.keys())}"
            )
        for name, value in own.items():
            if np.shape(state[name]) != np.shape(value):
                raise ValueError(f"state: {name} must have shape {np.shape(value)}, got {np.shape(state[name])}")
        self.lr = float(state["lr"])
        self.steps = [int(n) for n in state["steps"]]
        for name, arrays in self.state.items():
            for i, array in enumerate(arrays):
                array[...] = backend_of(array).asarray(np.asarray(state[f"{name}.{i}"]))


class SGD(Optimizer):
    """Stochastic gradient descent with momentum."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        _in_range("momentum", momentum, 0, 1)
        _in_range("weight_decay", weight_decay, 0, np.inf)
        if nesterov and not momentum:
            raise ValueError("nesterov=True needs a momentum > 0")
        self.momentum, self.weight_decay, self.nesterov = momentum, weight_decay, nesterov
        self.state_names = ("velocity",) if momentum else ()
        super().__init__(params, lr)

    def _update(
        self, kernels: Any, params: list[Array], grads: list[Array], state: dict[str, list[Array]], step: Any, lr: Any
    ) -> None:
        velocities = state.get("velocity", [])
        kernels.sgd_step(params, grads, velocities, lr, self.momentum, self.weight_decay, self.nesterov)


class Adam(Optimizer):
    """Adam; weight_decay is added to the gradient."""

    decoupled = False
    state_names = ("first", "second")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        for beta in betas:
            _in_range("betas", beta, 0, 1)
        _in_range("eps", eps, 0, np.inf)
        _in_range("weight_decay", weight_decay, 0, np.inf)
        self.betas, self.eps, self.weight_decay = (float(betas[0]), float(betas[1])), eps, weight_decay
        super().__init__(params, lr)

    def _update(
        self, kernels: Any, params: list[Array], grads: list[Array], state: dict[str, list[Array]], step: Any, lr: Any
    ) -> None:
        kernels.adam_step(
            params,
            grads,
            state["first"],
            state["second"],
            step,
            lr,
            self.betas,
            self.eps,
            self.weight_decay,
            self.decoupled,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay."""

    decoupled = True

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)


def clip_grad_norm(params: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients together so that their joint Euclidean norm is at most max_norm; returns the norm before.

    Raises ValueError unless max_norm > 0. A norm that is not finite is a FloatingPointError; the gradients stay.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be positive, got {max_norm}")
    chosen = [p for p in params if p.grad is not None]
    if not chosen:
        return 0.0
    grads = [p.grad for p in chosen]
    norm = float(backend_of(*grads).global_norm(grads))
    if not np.isfinite(norm):
        raise FloatingPointError(f"the norm of the gradients is {norm}")
    if norm > max_norm:
        for p in chosen:
            p.grad = p.backend.asarray(p.grad * p.dtype.type(max_norm / norm))
    return norm


def limit_grad_norm(params: Iterable[Tensor], max_norm: float) -> None:
    """clip_grad_norm without asking the GPU for the norm, for steps that are captured into a CUDA graph.

    Gradients whose norm is not finite become NaN.
    """
    chosen = [p for p in params if p.grad is not None]
    if not chosen:
        return
    grads = [p.grad for p in chosen]
    kernels = backend_of(*grads)
    factor = kernels.xp.minimum(max_norm / kernels.global_norm(grads), 1.0)
    for p in chosen:
        p.grad = p.grad * factor.astype(p.dtype)


class Schedule:
    """Sets the optimiser's learning rate to base_lr * factor(step); call step() after each step of the optimiser.

    For the first warmup_steps the factor is further multiplied by (step + 1) / (warmup_steps + 1).
    """

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float], warmup_steps: int = 0) -> None:
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps must not be negative, got {warmup_steps}")
        self.optimizer, self.factor, self.warmup_steps = optimizer, factor, warmup_steps
        self.base_lr, self.steps = optimizer.lr, 0
        self._apply()

    def _apply(self) -> None:
        warmup = min(1.0, (self.steps + 1) / (self.warmup_steps + 1))
        self.optimizer.lr = self.base_lr * self.factor(self.steps) * warmup

    def step(self) -> None:
        """One step further."""
        self.steps += 1
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """{'base_lr', 'steps'}."""
        return {"base_lr": self.base_lr, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where state_dict() was taken."""
        self.base_lr, self.steps = float(state["base_lr"]), int(state["steps"])
        self._apply()


class CosineSchedule(Schedule):
    """From base_lr to final * base_lr along half a cosine (Loshchilov & Hutter 2016), then constant."""

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup_steps: int = 0, final: float = 0.0) -> None:
        if total_steps < 1:
            raise ValueError(f"total_steps must be at least 1, got {total_steps}")
        _in_range("final", final, 0, 1, closed=True)

        def factor(step: int) -> float:
            return final + (1 - final) * (1 + cos(pi * min(step / total_steps, 1.0))) / 2

        super().__init__(optimizer, factor, warmup_steps)


class StepSchedule(Schedule):
    """base_lr times gamma after every step_size steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, warmup_steps: int = 0) -> None:
        if step_size < 1:
            raise ValueError(f"step_size must be at least 1, got {step_size}")
        _in_range("gamma", gamma, 0, 1, closed=True)
        super().__init__(optimizer, lambda step: gamma ** (step // step_size), warmup_steps)


def _in_range(name: str, value: float, low: float, high: float, closed: bool = False) -> None:
    if not (low <= value < high or (closed and value == high)):
        raise ValueError(f"{name} must be in [{low}, {high}{']' if closed else ')'}, got {value}")
