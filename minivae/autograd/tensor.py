"""Tensor: an array that remembers which operation made it.

A Tensor holds one array of one backend and, if gradients are to flow through it, its node in the graph: a Leaf, or the
Function that computed it. The class defines no operations itself: `minivae.ops` assigns the operators (`a + b`,
`a.sum()`), so that ops stand on autograd and not the other way round.

The arrays are values: what `.data` and `.grad` hand out is read-only on the CPU, `Tensor(array)` copies, and no
operation writes into an array that another one may have saved. The one way to change a Tensor in place is `inplace()`,
meant for optimisers and for loading weights. It counts the change (see version.py), so that a backward pass that needs
the old values refuses to run. (CuPy's arrays have no read-only flag; there the rule is the same, and nothing enforces
it.)
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from minivae.kernels import backend, backend_of, checks
from minivae.kernels.contract import Array

from . import graph
from .dtypes import DIFFERENTIABLE, as_dtype, check_dtype
from .graph import Leaf, Node, read_only
from .version import Version


class Tensor:
    """A Tensor is an n-dimensional array with automatic differentiation.

    array: anything numpy.asarray takes, or an array of a backend; it is copied, its dtype is kept, in the machine's own
    byte order. requires_grad: collect the gradient of this Tensor in `.grad`, for which it must be float32 or float64.
    Raises TypeError for dtypes other than booleans, integers, float32 and float64, for masked arrays, and for arrays of
    other libraries.
    """

    __slots__ = ("__weakref__", "_array", "_node", "_version")
    __array_ufunc__ = None  # array + tensor asks the Tensor

    _array: Array
    _node: Node | None
    _version: Version

    def __init__(self, array: Any, requires_grad: bool = False) -> None:
        if isinstance(array, Tensor):
            raise TypeError("expected an array, got a Tensor; use tensor.detach() for one without history")
        array = _plain(array)
        check_dtype("a Tensor", array.dtype)
        self._array, self._node, self._version = array.copy(order="K"), None, Version()
        self.requires_grad = requires_grad

    @classmethod
    def wrap(cls, array: Array, version: Version | None = None) -> Tensor:
        """Return a Tensor around this very array, for code that has just made it and will not write to it again."""
        tensor = cls.__new__(cls)
        tensor._array, tensor._node, tensor._version = array, None, version or Version()
        return tensor

    # ---- the value ----

    @property
    def data(self) -> Array:
        """The array, which is read-only. Assigning one of the same shape, dtype and device replaces the value."""
        return read_only(self._array)

    @data.setter
    def data(self, array: Array) -> None:
        array = self._own("data", array)
        if array.shape != self.shape or array.dtype != self.dtype:
            raise ValueError(
                f"data must keep shape {self.shape} and dtype {self.dtype}, got {array.shape} and {array.dtype}"
            )
        self._array = array.copy(order="K")
        self._version = Version()

    def _own(self, name: str, array: Any) -> Array:
        """Return the array as a plain one. Raise TypeError unless it is an array on this Tensor's device."""
        array = array if isinstance(array, Tensor) else _plain(array)
        if isinstance(array, Tensor) or backend_of(array).device != self.device:
            raise TypeError(f"{name} must be an array on {self.device}, got {checks.shown(array)}")
        return array

    def inplace(self) -> Array:
        """Return the array, writable, to a caller that is about to change it. Graphs that saved it become invalid."""
        self._version.count += 1
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def ndim(self) -> int:
        return self._array.ndim

    @property
    def size(self) -> int:
        return self._array.size

    @property
    def dtype(self) -> np.dtype:
        return self._array.dtype

    @property
    def backend(self) -> ModuleType:
        """The module of kernels for this array."""
        return backend_of(self._array)

    @property
    def device(self) -> str:
        """The device of the array, 'cpu' or 'cuda'."""
        return self.backend.device

    def numpy(self) -> np.ndarray:
        """Return a copy of the value as a NumPy array on the host."""
        return np.array(self.backend.to_host(self._array))

    def item(self) -> Any:
        """Return the value of a Tensor with one element as a Python number."""
        if self.size != 1:
            raise ValueError(f"item() needs a Tensor with one element, got shape {self.shape}")
        return self._array.item()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise TypeError("a Tensor does not turn into an array silently; use tensor.numpy(), which leaves the graph")

    # ---- the gradient ----

    @property
    def is_leaf(self) -> bool:
        """Whether this is a leaf: not the result of an operation in the graph, but a weight, an input or a constant."""
        return self._node is None or isinstance(self._node, Leaf)

    @property
    def requires_grad(self) -> bool:
        """Whether backward() computes gradients for this Tensor. It can be set on leaves only."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        value = checks.flag("requires_grad", value)
        if not self.is_leaf:
            raise ValueError("only leaves choose requires_grad; use detach() for a result without history")
        if value and self.dtype not in DIFFERENTIABLE:
            raise TypeError(f"only float32 and float64 Tensors can require gradients, got {self.dtype}")
        if value != self.requires_grad:
            self._node = Leaf() if value else None

    @property
    def grad(self) -> Array | None:
        """The gradient that backward() has collected: read-only, and None until there is one. Only leaves have it."""
        if self._node is None or self._node.grad is None:
            return None
        self._node.grad = read_only(self._node.grad)
        return self._node.grad

    @grad.setter
    def grad(self, array: Array | None) -> None:
        if array is not None:
            array = self._own("grad", array)
            if array.shape != self.shape or array.dtype != self.dtype:
                raise ValueError(
                    f"grad must have shape {self.shape} and dtype {self.dtype}, got {array.shape} and {array.dtype}"
                )
        if isinstance(self._node, Leaf):
            self._node.grad = None if array is None else array.copy(order="K")
        elif array is not None:
            raise ValueError("only a leaf with requires_grad=True has a grad")

    def backward(self, dy: Array | None = None, retain_graph: bool = False) -> None:
        """Add to `.grad` of every leaf the derivative of <dy, self> with respect to it (see graph.py).

        dy: an array of this Tensor's shape and dtype. A Tensor with one element needs none; dy is then 1.
        retain_graph: keep what the operations saved, so that backward() can run again.
        Raises RuntimeError for a Tensor without history, a second run over a freed graph, or a value that was changed
        in place since the operation saved it.
        """
        dy, retain_graph = self._upstream(dy), checks.flag("retain_graph", retain_graph)
        if self._node is None:
            raise RuntimeError("backward() needs a result that depends on a Tensor with requires_grad=True")
        graph.backward(self._node, dy, retain_graph)

    def _upstream(self, dy: Array | None) -> Array:
        xp = self.backend.xp
        if dy is None:
            if self.size != 1:
                raise ValueError(f"backward() needs dy for a result of shape {self.shape}; only a scalar has a default")
            return xp.ones_like(self._array)
        if not isinstance(dy, Tensor):
            dy = _plain(dy)
            dy = self.backend.asarray(dy) if isinstance(dy, np.ndarray) else dy
        dy = self._own("dy", dy)
        if dy.shape != self.shape:
            raise ValueError(f"dy must have the result's shape {self.shape}, got {dy.shape}")
        if dy.dtype != self.dtype:
            raise TypeError(f"dy must have the result's dtype {self.dtype}, got {dy.dtype}")
        return dy.copy()  # a leaf may keep it

    def detach(self) -> Tensor:
        """Return the same value without history: a constant for whatever is computed from it."""
        return Tensor.wrap(self._array, version=self._version)

    def to(self, device: str) -> Tensor:
        """Return this Tensor on 'cpu' or 'cuda': itself if it is there already, otherwise a new leaf."""
        if device == self.device:
            return self
        moved = Tensor.wrap(backend(device).asarray(self.numpy()))
        moved.requires_grad = self.requires_grad
        return moved

    def convert(self, device: str | None = None, dtype: Any = None) -> None:
        """Convert this leaf in place to another device or dtype, so that everyone who holds it sees the new value."""
        if not self.is_leaf:
            raise ValueError("only leaves can be converted in place; use to() or astype() on results")
        dtype = self.dtype if dtype is None else as_dtype(dtype)
        if self.requires_grad and dtype not in DIFFERENTIABLE:
            raise TypeError(f"a Tensor that requires gradients must stay float32 or float64, got {dtype}")
        array = self._array if device in (None, self.device) else backend(device).asarray(self.numpy())
        self._array, self._version = array if dtype == array.dtype else array.astype(dtype), Version()
        self.grad = None

    # ---- as a Python object ----

    def __repr__(self) -> str:
        grad = ", requires_grad=True" if self.requires_grad else ""
        body = np.array2string(self.backend.to_host(self._array), separator=", ", prefix="Tensor(")
        return f"Tensor({body}, dtype={self.dtype}, device={self.device}{grad})"

    def __format__(self, spec: str) -> str:
        """Format the one element, as in f"{loss:.3f}". Raise ValueError for a spec unless there is one element."""
        return format(self.item(), spec) if spec else str(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copy and pickle leaves. Raise TypeError for the result of an operation, which would need its graph."""
        if not self.is_leaf:
            what = f"the result of an operation, here of shape {self.shape},"
            raise TypeError(f"{what} keeps its graph and cannot be copied or pickled; use detach()")
        return super().__reduce_ex__(protocol)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"the truth of a Tensor of shape {self.shape} is ambiguous; use .numpy().any() or .all()")
        return bool(self._array.item())

    def __float__(self) -> float:
        return float(self.item())

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("a Tensor without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        """Iterate over the Tensors self[0], self[1], ..., through which gradients flow."""
        return (self[i] for i in range(len(self)))

    @property
    def T(self) -> Tensor:  # noqa: N802
        """This Tensor with its axes in reverse order."""
        return self.transpose()

    # ---- operators and methods that minivae.ops assigns ----

    if TYPE_CHECKING:

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def reshape(self, *shape: Any) -> Tensor: ...
        def transpose(self, *axes: Any) -> Tensor: ...
        def squeeze(self, axis: Any = None, *, dim: Any = None) -> Tensor: ...
        def unsqueeze(self, axis: Any = None, *, dim: Any = None) -> Tensor: ...
        def sum(self, axis: Any = None, keepdims: bool = False, *, dim: Any = None) -> Tensor: ...
        def mean(self, axis: Any = None, keepdims: bool = False, *, dim: Any = None) -> Tensor: ...
        def max(self, axis: Any = None, keepdims: bool = False, *, dim: Any = None) -> Tensor: ...
        def min(self, axis: Any = None, keepdims: bool = False, *, dim: Any = None) -> Tensor: ...
        def argmax(self, axis: Any = None, keepdims: bool = False, *, dim: Any = None) -> Tensor: ...
        def exp(self) -> Tensor: ...
        def log(self) -> Tensor: ...
        def sqrt(self) -> Tensor: ...
        def astype(self, dtype: Any) -> Tensor: ...


def as_tensor(value: Any) -> Tensor:
    """Return Tensors as they are, and plain arrays, lists and numbers as constants."""
    return value if isinstance(value, Tensor) else Tensor(value)


def _plain(array: Any) -> Array:
    """Return arrays of a GPU as they are, and everything else as a plain numpy.ndarray."""
    if hasattr(type(array), "__cuda_array_interface__"):
        backend_of(array)  # raises TypeError for the arrays of other libraries
        return array
    return checks.array("what a Tensor holds", array)
