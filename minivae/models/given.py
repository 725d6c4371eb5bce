"""Modules as parameters of a model: an encoder, a decoder of the user's own.

    VAE(encoder=my_encoder, decoder=my_decoder)

The given modules are never changed. The model trains copies of them, which start with the weights that the modules had
when the model was made. So fit() leaves them alone, as scikit-learn asks of a parameter, and a model with a
random_state starts there in each fit(). (random_state does not change weights that the caller has made.) scikit-learn's
clone() copies each parameter by itself: a weight that encoder and decoder share becomes two, and the copies are of the
modules as they are then.

A file holds the weights of the copies and a description of their layers, but no code: load() is given such modules
again, and compares them with the description.
"""

from __future__ import annotations

import inspect
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from minivae.kernels import checks
from minivae.nn.module import Buffer, Module, Parameter

from .arrays import ArrayModel


class Beside(UserDict[str, Any]):
    """It holds modules by name that a model keeps beside its layers. (A plain dict of Modules raises TypeError.)"""


class WithModules(ArrayModel):
    """It is a model whose constructor's parameters may be Modules."""

    # Those parameters, None where build() makes the module; and others that have the name of a layer: `quantizer`.
    given: Mapping[str, Any] = {}
    _first: Mapping[str, Module] = {}  # copies of them with the weights that they came with

    def keep_modules(self, modules: Mapping[str, Module | None], of_built: Sequence[str] = ()) -> None:
        """Keep parameters that are Modules or None. Constructors call this before super().__init__().

        of_built: parameters that describe what build() makes in their place. Raises ValueError if one of those is not
        at its default although every module is given.
        """
        for name, module in modules.items():
            if not isinstance(module, (Module, type(None))):
                raise TypeError(f"{name} must be a Module or None, got {checks.shown(module)}")
            if replaced := [m for m in (module.modules() if module else ()) if "forward" in vars(m)]:
                kind = type(replaced[0]).__name__
                raise ValueError(f"{name} must not have a replaced forward(), lost by copying, got that of a {kind}")
        if None not in modules.values():
            parameters = self._parameters()
            for name in (name for name in of_built if name in parameters):
                value, default = getattr(self, name), parameters[name].default
                if value is not default and (default is None or value != default):
                    raise ValueError(
                        f"{name} describes networks that are built, and {' and '.join(modules)} are given, "
                        f"got {name}={value!r}"
                    )
        self.given = Beside(modules)
        # They are copied together, so that a weight that two of them share stays one weight.
        self._first = deepcopy(Beside({name: module for name, module in modules.items() if module is not None}))

    def module(self, name: str, make: Callable[[], Module]) -> Module:
        """Return, for build(), a copy of the module given as this parameter or, if none was, what make() makes."""
        if name not in self._copies:
            return make()
        module = self._copies.pop(name).train()
        module.zero_grad()
        return module

    @contextmanager
    def copied_modules(self) -> Iterator[None]:
        """Copy the given modules for module(), which build() calls in the with block; then give all layers one dtype.

        Raises ValueError for a module that keep_modules() does not know or build() had no use for, and for modules of
        different dtypes or devices.
        """
        for name in (name for name in self._parameters() if name not in self.given):
            if isinstance(module := getattr(self, name, None), Module):
                raise ValueError(f"{name} must be given to keep_modules(), got {type(module).__name__} as an attribute")
        self._copies = deepcopy(Beside(self._first))
        yield
        if self._copies:
            raise ValueError(f"{type(self).__name__}.build() makes no use of the {min(self._copies)} that was given")
        tensors = [tensor for module in self._first.values() for _, tensor in module.named_tensors((Parameter, Buffer))]
        kinds = sorted({(t.dtype.name, t.device) for t in tensors if t.dtype.kind == "f"})
        if len(kinds) > 1:
            found = ", ".join(f"{dtype} on {device}" for dtype, device in kinds)
            raise ValueError(f"{' and '.join(self._first)} must have one dtype and one device, got {found}")
        for dtype, device in kinds:
            self.to(device, dtype)

    @classmethod
    def _parameters(cls) -> dict[str, inspect.Parameter]:
        """Return the constructor's parameters; where it takes **keywords, those of the class above it too."""
        found: dict[str, inspect.Parameter] = {}
        for base in (base for base in cls.__mro__ if "__init__" in vars(base)):
            _, *own = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc] # without self
            found |= {p.name: p for p in own if p.name not in found and p.kind is not p.VAR_KEYWORD}
            if not any(p.kind is p.VAR_KEYWORD for p in own):
                break
        return found


def layers_of(module: Module) -> dict[str, str]:
    """Return what a file keeps of a module that is a parameter: the layers by name, in one line."""
    return {"module": " ".join(repr(module).split())}


def check_modules(path: str, params: Any, modules: Mapping[str, Module]) -> Mapping[str, Module]:
    """Return the modules if a file's parameters describe their layers; raise ValueError or TypeError otherwise."""
    for name, module in modules.items():
        if not isinstance(module, Module):
            raise TypeError(f"{name} must be a Module, got {checks.shown(module)}")
    found = params.items() if isinstance(params, dict) else ()
    wanted = {name: v["module"] for name, v in found if isinstance(v, dict) and v.keys() == {"module"}}
    if missing := [f"{name}=, here {layers}" for name, layers in wanted.items() if name not in modules]:
        raise ValueError(f"{path} holds weights and no code: load() needs {', and '.join(missing)}")
    for name, module in modules.items():
        if name not in wanted:
            raise ValueError(f"{path} holds a model that was made without {name}=, got a {type(module).__name__}")
        if (layers := layers_of(module)["module"]) != wanted[name]:
            raise ValueError(f"{path} holds a model whose {name} is {wanted[name]}, got {layers}")
    return modules
