"""Typed launches of hand-written CUDA kernels.

    MODULE = launcher.Module(Path(__file__).with_name("matmul.cu"), {"gemm": [("float", 64, 64), ("double", 32, 32)]})

    kernel = MODULE.kernel("gemm", x.dtype, 64, 64)                 # gemm<float, 64, 64>
    kernel[(ceil_div(N, 64), ceil_div(M, 64)), 256](a, b, c, M, N, K)   # <<<grid, block>>>(arguments)

An *instance* is a kernel with values for its template parameters. A launch knows the kernel's signature from its
source, so it can check what CUDA does not check: the number of arguments; the dtype, contiguity, alignment, constness
and device of arrays; the range of numbers; the size of the block. It casts Python numbers to the declared types.
parameters.py says what each kind of parameter accepts.

If the environment variable MINIVAE_CUDA_DEBUG is 1, every launch is followed by a synchronisation. Then an error is
raised by the launch that caused it, and names its kernel. (Leave the variable unset while capturing a CUDA graph,
because a launch that is being captured cannot be synchronised.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property, lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any

from ..contract import Array
from .engine import CompileError, CupyEngine, Engine, Extent, LaunchError
from .parameters import PointerTable
from .signature import KernelDeclaration, Signature, TemplateArgument, parse
from .source import expand

__all__ = [
    "CompileError",
    "Kernel",
    "LaunchError",
    "Module",
    "ceil_div",
    "engine",
    "pointer_table",
    "thread_context",
    "use_engine",
]

FLOATS = ("float", "double")
GRID_LIMIT = (2**31 - 1, 65535, 65535)
BLOCK_LIMIT = (1024, 1024, 64)

_engine: Engine | None = None


def engine() -> Engine:
    """The engine that runs the kernels: CuPy, unless a test has replaced it.

    Raises RuntimeError, which says what to install or what was found, if there is no CuPy or no GPU.
    """
    global _engine
    if _engine is None:
        _engine = CupyEngine()
    return _engine


@contextmanager
def use_engine(other: Engine) -> Iterator[Engine]:
    """Inside the with statement all kernels run on another engine. For tests."""
    global _engine
    before, _engine = _engine, other
    try:
        yield other
    finally:
        _engine = before


def thread_context() -> Callable[[], AbstractContextManager[None]]:
    """A function that makes contexts in which other threads use the GPU as this one does, if this process uses one."""
    return nullcontext if _engine is None else _engine.thread_context()


def pointer_table(arrays: Sequence[Array]) -> PointerTable:
    """A table of the addresses of these arrays, on the device, for a parameter declared as `T* const*`."""
    return PointerTable(arrays, engine())


def ceil_div(count: int, per_block: int) -> int:
    """How many blocks cover `count` items."""
    return -(-count // per_block)


class Module:
    """The kernels of one .cu file. Nothing is compiled before the first launch.

    `instances` lists the template arguments that each kernel is used with, so that tests can compile and check all of
    them. A kernel without template parameters is one instance. A kernel that is not listed, and whose only template
    parameter is a type, has an instance for float and one for double.
    """

    def __init__(
        self, path: Path, instances: Mapping[str, Iterable[tuple[TemplateArgument, ...]]] | None = None
    ) -> None:
        self.path = path
        self._instances = dict(instances or {})
        self._kernels: dict[tuple[Any, ...], Kernel] = {}

    @cached_property
    def source(self) -> str:
        """The text that the compilers get: the file with its own headers expanded."""
        return expand(self.path)

    @cached_property
    def declarations(self) -> dict[str, KernelDeclaration]:
        """All kernels by name, without values for their template parameters."""
        return parse(self.source)

    @cached_property
    def signatures(self) -> dict[str, Signature]:
        """All instances by name, such as `gemm<float, 64, 64>`."""
        if unknown := set(self._instances) - set(self.declarations):
            raise ValueError(f"{self.path.name} has no kernel {sorted(unknown)}, only {sorted(self.declarations)}")
        found = [
            declaration.resolve(arguments)
            for name, declaration in self.declarations.items()
            for arguments in self._instances.get(name) or _default_instances(self.path.name, declaration)
        ]
        return {signature.name: signature for signature in found}

    def kernel(self, name: str, *template_arguments: TemplateArgument) -> Kernel:
        """The kernel with these template arguments: C++ types, by name or as NumPy dtypes, integers and bools.

        Raises KeyError for an instance that is not in the module's list.
        """
        key = (name, *template_arguments)
        if key not in self._kernels:
            if name not in self.declarations:
                raise KeyError(f"{self.path.name} has no kernel {name!r}, only {sorted(self.declarations)}")
            instance = self.declarations[name].resolve(template_arguments).name
            if instance not in self.signatures:
                raise KeyError(f"{self.path.name}: {instance} is none of the instances {sorted(self.signatures)}")
            self._kernels[key] = Kernel(self, self.signatures[instance])
        return self._kernels[key]

    def function(self, name: str, on: Engine) -> Any:
        """The compiled instance on this engine."""
        if getattr(self, "_compiled_on", None) is not on:
            self._compiled: Callable[[str], Any] = on.compile(self.source, self.signatures)
            self._compiled_on = on
        return self._compiled(name)


class Kernel:
    """One instance of a kernel.

    `kernel[grid, block](...)` launches it, and `kernel[grid, block, shared](...)` does so with that many bytes of
    dynamic shared memory. grid and block are ints or tuples of up to three ints. A grid with a zero has no blocks, so
    nothing is launched.
    """

    def __init__(self, module: Module, signature: Signature) -> None:
        self.name = signature.name
        self.signature = signature
        self._module = module
        self._function: Any = None
        self._function_on: Engine | None = None

    def __getitem__(self, configuration: tuple[Any, ...]) -> Callable[..., None]:
        try:
            return partial(self._launch, *_configuration(configuration, self.signature.max_threads))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self.name}: {error}") from None

    def _launch(self, grid: Extent, block: Extent, shared: int, *values: Any) -> None:
        on = engine()
        arguments = self._convert(values, on)
        if 0 in grid:
            return
        if self._function_on is not on:
            self._function, self._function_on = self._module.function(self.name, on), on
        try:
            on.launch(self._function, grid, block, arguments, shared)
            if os.environ.get("MINIVAE_CUDA_DEBUG") == "1":
                on.synchronize()
        except RuntimeError as error:
            raise LaunchError(f"{self.name} <<<{grid}, {block}, {shared}>>>: {error}") from error

    def _convert(self, values: Sequence[Any], on: Engine) -> list[Any]:
        parameters = self.signature.parameters
        if len(values) != len(parameters):
            names = ", ".join(p.name for p in parameters)
            raise TypeError(f"{self.name} takes {len(parameters)} arguments ({names}), got {len(values)}")
        arguments = []
        for i, (parameter, value) in enumerate(zip(parameters, values, strict=True)):
            try:
                arguments.append(parameter.convert(value, on))
            except (TypeError, ValueError) as error:
                raise type(error)(f"{self.name}: argument {i}, {parameter.name}: {error}") from None
        return arguments


@lru_cache(maxsize=4096)
def _configuration(given: tuple[Any, ...], max_threads: int) -> tuple[Extent, Extent, int]:
    """grid and block with all three numbers, and the shared memory, checked."""
    if not isinstance(given, tuple) or len(given) not in (2, 3):
        raise TypeError("expected kernel[grid, block] or kernel[grid, block, shared]")
    grid, block = _extent("grid", given[0], 0, GRID_LIMIT), _extent("block", given[1], 1, BLOCK_LIMIT)
    shared = given[2] if len(given) == 3 else 0
    threads = block[0] * block[1] * block[2]
    if threads > max_threads:
        raise ValueError(f"a block of {threads} threads, at most {max_threads} are allowed")
    if not isinstance(shared, int) or shared < 0:
        raise ValueError(f"shared memory must be a number of bytes, got {shared!r}")
    return grid, block, shared


def _extent(what: str, value: int | tuple[int, ...], least: int, limit: Extent) -> Extent:
    sizes = value if isinstance(value, tuple) else (value,)
    if not 1 <= len(sizes) <= 3 or any(not hasattr(n, "__index__") for n in sizes):
        raise TypeError(f"{what} must be an int or up to three ints, got {value!r}")
    x, y, z = (*map(int, sizes), 1, 1)[:3]
    if any(not least <= n <= most for n, most in zip((x, y, z), limit, strict=True)):
        raise ValueError(f"{what} must lie between {least} and {limit}, got {value!r}")
    return x, y, z


def _default_instances(file: str, declaration: KernelDeclaration) -> list[tuple[TemplateArgument, ...]]:
    required = [p for p in declaration.template if p.default is None]
    if len(required) > 1 or any(not p.is_type for p in required):
        raise ValueError(f"{file}: the instances of the template {declaration.name} must be listed")
    return list(product(FLOATS, repeat=len(required)))
