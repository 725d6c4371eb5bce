"""minivae: autoencoders you can read.

    import minivae as mv

    mv.Tensor, mv.no_grad, mv.manual_seed, mv.gradcheck     the engine
    mv.functional, mv.nn, mv.optim                          operations, layers, optimisers
    mv.models, mv.datasets                                  what they are for

The upper floors are imported when they are first used.
"""

import os  # not pathlib, which takes longer to import than the rest of this file
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# An install puts the folder kernels/ inside this package; in a checkout it lies beside it.
if not os.path.isdir(os.path.join(os.path.dirname(__file__), "kernels")):
    __path__.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from . import functional
from .autograd import GradientError, Tensor, enable_grad, gradcheck, no_grad
from .random import manual_seed

if TYPE_CHECKING:
    from . import data as datasets
    from . import models, nn, optim

__all__ = [
    "GradientError",
    "Tensor",
    "datasets",
    "enable_grad",
    "functional",
    "gradcheck",
    "manual_seed",
    "models",
    "nn",
    "no_grad",
    "optim",
]

_ON_FIRST_USE = {"datasets": "minivae.data", "models": "minivae.models", "nn": "minivae.nn", "optim": "minivae.optim"}


def __getattr__(name: str) -> Any:
    """Import the upper floors when they are first asked for: `import minivae` stays as quick as `import numpy`."""
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module 'minivae' has no attribute {name!r}")
    module = globals()[name] = import_module(_ON_FIRST_USE[name])
    return module


def __dir__() -> list[str]:
    return sorted([*globals(), *_ON_FIRST_USE])
