"""The engine: Tensor, Function, the backward pass, and the check of both by finite differences."""

from .function import Function
from .gradcheck import GradientError, gradcheck
from .graph import enable_grad, is_grad_enabled, no_grad
from .tensor import Tensor, as_tensor

__all__ = [
    "Function",
    "GradientError",
    "Tensor",
    "as_tensor",
    "enable_grad",
    "gradcheck",
    "is_grad_enabled",
    "no_grad",
]
