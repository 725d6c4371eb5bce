"""Optimisers, gradient clipping and learning-rate schedules.

An optimiser moves each parameter p against its gradient g; t = 1, 2, ... counts the steps.

    SGD     velocity = momentum velocity + g;  p -= lr velocity          (Polyak 1964; Nesterov as in PyTorch)
    Adam    m = b1 m + (1-b1) g        the mean of recent gradients, the first moment
            v = b2 v + (1-b2) g^2      the mean of their squares, the second moment
            p -= lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)          (Kingma & Ba 2014, algorithm 1)
    AdamW   p *= 1 - lr weight_decay, then Adam's step                   (Loshchilov & Hutter 2017)

SGD's step is in proportion to the gradient. Adam's is not: m and v start at 0, and 1-b1^t and 1-b2^t make up for that,
so that the first step is lr g / (|g| + eps). It has the length lr whether g = 100 or g = 0.01: each parameter gets a
step size of its own. Adam adds weight_decay p to g, where the division by sqrt(v) shrinks it for parameters with large
gradients; AdamW shrinks all parameters alike.

The arithmetic is in the kernels, which update all parameters in one call and in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import cos, isfinite, pi
from typing import Any

import numpy as np

from minivae.autograd import Tensor
from minivae.kernels import backend_of, checks
from minivae.kernels.checks import flag, integer, number, shown
from minivae.kernels.contract import Array

WEIGHT = "[0, 1e30]"  # the range of learning rates and weight decays: beyond it float32 overflows
MOST_STEPS = 2**53  # beyond it a float does not tell one step from the next


class Optimizer:
    """The base class holds the parameters, the learning rate and the state: one list of arrays for each name.

    live: while a step is captured into a CUDA graph (kernels/cuda/steps.py), this function gives step and learning rate
    of some parameters as arrays in the place of numbers.

    Raises ValueError for no parameters, one given twice, or a setting out of range; TypeError for anything but a
    leaf Tensor with requires_grad.
    """

    state_names: tuple[str, ...] = ()

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        self.params = _several(params)
        if not self.params:
            raise ValueError(f"an optimiser needs at least one parameter, got {params}")
        for p in self.params:
            if not p.requires_grad or not p.is_leaf:
                raise TypeError(f"an optimiser takes leaf Tensors with requires_grad=True, got {shown(p)}")
        if len({id(p) for p in self.params}) != len(self.params):
            raise ValueError("a parameter was given to the optimiser twice")
        self.lr = number("lr", lr, WEIGHT)
        self.live: Callable[[Optimizer, list[int]], tuple[Array, Array]] | None = None
        self.steps = [0] * len(self.params)
        self.state: dict[str, list[Array]] = {
            name: [p.backend.xp.zeros(p.shape, p.dtype) for p in self.params] for name in self.state_names
        }

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        groups: dict[int, list[int]] = {}  # by step: one group, unless a parameter was without gradient before
        for i, p in enumerate(self.params):
            if p.grad is not None:
                self.steps[i] += 1
                groups.setdefault(self.steps[i], []).append(i)
        for step, chosen in groups.items():
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
        """Return learning rate, steps and state arrays (copies on the host), flat: 'lr', 'steps', 'm.0', ..."""
        state: dict[str, Any] = {"lr": np.float64(self.lr), "steps": np.array(self.steps, np.int64)}
        for name, arrays in self.state.items():
            for i, array in enumerate(arrays):
                state[f"{name}.{i}"] = np.array(backend_of(array).to_host(array))
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state_dict() of the same kind of optimiser over the same shapes; raise ValueError otherwise."""
        own = self.state_dict()
        checks.state(type(self).__name__, state, own)
        new = {name: checks.array(f"state: {name}", state[name]) for name in own}
        for name, value in own.items():
            if new[name].shape != np.shape(value):
                raise ValueError(f"state: {name} must have shape {np.shape(value)}, got {new[name].shape}")
            if new[name].dtype != value.dtype:
                raise TypeError(f"state: {name} must have dtype {value.dtype}, got {new[name].dtype}")
            checks.check_finite(np.atleast_1d(new[name]), f"state: {name}")
        self.lr = number("state: lr", new["lr"][()], WEIGHT)
        self.steps = [integer("state: steps", n, 0, most=MOST_STEPS) for n in new["steps"]]
        for name, arrays in self.state.items():
            for i, array in enumerate(arrays):
                array[...] = backend_of(array).asarray(new[f"{name}.{i}"])


