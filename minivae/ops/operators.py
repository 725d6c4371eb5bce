"""The operators and methods of the Tensor: each is one of the operations, assigned to the class by its name.

Comparisons stand here too. Their results are boolean constants, so they have no backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minivae.autograd import Tensor
from minivae.autograd.dtypes import SCALARS
from minivae.autograd.graph import as_array
from minivae.autograd.tensor import as_tensor
from minivae.kernels import backend_of

from .arithmetic import add, div, mul, neg, pow, sub
from .elementwise import abs, astype, exp, log, sqrt
from .linear import matmul
from .reduce import argmax, max, mean, min, sum
from .shape import getitem, reshape, squeeze, transpose, unsqueeze


def _reflected(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return what Python calls for `2 - x`, where the Tensor stands on the right."""
    return lambda x, other: operation(other, x)


def _comparison(name: str) -> Callable[..., Tensor]:
    """Return the function of numpy or cupy with this name, for Tensors, arrays and numbers on one device."""

    def compare(x: Tensor, other: Any) -> Tensor:
        if type(other) not in SCALARS:
            other = as_tensor(other)._array
            backend_of(x._array, other)  # raises TypeError for arrays of different devices
        try:
            return Tensor.wrap(as_array(getattr(x.backend.xp, name)(x._array, other)))
        except OverflowError as error:
            raise ValueError(f"{name} of {x.dtype}: {error}") from None

    return compare


def _reshape(x: Tensor, *shape: Any) -> Tensor:
    """Reshape in C order, as x.reshape(2, 3) or x.reshape((2, 3)); one length may be -1."""
    return reshape(x, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)


def _transpose(x: Tensor, *axes: Any) -> Tensor:
    """Permute the axes: x.transpose(1, 0), x.transpose((1, 0)), or x.transpose() for all axes in reverse order."""
    if len(axes) == 1 and not isinstance(axes[0], int):
        axes = axes[0]
    return transpose(x, axes or None)


METHODS: dict[str, Callable[..., Tensor]] = {
    **{"__add__": add, "__radd__": _reflected(add), "__sub__": sub, "__rsub__": _reflected(sub)},
    **{"__mul__": mul, "__rmul__": _reflected(mul), "__truediv__": div, "__rtruediv__": _reflected(div)},
    **{"__pow__": pow, "__rpow__": _reflected(pow), "__matmul__": matmul, "__rmatmul__": _reflected(matmul)},
    **{"__neg__": neg, "__abs__": abs, "__getitem__": getitem},
    **{"__lt__": _comparison("less"), "__le__": _comparison("less_equal"), "__eq__": _comparison("equal")},
    **{"__gt__": _comparison("greater"), "__ge__": _comparison("greater_equal"), "__ne__": _comparison("not_equal")},
    **{"reshape": _reshape, "transpose": _transpose, "squeeze": squeeze, "unsqueeze": unsqueeze},
    **{"sum": sum, "mean": mean, "max": max, "min": min, "argmax": argmax},
    **{"exp": exp, "log": log, "sqrt": sqrt, "astype": astype},
}

for _name, _method in METHODS.items():
    setattr(Tensor, _name, _method)
