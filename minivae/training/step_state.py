"""StepState: what a training step on a model changes and takes for granted.

A backend that captures steps asks for it (kernels/cuda/steps.py), and need not know models, optimisers or generators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from minivae.autograd import Tensor
from minivae.kernels.contract import Array
from minivae.kernels.session import Snapshot
from minivae.nn import Module
from minivae.nn.module import Buffer, Parameter
from minivae.optim import Optimizer
from minivae.random import current_generator

STATE = (Parameter, Buffer)


class StepState:
    """It is the State of steps that move a model by these optimisers, with noise of the current generator.

    values: tells what else the steps take for granted.
    """

    def __init__(
        self, model: Module, optimizers: Sequence[Optimizer], values: Callable[[], list[Any]] = lambda: []
    ) -> None:
        self._model, self._optimizers, self._more = model, list(optimizers), values
        known = {id(tensor) for _, tensor in model.named_tensors(STATE)}
        moved = [p for optimizer in optimizers for p in optimizer.params]
        self._others = [p for p in moved if id(p) not in known]  # which the model does not have

    def snapshot(self) -> Snapshot:
        """Return the training as it is now.

        Arrays: Parameters and Buffers, then the moments of the optimisers. Counters: draws of noise, then the steps of
        each parameter. Values: the seed, train() or eval(), requires_grad, the settings of the optimisers, and which of
        their parameters have made equally many steps, as those are moved together.
        """
        generator, optimizers, modules = current_generator(), self._optimizers, list(self._model.modules())
        own: list[Tensor] = [v for module in modules for v in vars(module).values() if isinstance(v, STATE)]
        tensors = own + self._others
        leaves = [tensor._node for tensor in tensors if tensor._node is not None]
        moments = [array for o in optimizers for arrays in o.state.values() for array in arrays]
        modes = [module.training for module in modules] + [tensor.requires_grad for tensor in tensors]
        settings = [
            (name, value)
            for optimizer in optimizers
            for name, value in vars(optimizer).items()
            if name != "lr" and isinstance(value, (bool, int, float, str, tuple))
        ]
        equal_steps = [o.steps.index(step) for o in optimizers for step in o.steps]
        return Snapshot(
            arrays=[tensor._array for tensor in tensors] + moments,
            values=[generator.seed, *modes, *settings, *equal_steps, *self._more()],
            counters=[generator.draw, *(step for o in optimizers for step in o.steps)],
            tensors=tensors,
            leaves=leaves,
            grads=[leaf.grad for leaf in leaves],
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Put arrays, counters and gradients back to what they were."""
        arrays, counters = iter(snapshot.arrays), iter(snapshot.counters)
        for tensor in snapshot.tensors:
            tensor._array = next(arrays)
        for leaf, grad in zip(snapshot.leaves, snapshot.grads, strict=True):
            leaf.grad = grad
        current_generator().draw = next(counters)
        for optimizer in self._optimizers:
            for moments in optimizer.state.values():
                moments[:] = [next(arrays) for _ in moments]
            optimizer.steps = [next(counters) for _ in optimizer.steps]

    def advance(self, snapshot: Snapshot, counts: Sequence[int], grads: Mapping[int, Array | None]) -> None:
        """Move counters and gradients on, as if the step had run in Python."""
        for index, grad in grads.items():
            snapshot.leaves[index].grad = grad
        count = iter(counts)
        current_generator().draw += next(count)
        for optimizer in self._optimizers:
            optimizer.steps = [step + next(count) for step in optimizer.steps]

    @contextmanager
    def live(self, add: Callable[[str, Callable[[], float]], Array]) -> Iterator[None]:
        """Inside the with block, noise adds to its draw, and optimisers read step and learning rate, from arrays."""
        generator = current_generator()
        first = generator.draw

        def step_and_rate(optimizer: Optimizer, chosen: list[int]) -> tuple[Array, Array]:
            step = add("int64", lambda: optimizer.steps[chosen[0]] + 1)
            return step, add("float64", lambda: optimizer.lr)

        try:
            generator.offset = add("uint64", lambda: current_generator().draw - first)
            for optimizer in self._optimizers:
                optimizer.live = step_and_rate
            yield
        finally:
            generator.offset = None
            for optimizer in self._optimizers:
                optimizer.live = None

    def tensor(self, array: Array) -> Tensor:
        """Return a Tensor around this very array."""
        return Tensor.wrap(array)

    def names(self) -> list[str]:
        """Return the name of each array for error messages."""
        known = {id(tensor): name for name, tensor in self._model.named_tensors(STATE)}
        own = [known.get(id(tensor), "a parameter of the optimiser") for tensor in self.snapshot().tensors]
        moments = [f"{name}.{i}" for o in self._optimizers for name, m in o.state.items() for i in range(len(m))]
        return own + [f"the optimiser's {name}" for name in moments]
