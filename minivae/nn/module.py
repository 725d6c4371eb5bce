"""Module: a tree of layers, whose attributes are its state.

A layer is a class whose __init__ sets attributes and whose forward() computes. What an attribute is decides what
happens to it, and nothing has to be registered:

    a Parameter   is trained, moved by to() and saved;
    a Buffer      is moved and, unless it is made with persistent=False, saved, but not trained (running statistics);
    a Module      is a child, whose attributes are treated in the same way;
    all else      is the layer's own business: numbers, strings, functions.

Each Parameter and each Buffer is named by its path in this tree, "encoder.0.weight", as in PyTorch. Children that are
numbered instead of named stand in an nn.ModuleList or an nn.Sequential. A plain list of Modules is an error, because
nobody would find the weights in it:

    self.blocks = [Linear(2, 2), Linear(2, 2)]                   TypeError
    self.blocks = nn.ModuleList([Linear(2, 2), Linear(2, 2)])    "blocks.0.weight", "blocks.0.bias", "blocks.1.weight"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np

from minivae.autograd import Tensor
from minivae.kernels import backend, backend_of, checks
from minivae.kernels.contract import Array

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A leaf Tensor that an optimiser changes. Arguments and errors are those of a Tensor that requires gradients."""

    __slots__ = ()

    def __init__(self, array: Any) -> None:
        super().__init__(array, requires_grad=True)


class Buffer(Tensor):
    """A Tensor that belongs to a layer and is not trained.

    persistent: whether it is part of state_dict(). One that is not moves with to() like the others; it is for values
    that need not be saved because they are computed anew, such as a weight that follows from the number of the step.
    Errors are those of a Tensor, and TypeError unless persistent is a bool.
    """

    __slots__ = ("persistent",)

    def __init__(self, array: Any, persistent: bool = True) -> None:
        super().__init__(array)
        self.persistent = checks.flag("persistent", persistent)


