"""Matrix products, and the lookup that is a product with one-hot rows."""

from __future__ import annotations

from typing import Any

from minivae.autograd import Function, Tensor
from minivae.autograd.tensor import as_tensor
from minivae.kernels.checks import flag
from minivae.kernels.contract import Array

from .arguments import as_index, check_dtypes
from .broadcast import to_input
from .shape import reshape


class MatMul(Function):
    """Y = A B; dA = dY B^T, dB = A^T dY, for each matrix of a stack."""

    def forward(self, a: Array, b: Array) -> Array:
        self.save(a, b)
        return self.backend.matmul(a, b)

    def backward(self, dy: Array) -> Any:
        a, b = self.saved
        da = db = None
        if self.needs[0]:
            da = to_input(self, self.backend.matmul(dy, b.swapaxes(-1, -2)), 0)
        if self.needs[1]:
            db = to_input(self, self.backend.matmul(a.swapaxes(-1, -2), dy), 1)
        return da, db


class Linear(Function):
    """Y = X W^T + b, or with relu its maximum with 0; dX = dY W, dW = dY^T X, db = sum of the rows of dY."""

    def forward(self, x: Array, w: Array, *b: Array, relu: bool) -> Array:
        y = self.backend.matmul(x, w.T, b[0] if b else None, relu)  # (N, O)
        self.relu = relu
        self.save(x, w, *([y] if relu else []))
        return y

    def backward(self, dy: Array) -> Any:
        x, w, *y = self.saved
        matmul = self.backend.matmul
        if self.relu:
            dy = self.backend.relu_grad(dy, *y)
        dx = matmul(dy, w) if self.needs[0] else None
        dw = matmul(dy.T, x) if self.needs[1] else None
        if len(self.needs) == 2:
            return dx, dw
        return dx, dw, self.backend.reduce_sum(dy, (0,), False) if self.needs[2] else None


class Embedding(Function):
    """It looks up rows of a table by index. The gradient of a row is the sum over all places that used it."""

    def forward(self, table: Array, index: Array) -> Array:
        self.save(index)
        return table[index]

    def backward(self, dy: Array) -> Any:
        (index,) = self.saved
        (rows, width), _ = self.inputs[0]
        return self.backend.segment_sum(dy.reshape(-1, width), index.reshape(-1), rows), None


def matmul(a: Any, b: Any) -> Tensor:
    """Multiply matrices over the last two axes; earlier axes broadcast. A vector is a row (as a) or a column (as b).

    Raises ValueError for shapes that do not fit, TypeError unless both are float32 or both float64.
    """
    a, b = as_tensor(a), as_tensor(b)
    if not a.ndim or not b.ndim:
        raise ValueError(f"matmul needs at least one axis each, got {a.shape} and {b.shape}; use * for scalars")
    check_dtypes("matmul", a, b)
    rows = a if a.ndim > 1 else reshape(a, (1, -1))
    columns = b if b.ndim > 1 else reshape(b, (-1, 1))
    if rows.shape[-1] != columns.shape[-2]:
        raise ValueError(f"matmul: inner lengths differ in {a.shape} @ {b.shape}")
    y = MatMul.apply(rows, columns)
    shape = (*y.shape[:-2], *y.shape[-2:-1] * (a.ndim > 1), *y.shape[-1:] * (b.ndim > 1))
    return y if y.shape == shape else reshape(y, shape)


def linear(x: Any, w: Any, b: Any = None, relu: bool = False) -> Tensor:
    """Return x w^T + b, or with relu max(x w^T + b, 0) in the same pass: x (..., I), w (O, I), b (O,) -> (..., O)."""
    x, w, relu = as_tensor(x), as_tensor(w), flag("relu", relu)
    if w.ndim != 2 or not x.ndim or x.shape[-1] != w.shape[1]:
        raise ValueError(f"linear: input {x.shape} does not fit weight {w.shape}; expected (..., I) and (O, I)")
    bias = () if b is None else (as_tensor(b),)
    if bias and bias[0].shape != w.shape[:1]:
        raise ValueError(f"linear: bias must have shape {w.shape[:1]} for weight {w.shape}, got {bias[0].shape}")
    check_dtypes("linear", x, w, *bias)
    if x.ndim == 2:
        return Linear.apply(x, w, *bias, relu=relu)
    rows = 1
    for n in x.shape[:-1]:
        rows *= n
    return reshape(Linear.apply(reshape(x, (rows, x.shape[-1])), w, *bias, relu=relu), (*x.shape[:-1], w.shape[0]))


def embedding(index: Any, table: Any) -> Tensor:
    """Return the rows that index names: index (...) of integers in [0, K), table (K, D) -> (..., D).

    Raises TypeError for an index that is not of integers, ValueError for one out of range.
    """
    table = as_tensor(table)
    if table.ndim != 2 or not len(table):
        raise ValueError(f"embedding needs a table (K, D), K >= 1, got {table.shape}")
    check_dtypes("embedding", table)
    index = as_index("embedding", index, table.shape[0])
    return Embedding.apply(table, index)
