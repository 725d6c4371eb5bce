"""Function: one differentiable operation, and the backward pass that runs through a graph of them.

    class Mul(Function):
        def forward(self, a, b):
            self.save(a, b)
            return a * b

        def backward(self, dy):
            a, b = self.saved
            return dy * b, dy * a

    y = Mul.apply(x, x)

An instance is one application and one node of the graph. It keeps the arrays that its backward pass needs and an edge
to where each of its inputs came from: the Function that made it, or the leaf Tensor itself. Nothing else is kept alive.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ContextDecorator
from types import ModuleType
from typing import Any

import numpy as np

from minivae.kernels import backend_of
from minivae.kernels.checks import shown
from minivae.kernels.contract import Array

from .dtypes import DIFFERENTIABLE, SCALARS, check_dtype
from .tensor import Tensor, Version, as_tensor


class Function:
    """Base class of the differentiable operations.

    forward(*arrays, **options) gets the inputs as arrays (Python numbers as numbers) and returns a new array or a view;
    backward(dy) returns a gradient, or None, for each input (a bare array where there is one input). `self.backend` is
    the module of kernels that the arrays belong to, `self.needs[i]` says whether input i wants a gradient.
    """

    backend: ModuleType
    needs: tuple[bool, ...]

    def __init__(self) -> None:
        self._saved: tuple[Array, ...] | None = ()
        self._versions: list[tuple[Version, int]] = []
        self.edges: tuple[Function | Tensor | None, ...] = ()
        self.inputs: tuple[tuple[tuple[int, ...], Any], ...] = ()  # shape and dtype of each

    def forward(self, *inputs: Any, **options: Any) -> Array:
        raise NotImplementedError

    def backward(self, dy: Array) -> Any:
        raise NotImplementedError

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Tensor:
        """Run the operation, and enter it into the graph if an input requires gradients.

        Raises ValueError for numbers that the arrays' dtype cannot hold, TypeError where forward returns no array.
        """
        function = cls()
        tensors = [x if type(x) in SCALARS else as_tensor(x) for x in inputs]
        parents = [t for t in tensors if type(t) not in SCALARS]
        if not parents:  # numbers alone are arrays without axes
            tensors = parents = [as_tensor(x) for x in inputs]
        arrays = [t if type(t) in SCALARS else t._array for t in tensors]
        function.backend = backend_of(*[t._array for t in parents])
        tracked = is_grad_enabled()
        function.needs = tuple([tracked and type(t) not in SCALARS and t._requires_grad for t in tensors])

        try:
            y = _as_array(function.forward(*arrays, **options))
        except OverflowError as error:
            raise ValueError(f"{cls.__name__}: {error}") from None
        if type(y) is not np.ndarray:
            function._check_array("forward", y)
        if y.dtype not in DIFFERENTIABLE:
            check_dtype(f"the result of {cls.__name__}", y.dtype)
        version = function._version_of(y, parents)
        if True not in function.needs or y.dtype not in DIFFERENTIABLE:
            return Tensor.wrap(y, version=version)
        function.edges = tuple(
            [(t._creator or t) if need else None for t, need in zip(tensors, function.needs, strict=True)]
        )
        function.inputs = tuple([(() if type(a) in SCALARS else a.shape, getattr(a, "dtype", None)) for a in arrays])
        result = Tensor.wrap(y, function, version)
        function._watch([*parents, result])
        return result

    def _check_array(self, method: str, value: Any) -> None:
        """TypeError unless a method returned an array of the inputs' backend, which is no subclass of numpy.ndarray."""
        try:
            own = backend_of(value) is self.backend and (type(value) is np.ndarray or not isinstance(value, np.ndarray))
        except TypeError:
            own = False
        if not own:
            raise TypeError(
                f"{type(self).__name__}.{method} must return an array on {self.backend.device}, got {shown(value)}"
            )

    def save(self, *arrays: Array) -> None:
        """Keep inputs, the output or arrays made on the way for the backward pass."""
        self._saved = arrays

    @property
    def saved(self) -> tuple[Array, ...]:
        """What save() kept, provided that nobody has changed it since."""
        name = type(self).__name__
        if self._saved is None:
            raise RuntimeError(
                f"{name}: its saved arrays were freed by an earlier backward(); use backward(retain_graph=True) there"
            )
        for version, count in self._versions:
            if version.count != count:
                raise RuntimeError(
                    f"{name}: an array saved for its backward pass was changed in place after it was used "
                    f"({version.count - count} change(s) since); run backward() before the optimiser's step"
                )
        return self._saved

    def release(self) -> None:
        """Let go of everything that was kept."""
        self._saved = None
        self.edges = ()

    def _watch(self, tensors: Sequence[Tensor]) -> None:
        """Remember the versions of the Tensors whose memory was saved."""
        for array in self._saved or ():
            for t in tensors:
                if array is t._array or self._overlap(array, t._array):
                    self._versions.append((t._version, t._version.count))

    def _version_of(self, y: Array, parents: Sequence[Tensor]) -> Version | None:
        """A view shares the version of the Tensor it looks at."""
        if y.base is not None:
            for t in parents:
                if y is t._array or self._overlap(y, t._array):
                    return t._version
        return None

    def _overlap(self, a: Array, b: Array) -> bool:
        return type(a) not in SCALARS and self.backend.xp.may_share_memory(a, b)

    def gradients(self, dy: list[Array]) -> list[Array | None]:
        """backward of the one array in dy, as a list, checked: a gradient has the shape and dtype of its input.

        dy is taken out of the list: nobody but backward() holds it then, and can let go of it before it is done.
        """
        if self._saved is None:
            _ = self.saved  # raises
        result = self.backward(dy.pop())
        result = [_as_array(g) for g in (result if type(result) is tuple else (result,))]
        if len(result) != len(self.edges):
            raise RuntimeError(
                f"{type(self).__name__}.backward returned {len(result)} gradients for {len(self.edges)} inputs"
            )
        for i, g in enumerate(result):
            if g is not None and type(g) is not np.ndarray:
                self._check_array("backward", g)
            if g is not None and self.needs[i] and (g.shape, g.dtype) != self.inputs[i]:
                shape, dtype = self.inputs[i]
                raise RuntimeError(
                    f"{type(self).__name__}.backward: the gradient of input {i} must be {shape} {dtype}, "
                    f"got {g.shape} {g.dtype}"
                )
        return result