class Module:
    """Base class of layers and models: subclasses set attributes in __init__ and define forward().

    module(x) is module.forward(x). Setting an attribute raises TypeError for a list, tuple, dict or set with a Module,
    Parameter or Buffer somewhere in it; one that is filled only later makes the methods below raise it, as soon as
    they go through the tree.
    """

    training: bool = True
    _fillable: tuple[str, ...] = ()  # names of the attributes that were set to a list, dict or set
    _records: tuple[str, ...] = ()  # names of attributes that hold no Modules, whatever is put into them later

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define forward()")

    # A property that reads `forward` makes a call one frame of Python, where a method that calls forward() makes two.
    # It is read at each call, so a forward that is replaced later counts. (inspect.signature wants module.forward.)
    __call__: Callable[..., Any] = property(attrgetter("forward"))  # type: ignore[assignment]

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, CONTAINERS):
            _check_container(self, name, value, CONTAINERS)
            if isinstance(value, FILLABLE) and name not in (*self._fillable, *self._records):
                super().__setattr__("_fillable", (*self._fillable, name))
        super().__setattr__(name, value)

    # ---- the tree ----

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, Module) for each Module among the attributes, in the order in which they were set."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        """The Modules among the attributes, in the order in which they were set."""
        return (value for value in vars(self).values() if isinstance(value, Module))

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(path, Module) for this Module, whose path is "", and all below; one that is used twice is listed once."""
        return self._named_modules("", set())

    def _named_modules(self, path: str, seen: set[Module]) -> Iterator[tuple[str, Module]]:
        if self in seen:
            return
        seen.add(self)
        if self._fillable:
            self._check_filled()
        yield path, self
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield from value._named_modules(f"{path}.{name}" if path else name, seen)

    def modules(self) -> Iterator[Module]:
        """This Module and all below it; one that is used twice is listed once."""
        return (module for _, module in self.named_modules())

    def named_tensors(
        self, kind: type[Tensor] | tuple[type[Tensor], ...], prefix: str = ""
    ) -> Iterator[tuple[str, Tensor]]:
        """(path, Tensor) for the Parameters, the Buffers or both, in this Module and below."""
        if self._fillable:
            self._check_filled()
        for name, value in vars(self).items():
            if isinstance(value, kind):
                yield prefix + name, value
            elif isinstance(value, Module):
                yield from value.named_tensors(kind, f"{prefix}{name}.")

    def _check_filled(self) -> None:
        """TypeError for a container that has been filled with Modules or Tensors since it was set.

        Dictionaries in other containers are skipped: a model's history is a long list of them.
        """
        for name in self._fillable:
            value = vars(self).get(name)
            if isinstance(value, FILLABLE):
                _check_container(self, name, value, NO_RECORDS)

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
        """How many numbers the Parameters hold together."""
        return sum(parameter.size for parameter in self.parameters())

    # ---- modes ----

    def train(self: M, mode: bool = True) -> M:
        """Put this Module and all below it into training mode, in which dropout drops and batch norm uses the batch.

        mode=False is eval(). Returns the Module itself; TypeError unless mode is a bool.
        """
        mode = checks.flag("mode", mode)
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Put this Module and all below it into evaluation mode: no dropout, and batch norm uses running statistics."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Freeze (False) or train (True) all Parameters of this Module and below; returns the Module itself.

        A frozen Parameter gets no gradient. Optimisers do not take it: give them those that require gradients, as fit()
        does. TypeError unless requires_grad is a bool.
        """
        requires_grad = checks.flag("requires_grad", requires_grad)
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Set the gradient of every Parameter to None."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self: M, device: str | None = None, dtype: Any = None) -> M:
        """Move all Parameters and Buffers to a device, and convert the floating ones to a dtype.

        The Tensors stay the same objects, so that an optimiser that holds them goes on with the new arrays. Returns the
        Module itself. Raises ValueError for another device than 'cpu' or 'cuda', TypeError for another dtype than
        float32 or float64.
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
        """Copies of all Parameters and persistent Buffers by path, as NumPy arrays on the host."""
        return {name: tensor.numpy() for name, tensor in self._state().items()}

    def _state(self) -> dict[str, Tensor]:
        """What state_dict() copies."""
        tensors = self.named_tensors((Parameter, Buffer))
        return {name: tensor for name, tensor in tensors if getattr(tensor, "persistent", True)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy arrays into the Parameters and persistent Buffers by path. All is checked before anything changes.

        Raises ValueError for missing and unexpected paths, shapes that differ, and NaN or infinity; TypeError for
        dtypes that differ.
        """
        own = self._state()
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
        """The text between the parentheses of the layer's repr."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        return "\n  ".join([f"{type(self).__name__}({self.extra_repr()}", *children]) + "\n)"


HELD = (Module, Parameter, Buffer)
CONTAINERS = (list, tuple, dict, set, frozenset)
FILLABLE = (list, dict, set)  # containers that can change after they were checked
NO_RECORDS = (list, tuple, set, frozenset)  # containers but for dictionaries


def _check_container(module: Module, name: str, value: Any, inside: tuple[type, ...]) -> None:
    """TypeError if a container, or one of the classes `inside` in it, holds a Module, Parameter or Buffer."""
    held = _held_in(value, inside)
    if held is not None:
        cure = "use an nn.ModuleList" if issubclass(held, Module) else "make it an attribute of its own"
        raise TypeError(
            f"{type(module).__name__}.{name} is a {type(value).__name__} with a {held.__name__} in it, "
            f"which would be neither trained nor moved nor saved: {cure}"
        )


def _held_in(container: Any, inside: tuple[type, ...]) -> type | None:
    """The class of a Module, Parameter or Buffer in a container, or in containers of the classes `inside` in it."""
    elements = container.values() if isinstance(container, dict) else container
    for kind in dict.fromkeys(map(type, elements)):
        if issubclass(kind, HELD):
            return kind
        if issubclass(kind, inside):
            found = (_held_in(element, inside) for element in elements if isinstance(element, kind))
            if (held := next(filter(None, found), None)) is not None:
                return held
    return None


def not_finite(arrays: Mapping[str, Array]) -> list[str]:
    """The names of those arrays that hold NaN or infinity.

    All arrays must be of one device. On a GPU their flags are fetched together, because each fetch waits for it.
    """
    flags = {k: backend_of(a).xp.isfinite(a).all().reshape(1) for k, a in arrays.items() if a.dtype.kind == "f"}
    if not flags:
        return []
    kernels = backend_of(*flags.values())
    finite = kernels.to_host(kernels.xp.concatenate(list(flags.values())))
    return [name for name, holds in zip(flags, finite, strict=True) if not holds]
