"""Call NVRTC, the CUDA compiler that CuPy uses, directly, which needs neither CuPy nor a driver nor a GPU.

It is the package nvidia-cuda-nvrtc on PyPI. For an architecture sm_XX it compiles to machine code, and its assembler
reports how many registers each kernel uses and how many bytes it spills to memory.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from pkgutil import walk_packages

from minivae.kernels import cuda
from minivae.kernels.cuda.launcher import Module

OPTIONS = ("-std=c++17", "-ftz=true", "--device-as-default-execution-space")  # what launcher.py and CuPy pass
REPORT = "--ptxas-options=-v"

_USAGE = re.compile(
    r"Function properties for (?P<name>\S+)\s+(?:ptxas\s*\.)?\s*"
    r"\d+ bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads\s+"
    r"ptxas info\s*: Used (?P<registers>\d+) registers"
)


@dataclass(frozen=True)
class Usage:
    """What a thread of one kernel uses: registers, and bytes that are spilled to memory and loaded from it again."""

    registers: int
    spilled: int


class CompileError(Exception):
    """The compiler's messages."""


def modules() -> dict[str, tuple[Module, dict[str, int]]]:
    """Each .cu file from which a module of the backend launches kernels, with the register budgets of these kernels."""
    found = {}
    for info in walk_packages(cuda.__path__, f"{cuda.__name__}."):
        python = import_module(info.name)
        for module in (getattr(python, "MODULE", None), *getattr(python, "MODULES", {}).values()):
            if isinstance(module, Module):
                found[module.path.name] = (module, python.REGISTERS)
    return found


@cache
def library() -> ctypes.CDLL | None:
    """The NVRTC library, or None if it is not installed."""
    try:
        files = metadata.files("nvidia-cuda-nvrtc") or []
    except metadata.PackageNotFoundError:
        return None
    for pattern in (r"libnvrtc-builtins\.so[.\d]*", r"libnvrtc\.so[.\d]*"):  # the second library needs the first
        (path,) = (file.locate() for file in files if re.fullmatch(pattern, file.name))
        found = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    return found


def compile(source: str, file: str, instances: Sequence[str], arch: str) -> dict[str, Usage]:
    """Compile instances of the kernels in a source for an architecture such as 'sm_90' and return what each uses.

    Raises CompileError with the compiler's messages, which name file and line.
    """
    with _compiled(source, file, instances, REPORT, f"-arch={arch}") as (nvrtc, program):
        log = _log(nvrtc, program)
        usage = {
            m["name"]: Usage(int(m["registers"]), int(m["stores"]) + int(m["loads"])) for m in _USAGE.finditer(log)
        }
        return {name: usage[_lowered(nvrtc, program, name)] for name in instances}


def ptx(source: str, file: str, instance: str) -> str:
    """The instance in PTX, NVIDIA's assembly language, in which registers are not assigned yet."""
    with _compiled(source, file, [instance], "-arch=compute_90") as (nvrtc, program):
        size = ctypes.c_size_t()
        nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetPTX(program, text)
        return text.value.decode()


@contextmanager
def _compiled(
    source: str, file: str, instances: Sequence[str], *more: str
) -> Iterator[tuple[ctypes.CDLL, ctypes.c_void_p]]:
    nvrtc, program = library(), ctypes.c_void_p()
    assert nvrtc is not None
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), file.encode(), 0, None, None)
    try:
        for name in instances:
            nvrtc.nvrtcAddNameExpression(program, name.encode())
        options = [option.encode() for option in (*OPTIONS, *more)]
        if nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options)):
            raise CompileError(_log(nvrtc, program))
        yield nvrtc, program
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _log(nvrtc: ctypes.CDLL, program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    return log.value.decode()


def _lowered(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, instance: str) -> str:
    """The mangled name of an instance of a template."""
    lowered = ctypes.c_char_p()
    nvrtc.nvrtcGetLoweredName(program, instance.encode(), ctypes.byref(lowered))
    return (lowered.value or b"").decode()
