"""minivae: autoencoders you can read.

    import minivae as mv

    mv.Tensor, mv.Function, mv.no_grad, mv.gradcheck        the engine
    mv.manual_seed                                          the seed of all noise
    mv.functional, mv.nn, mv.optim                          operations, layers, optimisers
    mv.models, mv.datasets                                  what they are for
    mv.training                                             early stopping, callbacks
    mv.uses                                                 probe, compression, denoising, anomalies
    mv.cuda                                                 settings of the GPU, captured steps

Each of these is imported when it is first used.
"""

import os  # not pathlib, which takes longer to import than the rest of this file
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"


class _KernelsBeside:
    """It finds minivae.kernels in a checkout, where the folder lies beside this package; an install puts it inside."""

    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [cls.root]) if name == "minivae.kernels" else None


if not os.path.isdir(os.path.join(os.path.dirname(__file__), "kernels")):
    sys.meta_path.append(_KernelsBeside)

if TYPE_CHECKING:
    from . import cuda, functional, models, nn, optim, training, uses
    from . import data as datasets
    from .autograd import Function, GradientError, Tensor, enable_grad, gradcheck, no_grad
    from .random import manual_seed

__all__ = [
    "Function",
    "GradientError",
    "Tensor",
    "cuda",
    "datasets",
    "enable_grad",
    "functional",
    "gradcheck",
    "manual_seed",
    "models",
    "nn",
    "no_grad",
    "optim",
    "training",
    "uses",
]

# The module in which each name is found when it is first used.
_OWN = ("cuda", "functional", "models", "nn", "optim", "training", "uses")
_MODULES = {"datasets": "data", **{name: name for name in _OWN}}
_NAMES = {
    **dict.fromkeys(("Function", "GradientError", "Tensor", "enable_grad", "gradcheck", "no_grad"), "autograd"),
    "manual_seed": "random",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for, so that `import minivae` costs little more than `import numpy`."""
    if name in _MODULES:
        value: Any = import_module(f"minivae.{_MODULES[name]}")
    elif name in _NAMES:
        import_module("minivae.ops")  # which gives Tensors their operators
        value = getattr(import_module(f"minivae.{_NAMES[name]}"), name)
    else:
        raise AttributeError(f"module 'minivae' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_NAMES})
