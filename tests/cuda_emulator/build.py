"""Compile the runtime, and .cu sources against it, with g++ into cached shared libraries.

The name of a library is the hash of all inputs: source text, headers of the emulator, flags and compiler. So a library
is never out of date, and the second run of the tests compiles nothing. The cache is $MINIVAE_EMULATOR_CACHE or, if that
is not set, a folder of the user below the temporary directory.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from minivae.kernels.csource import split, without_comments
from minivae.kernels.cuda.engine import CompileError

HERE = Path(__file__).parent

# Like a GPU, contract a * b + c and do not set errno. Aliasing rules, stack protection and fortification are off, as
# kernels read floats as bits and four floats as a float4, and fibers jump between stacks. Without -fno-gnu-unique two
# builds of the runtime in one process would share their variables. Kernels run on one OS thread, so static variables
# need no locks.
FLAGS = (
    *("-std=c++17", "-O2", "-march=native", "-fPIC", "-shared", "-w", "-fno-math-errno", "-ffp-contract=fast"),
    *(
        "-fno-strict-aliasing",
        "-fno-stack-protector",
        "-fno-exceptions",
        "-fno-gnu-unique",
        "-fno-threadsafe-statics",
        "-U_FORTIFY_SOURCE",
    ),
)
CHECK_BOUNDS = ("-fsanitize=bounds", "-fsanitize-undefined-trap-on-error")

_SHARED = re.compile(r"\b(?P<dynamic>extern\s+)?__shared__\s+(?P<declaration>[^;]+);")
_ALIGNMENT = re.compile(r"\b(?:__align__|alignas)\s*\([^()]*\)")
_VARIABLE = re.compile(r"\s*(?P<type>.*?)\s*\b(?P<name>\w+)\s*(?P<sizes>(?:\[[^\[\]]*\]\s*)*)", re.DOTALL)


@cache
def compiler() -> str | None:
    """The path of g++, or None if it is not installed."""
    return shutil.which("g++")


def runtime(ucontext: bool) -> Path:
    """The path of the library with which all kernels are linked."""
    flags = ["-DEMULATOR_RUNTIME", *(["-DEMULATOR_UCONTEXT"] if ucontext else [])]
    text = f'#include "{HERE}/runtime/runtime.cpp"\n'
    return _compile(text, (*FLAGS, *flags), ())


def kernels(source: str, instances: Sequence[str], check_bounds: bool, ucontext: bool) -> Path:
    """The library of a .cu source, which exports these instances as emulator_kernel_0, emulator_kernel_1, ...

    Only declarations of shared memory are rewritten (device/cuda.h), and line numbers stay the same. Raises
    CompileError with the compiler's messages.
    """
    text = _SHARED.sub(_rewrite_shared, without_comments(source))
    exports = "".join(f"EMULATOR_EXPORT({i}, {name})\n" for i, name in enumerate(instances))
    flags = (*FLAGS, "-fvisibility=hidden", *(CHECK_BOUNDS if check_bounds else ()))
    return _compile(
        f'#include "{HERE}/device/cuda.h"\n{text}\n#line 1 "instances"\n{exports}', flags, (str(runtime(ucontext)),)
    )


def _rewrite_shared(match: re.Match[str]) -> str:
    """`__shared__ T a[8][8], b;` becomes `EMULATOR_SHARED(a, T[8][8]); EMULATOR_SHARED(b, T);`"""
    first, *others = split(_ALIGNMENT.sub(" ", match["declaration"]))
    macro = "EMULATOR_DYNAMIC_SHARED" if match["dynamic"] else "EMULATOR_SHARED"
    rewritten, shared_type = "", ""
    for text in [first, *others]:
        variable = _VARIABLE.fullmatch(text)
        if variable is None:
            raise CompileError(f"cannot read this declaration: {match[0]}")
        shared_type = shared_type or variable["type"]
        sizes = "" if match["dynamic"] else variable["sizes"]
        rewritten += f"{macro}({variable['name']}, {shared_type}{sizes});"
    return " ".join(rewritten.split()) + "\n" * match[0].count("\n")


def _compile(text: str, flags: tuple[str, ...], libraries: tuple[str, ...]) -> Path:
    key = "\0".join([text, _headers(), *flags, *libraries, _compiler_version()])
    library = _cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.so"
    if library.exists():
        return library
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        source, made = Path(folder, "source.cpp"), Path(folder, "made.so")
        source.write_text(text, encoding="utf-8")
        command = [str(compiler()), *flags, str(source), *libraries, "-o", str(made)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise CompileError(result.stderr)
        made.replace(library)  # atomic, as another process may compile the same
    return library


@cache
def _headers() -> str:
    files = sorted([*HERE.rglob("*.h"), *HERE.rglob("*.cpp")])
    return "\0".join(file.read_text(encoding="utf-8") for file in files)


@cache
def _compiler_version() -> str:
    return subprocess.run([str(compiler()), "--version"], capture_output=True, text=True, check=True).stdout


@cache
def _cache_folder() -> Path:
    default = Path(tempfile.gettempdir()) / f"minivae-cuda-emulator-{getpass.getuser()}"
    folder = Path(os.environ.get("MINIVAE_EMULATOR_CACHE", default))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
