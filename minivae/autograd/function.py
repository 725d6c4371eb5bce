"""Function: one differentiable operation, with its forward and its backward pass.

    class Mul(Function):
        def forward(self, a, b):
            self.save(a, b)
            return a * b

        def backward(self, dy):
            a, b = self.saved
            return dy * b, dy * a

    y = Mul.apply(x, x)

An instance is one application of the operation and one node of the graph (see graph.py, which also says what dy is). It
keeps what it saved, and the edges to the nodes of its inputs; nothing else of the forward pass is kept alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from minivae.kernels import backend_of
from minivae.kernels.checks import shown
from minivae.kernels.contract import Array

from .dtypes import DIFFERENTIABLE, SCALARS, check_dtype
from .graph import Node, as_array, is_grad_enabled, read_only
from .tensor import Tensor, as_tensor
from .version import Version, versions_of


class Function(Node):
    """It is the base class of the differentiable operations; a subclass defines forward() and backward().

    backend: the module of kernels that the arrays belong to. needs: for each input, whether it needs a gradient.
    inputs: shape and dtype of each input, dtype None for a Python number.
    """

    backend: ModuleType
    needs: tuple[bool, ...]
    inputs: tuple[tuple[tuple[int, ...], Any], ...]

    _saved: tuple[Array, ...] | None = ()
    _watched: Sequence[tuple[Version, int]] = ()

    _of_minivae = True

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls._of_minivae = cls.__module__.startswith("minivae.")

    def forward(self, *inputs: Any, **options: Any) -> Array:
        """Return a new array, or a view of an input. Inputs are arrays; Python numbers come as they are.

        forward() reads the arrays and must not write into them; those of the CPU are read-only.
        """
        raise NotImplementedError

    def backward(self, dy: Array) -> Any:
        """Return a gradient or None for each input: a tuple, or a bare array where there is one input.

        dy has the shape and dtype of the result, and each gradient those of its input. dy must not be written into.
        """
        raise NotImplementedError

    def save(self, *arrays: Array) -> None:
        """Keep inputs, the result or intermediate arrays for the backward pass."""
        self._saved = arrays

    @property
    def saved(self) -> tuple[Array, ...]:
        """The arrays that save() kept. Raises RuntimeError if they were freed, or changed in place since."""
        if self._saved is None:
            raise self._freed()
        for version, count in self._watched:
            if version.count != count:
                raise RuntimeError(
                    f"{type(self).__name__}: an array saved for its backward pass was changed in place after it was "
                    f"used ({version.count - count} change(s) since); run backward() before the optimiser's step"
                )
        return self._saved

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Tensor:
        """Run forward() on Tensors, arrays and numbers, and enter the graph if an input requires a gradient.

        Raises ValueError for numbers that the arrays' dtype cannot hold, TypeError where forward() returns no array.
        """
        # Beside an array a number stays one, so that the array's dtype wins; numbers alone become arrays.
        numbers = () if SCALARS.issuperset(map(type, inputs)) else SCALARS
        operands = [x if type(x) in numbers else as_tensor(x) for x in inputs]
        tensors = [x for x in operands if type(x) not in SCALARS]
        function = cls()
        function.backend = backend_of(*[t._array for t in tensors])
        tracked = is_grad_enabled()
        function.edges = tuple([getattr(x, "_node", None) if tracked else None for x in operands])
        function.needs = tuple([edge is not None for edge in function.edges])
        arrays = [getattr(x, "_array", x) for x in operands]
        if not cls._of_minivae:
            arrays = [read_only(array) for array in arrays]
        try:
            y = as_array(function.forward(*arrays, **options))
        except OverflowError as error:
            raise ValueError(f"{cls.__name__}: {error}") from None
        if type(y) is not np.ndarray or y.dtype not in DIFFERENTIABLE:
            function._check_array("forward", y)
            check_dtype(f"the result of {cls.__name__}", y.dtype)

        xp = function.backend.xp
        views = versions_of(y, tensors, xp) if y.base is not None else ()  # a view shares its input's Version
        result = Tensor.wrap(y, views[0] if views else None)
        if True in function.needs and y.dtype in DIFFERENTIABLE:
            result._node = function
            function.inputs = tuple([(getattr(a, "shape", ()), getattr(a, "dtype", None)) for a in arrays])
            versions = [v for saved in function._saved or () for v in versions_of(saved, [*tensors, result], xp)]
            function._watched = [(version, version.count) for version in versions]
        return result

    def checked(self, gradients: Any) -> list[Array | None]:
        """Return the gradients as a list. Raise RuntimeError unless they fit the inputs in number, shape and dtype."""
        if self._saved is None:
            raise self._freed()
        found = [as_array(g) for g in (gradients if type(gradients) is tuple else (gradients,))]
        if len(found) != len(self.edges):
            name = type(self).__name__
            raise RuntimeError(f"{name}.backward returned {len(found)} gradients for {len(self.edges)} inputs")
        for i, g in enumerate(found):
            if g is not None and self.needs[i]:
                self._check_gradient(i, g)
        return found

    def _check_gradient(self, i: int, g: Any) -> None:
        if type(g) is not np.ndarray:
            self._check_array("backward", g)
        if (g.shape, g.dtype) != self.inputs[i]:
            shape, dtype = self.inputs[i]
            raise RuntimeError(
                f"{type(self).__name__}.backward: the gradient of input {i} must be {shape} {dtype}, "
                f"got {g.shape} {g.dtype}"
            )

    def _check_array(self, method: str, value: Any) -> None:
        """Raise TypeError unless the value is an array of the inputs' backend and no subclass of numpy.ndarray."""
        try:
            own = backend_of(value) is self.backend and (type(value) is np.ndarray or not isinstance(value, np.ndarray))
        except TypeError:
            own = False
        if not own:
            raise TypeError(
                f"{type(self).__name__}.{method} must return an array on {self.backend.device}, got {shown(value)}"
            )

    def release(self) -> None:
        """Let go of the saved arrays and of the graph below."""
        self._saved = None
        self.edges = ()

    def _freed(self) -> RuntimeError:
        name = type(self).__name__
        return RuntimeError(
            f"{name}: its saved arrays were freed by an earlier backward(); use backward(retain_graph=True) there"
        )