class SGD(Optimizer):
    """SGD is stochastic gradient descent with momentum."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        self.momentum = number("momentum", momentum, "[0, 1)")
        self.weight_decay = number("weight_decay", weight_decay, WEIGHT)
        self.nesterov = flag("nesterov", nesterov)
        if nesterov and not momentum:
            raise ValueError(f"nesterov=True needs a momentum > 0, got {momentum}")
        self.state_names = ("velocity",) if momentum else ()
        super().__init__(params, lr)

    def _update(
        self, kernels: Any, params: list[Array], grads: list[Array], state: dict[str, list[Array]], step: Any, lr: Any
    ) -> None:
        velocities = state.get("velocity", [])
        kernels.sgd_step(params, grads, velocities, lr, self.momentum, self.weight_decay, self.nesterov)


class Adam(Optimizer):
    """Adam adds weight_decay times the parameter to the gradient."""

    decoupled = False
    state_names = ("m", "v")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"betas must be a pair of numbers, got {shown(betas)}")
        self.betas = number("betas", betas[0], "[0, 1)"), number("betas", betas[1], "[0, 1)")
        self.eps = number("eps", eps, "(0, inf)")
        self.weight_decay = number("weight_decay", weight_decay, WEIGHT)
        super().__init__(params, lr)

    def _update(
        self, kernels: Any, params: list[Array], grads: list[Array], state: dict[str, list[Array]], step: Any, lr: Any
    ) -> None:
        decay = (self.weight_decay, self.decoupled)
        kernels.adam_step(params, grads, state["m"], state["v"], step, lr, self.betas, self.eps, *decay)


class AdamW(Adam):
    """AdamW is Adam with decoupled weight decay."""

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


def clip_grad_norm(params: Iterable[Tensor], max_norm: float, error_if_nonfinite: bool = True) -> Any:
    """Scale all gradients together so that their joint Euclidean norm is at most max_norm; return the norm before.

    Raises ValueError unless max_norm > 0. For a norm that is not finite it raises FloatingPointError and leaves the
    gradients. error_if_nonfinite=False: nothing waits for a GPU, which a step in a CUDA graph must not do. The norm is
    then a float64 array without axes on the device, and infinite gradients and NaN become NaN.
    """
    max_norm = number("max_norm", max_norm, "(0, inf]")
    look = flag("error_if_nonfinite", error_if_nonfinite)
    chosen = [p for p in _several(params) if p.grad is not None]
    if not chosen:
        return 0.0
    grads = [p.grad for p in chosen]
    kernels = backend_of(*grads)
    norm = kernels.global_norm(grads)
    value = float(norm) if look else None
    if value is not None and not isfinite(value):
        raise FloatingPointError(f"the norm of the gradients is {value}")
    if value is None or value > max_norm:
        factor = kernels.xp.minimum(max_norm / norm, 1.0)
        for p in chosen:
            p.grad = kernels.asarray(p.grad * factor.astype(p.dtype))
    return norm if value is None else value


class Schedule:
    """It sets the optimiser's learning rate to base_lr * factor(step). Call step() after each step of the optimiser.

    base_lr is the learning rate that the optimiser had before. For the first warmup_steps the factor is further
    multiplied by (step + 1) / (warmup_steps + 1), so that the learning rate rises linearly.
    Raises ValueError, here and in step(), for a factor that is negative or not finite.
    """

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float], warmup_steps: int = 0) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"a schedule needs an Optimizer, got {shown(optimizer)}")
        self.optimizer, self.factor = optimizer, checks.function("factor", factor)
        self.warmup_steps = integer("warmup_steps", warmup_steps, 0)
        self.base_lr, self.steps = optimizer.lr, 0
        self._apply()

    def _apply(self) -> None:
        warmup = min(1.0, (self.steps + 1) / (self.warmup_steps + 1))
        factor = number(f"the schedule's factor at step {self.steps}", self.factor(self.steps), "[0, inf)")
        self.optimizer.lr = self.base_lr * factor * warmup

    def step(self) -> None:
        """Count a step and set the learning rate of the next one."""
        self.steps += 1
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """Return base_lr and steps, by name."""
        return {"base_lr": self.base_lr, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where state_dict() was taken."""
        checks.state(type(self).__name__, state, self.state_dict())
        base_lr = number("state: base_lr", state["base_lr"], WEIGHT)
        self.base_lr, self.steps = base_lr, integer("state: steps", state["steps"], 0, most=MOST_STEPS)
        self._apply()


class ConstantSchedule(Schedule):
    """The learning rate stays base_lr, after a warm-up if there is one."""

    def __init__(self, optimizer: Optimizer, warmup_steps: int = 0) -> None:
        super().__init__(optimizer, lambda step: 1.0, warmup_steps)


class CosineSchedule(Schedule):
    """The learning rate falls from base_lr to final * base_lr along half a cosine, and then stays.

    Source: Loshchilov & Hutter 2016. Raises ValueError for total_steps outside [1, 2^53] or final outside [0, 1].
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup_steps: int = 0, final: float = 0.0) -> None:
        total_steps, final = integer("total_steps", total_steps, 1, most=MOST_STEPS), number("final", final, "[0, 1]")
        self.total_steps, self.final = total_steps, final

        def factor(step: int) -> float:
            return final + (1 - final) * (1 + cos(pi * min(step / total_steps, 1.0))) / 2

        super().__init__(optimizer, factor, warmup_steps)


class StepSchedule(Schedule):
    """The learning rate is multiplied by gamma after every step_size steps.

    Raises ValueError for step_size < 1 or gamma outside [0, 1].
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, warmup_steps: int = 0) -> None:
        step_size, gamma = integer("step_size", step_size, 1), number("gamma", gamma, "[0, 1]")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, lambda step: gamma ** (step // step_size), warmup_steps)


def _several(params: Any) -> list[Tensor]:
    """Return the parameters as a list. Raise TypeError for anything else, a single Tensor included."""
    if isinstance(params, (Tensor, np.ndarray, str, bytes, Mapping)) or not isinstance(params, Iterable):
        raise TypeError(f"params must be a list of Tensors, got {shown(params)}")
    several = list(params)
    for p in several:
        if not isinstance(p, Tensor):
            raise TypeError(f"params must be Tensors, got {shown(p)}")
    return several
