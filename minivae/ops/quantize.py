"""Vector quantisation (van den Oord et al. 2017): every vector is replaced by the nearest one of a codebook.

    k(z) = argmin_j ||z - e_j||,    z_q = e_k(z).

A small step of z does not change the integer k(z), so the derivative of z_q by z is zero wherever it exists. Two
operations make it trainable:

* `quantize` looks z_q up. As a function of the codebook this is linear: rows are copied, and each code gets the sum of
  the gradients of the rows that took it. z gets none.
* `straight_through` is z_q in the forward pass. In the backward pass it hands the gradient to z unchanged, as if it
  were the identity (Bengio et al. 2013), and z_q gets none.

nn/quantizers/vector.py says why, with an example, and builds the quantiser of the VQ-VAE from both. The
straight-through estimator is no derivative and finite differences do not confirm it, so its tests compare it with this
definition.
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
    """Return the code of codebook (K, D) nearest to each row of z (M, D): z_q (M, D) and its index (M,), int64.

    Of equally near codes it takes the one with the lowest index. The gradient reaches the codebook only. A row with NaN
    gets index 0 without an error, as no code is nearer than another: check z, or a loss that is made of z, for NaN.

    Raises ValueError for other shapes, TypeError for different dtypes.
    """
    z, codebook = as_tensor(z), as_tensor(codebook)
    if z.ndim != 2 or codebook.ndim != 2 or z.shape[1] != codebook.shape[1] or not len(codebook):
        raise ValueError(f"quantize needs z (M, D) and a codebook (K, D), K >= 1, got {z.shape} and {codebook.shape}")
    check_dtypes("quantize", z, codebook)
    index = Tensor.wrap(z.backend.nearest_code(z.data, codebook.data))
    return Embedding.apply(codebook, index), index  # not embedding(), which reads the indices to check them


def straight_through(z: Any, z_q: Any) -> Tensor:
    """Return the value of z_q, with a gradient that goes to z unchanged and not to z_q.

    Raises ValueError for different shapes, TypeError for different dtypes.
    """
    z, z_q = as_tensor(z), as_tensor(z_q)
    if z.shape != z_q.shape:
        raise ValueError(f"straight_through: z {z.shape} and z_q {z_q.shape} must have one shape")
    check_dtypes("straight_through", z, z_q)
    return StraightThrough.apply(z, z_q)
