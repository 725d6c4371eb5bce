"""Module: a tree of layers. Its attributes are its state; nothing is registered.

An attribute that is a Parameter is trained, one that is a Buffer is kept (running statistics), one that is a Module is
a child, and everything else is the layer's own business. Names in a state_dict are the paths of these attributes,
"encoder.0.weight", as PyTorch writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from minivae.autograd import Tensor
from minivae.kernels import backend, backend_of, checks
from minivae.kernels.contract import Array

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A leaf Tensor that an optimiser changes."""

    __slots__ = ()

    def __init__(self, array: Any) -> None:
        super().__init__(array, requires_grad=True)


class Buffer(Tensor):
    """A Tensor that belongs to a layer's state and is not trained."""

    __slots__ = ()


class Module:
    """Base class of layers and models: subclasses set attributes in __init__ and define forward()."""

    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # ---- the tree ----

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The Modules among the attributes."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def modules(self) -> Iterator[Module]:
        """This Module and all below it."""
        yield self
        for _, child in self.named_children():
            yield from child.modules()

    def named_tensors(
        self, kind: type[Tensor] | tuple[type[Tensor], ...], prefix: str = ""
    ) -> Iterator[tuple[str, Tensor]]:
        """Parameters, Buffers or both, in this Module and below, with their paths."""
        for name, value in vars(self).items():
            if isinstance(value, kind):
                yield prefix + name, value
            elif isinstance(value, Module):
                yield from value.named_tensors(kind, f"{prefix}{name}.")

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(path, Parameter) for each Parameter; one that stands in two places comes once."""
        seen: set[int] = set()
        for name, parameter in self.named_tensors(Parameter):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> list[Tensor]:
        """All Parameters, for an optimiser."""
        return [parameter for _, parameter in self.named_parameters()]

    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.size for parameter in self.parameters())

    # ---- modes ----

    def train(self: M, mode: bool = True) -> M:
        """Training behaviour (dropout, batch statistics) for this Module and all below."""
        mode = checks.flag("mode", mode)
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Evaluation behaviour for this Module and all below."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self: M, device: str | None = None, dtype: Any = None) -> M:
        """Move all Parameters and Buffers to a device, and the floating ones to a dtype, where they stand.

        Raises ValueError for another device than 'cpu' or 'cuda', TypeError for another dtype than float32 or float64.
        """
        if device is not None:
            backend(device)
        if dtype is not None:
            dtype = checks.float_dtype("dtype", dtype)
        for _, tensor in self.named_tensors((Parameter, Buffer)):
            tensor.convert(device, dtype if tensor.dtype.kind == "f" else None)
        return self

    # ---- state ----

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all Parameters and Buffers by path, as NumPy arrays on the host."""
        return {name: tensor.numpy() for name, tensor in self.named_tensors((Parameter, Buffer))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over arrays by path. All is checked before anything changes.

        Raises ValueError for missing and unexpected paths, shapes that differ, and NaN or infinity; TypeError for
        dtypes that differ.
        """
        own = dict(self.named_tensors((Parameter, Buffer)))
        checks.state(type(self).__name__, state, own)
        arrays = {name: checks.array(name, value) for name, value in state.items()}
        for name, tensor in own.items():
            if arrays[name].shape != tensor.shape:
                raise ValueError(f"state: {name} must have shape {tensor.shape}, got {arrays[name].shape}")
            if arrays[name].dtype != tensor.dtype:
                raise TypeError(f"state: {name} must have dtype {tensor.dtype}, got {arrays[name].dtype}")
            checks.check_finite(np.atleast_1d(arrays[name]), f"state: {name}")
        for name, tensor in own.items():
            tensor.inplace()[...] = tensor.backend.asarray(arrays[name])

    # ---- display ----

    def extra_repr(self) -> str:
        """What a layer says of itself in its repr."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        return "\n  ".join([f"{type(self).__name__}({self.extra_repr()}", *children]) + "\n)"


def not_finite(arrays: Mapping[str, Array]) -> list[str]:
    """The names of those arrays that hold NaN or infinity. All are of one device, which is asked once."""
    flags = {k: backend_of(a).xp.isfinite(a).all().reshape(1) for k, a in arrays.items() if a.dtype.kind == "f"}
    if not flags:
        return []
    kernels = backend_of(*flags.values())
    finite = kernels.to_host(kernels.xp.concatenate(list(flags.values())))
    return [name for name, holds in zip(flags, finite, strict=True) if not holds]
