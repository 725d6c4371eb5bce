"""Vector quantisation (van den Oord et al. 2017): every vector is replaced by the nearest one of a codebook.

    k(z) = argmin_k ||z - e_k||^2,    z_q = e_k(z).

The choice k(z) is constant but for jumps, so its derivative is zero or does not exist. What is differentiable stands
here in two pieces. `quantize` looks z_q up: as a function of the codebook it is linear, and each code collects the
gradients of all places that took it; nothing goes to z. `straight_through` is z_q in the forward pass and z in the
backward pass: the gradient of what is made of z_q goes to z unchanged, as if the two were one (Bengio et al. 2013), and
nothing goes to the codebook. The estimator is no derivative, and no finite difference will confirm it: its definition
is what its tests check.
"""

from __future__ import annotations

from typing import Any

from minivae.autograd import Function, Tensor
from minivae.autograd.tensor import as_tensor
from minivae.kernels.contract import Array

from .arguments import check_dtypes
from .linear import Embedding


class StraightThrough(Function):
    def forward(self, z: Array, z_q: Array) -> Array:
        return z_q[...]  # a view, so that the result has z_q's memory and a node of its own

    def backward(self, dy: Array) -> Any:
        return dy, None


def quantize(z: Any, codebook: Any) -> tuple[Tensor, Tensor]:
    """z (M, D), codebook (K, D) -> z_q (M, D), the nearest code of each row, and its index (M,), int64.

    Of equally near codes the one with the lowest index. Gradients reach the codebook only. No code is near a row with
    NaN, which gets index 0: whoever cannot rule such rows out looks at a number that is made of z itself, as a loss is.
    """
    z, codebook = as_tensor(z), as_tensor(codebook)
    if z.ndim != 2 or codebook.ndim != 2 or z.shape[1] != codebook.shape[1] or not len(codebook):
        raise ValueError(f"quantize needs z (M, D) and a codebook (K, D), K >= 1, got {z.shape} and {codebook.shape}")
    check_dtypes("quantize", z, codebook)
    index = Tensor.wrap(z.backend.nearest_code(z.data, codebook.data))
    return Embedding.apply(codebook, index), index  # not embedding(), which reads the indices to check them


def straight_through(z: Any, z_q: Any) -> Tensor:
    """z_q, whose gradient goes to z unchanged and not to z_q: both of one shape and dtype."""
    z, z_q = as_tensor(z), as_tensor(z_q)
    if z.shape != z_q.shape:
        raise ValueError(f"straight_through: z {z.shape} and z_q {z_q.shape} must have one shape")
    check_dtypes("straight_through", z, z_q)
    return StraightThrough.apply(z, z_q)