def topological_order(last: Function) -> list[Function]:
    """Every Function that `last` depends on, inputs before users. Iterative: a graph may be 100,000 operations deep."""
    order: list[Function] = []
    seen: set[Function] = set()
    stack = [(last, False)]
    while stack:
        function, inputs_done = stack.pop()
        if inputs_done:
            order.append(function)
        elif function not in seen:
            seen.add(function)
            stack.append((function, True))
            stack.extend((edge, False) for edge in function.edges if isinstance(edge, Function))
    return order


def run_backward(result: Tensor, dy: Array, retain_graph: bool) -> None:
    """The chain rule, one Function at a time.

    Why a topological order: in the diamond b = a + a; c = b * b, the gradient of b arrives in two parts. Whoever goes
    on to a when the first part is there passes on a wrong gradient, or walks every *path*, of which there are
    exponentially many. Users before inputs means: when a Function's turn comes, its dy is complete.
    """
    if result._creator is None:
        if not result.requires_grad:
            raise RuntimeError("backward() needs a result that depends on a Tensor with requires_grad=True")
        return _accumulate(result, dy)

    pending = {result._creator: dy}
    for function in reversed(topological_order(result._creator)):
        if function in pending:
            for edge, gradient in zip(function.edges, function.gradients([pending.pop(function)]), strict=True):
                if gradient is None or edge is None:
                    continue
                if isinstance(edge, Tensor):
                    _accumulate(edge, gradient)
                else:
                    pending[edge] = _as_array(pending[edge] + gradient) if edge in pending else gradient
        if not retain_graph:
            function.release()


def _accumulate(leaf: Tensor, gradient: Array) -> None:
    leaf.grad = gradient if leaf.grad is None else _as_array(leaf.grad + gradient)


def _as_array(value: Any) -> Array:
    """NumPy's functions turn arrays without axes into scalars; a Tensor holds arrays."""
    return np.asarray(value) if isinstance(value, np.generic) else value


# ---- switching the graph off ----

_state = threading.local()


def is_grad_enabled() -> bool:
    """Whether operations enter the graph in this thread."""
    return getattr(_state, "enabled", True)


class _GradMode(ContextDecorator):
    enabled: bool

    def __enter__(self) -> None:
        _state.before = [*getattr(_state, "before", ()), is_grad_enabled()]  # of this thread: a decorator is shared
        _state.enabled = self.enabled

    def __exit__(self, *_: object) -> None:
        _state.enabled = _state.before.pop()


class no_grad(_GradMode):  # noqa: N801 - PyTorch's name
    """Context manager and decorator: operations inside make constants and keep nothing for a backward pass."""

    enabled = False


class enable_grad(_GradMode):  # noqa: N801 - PyTorch's name
    """Context manager and decorator: record the graph again inside of a no_grad()."""

    enabled = True
