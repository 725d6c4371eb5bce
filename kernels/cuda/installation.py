"""Checks that everything is installed that kernels need to be compiled and launched, and says what is missing.

The driver alone is not enough. CuPy passes every kernel to the compiler NVRTC together with the folder of CUDA's
headers, even if the kernel includes none; without these headers CuPy 14 compiles nothing. The extra `ctk` of CuPy's
wheels installs both.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from types import ModuleType

OLDEST_CUPY = (14, 2)  # the first version that keeps compiled instances of templates on disk (cupy#10177)
INSTALL = "pip install 'minivae[cuda13]' (CUDA 13 driver) or 'minivae[cuda12]'"
INSTALL_NCCL = "pip install 'minivae[nccl13]' (CUDA 13 driver) or 'minivae[nccl12]'"


def import_cupy() -> ModuleType:
    """The module cupy, ready to compile and launch. Raises RuntimeError, which says what to install, if it is not."""
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(f"device cuda needs CuPy: {INSTALL}") from error
    found = f"device cuda: CuPy {cupy.__version__} is installed, but"
    if not cupy.cuda.is_available():
        raise RuntimeError(f"{found} finds no GPU that its driver can use")
    if lack := missing(cupy):
        raise RuntimeError(f"{found} {lack}")
    return cupy


def missing(cupy: ModuleType) -> str | None:
    """None, or what keeps this CuPy from compiling kernels, as the end of a sentence that says what to install."""
    if tuple(map(int, cupy.__version__.split(".")[:2])) < OLDEST_CUPY:
        return f"{'.'.join(map(str, OLDEST_CUPY))} or later is needed: {INSTALL}"
    if headers() is None:
        return f"finds no CUDA headers, without which it compiles nothing: {INSTALL}"
    if compiler(cupy) is None:
        return f"finds no NVRTC, the compiler of kernels: {INSTALL}"
    return None


def import_nccl() -> ModuleType:
    """CuPy's module for NCCL, whose library it loads. Raises RuntimeError, which says what to install."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that of CuPy says the same as the error
        nccl = import_module("cupy.cuda.nccl")
    if not nccl.available:
        raise RuntimeError(f"several ranks on GPUs need NCCL, which CuPy does not find: {INSTALL_NCCL}")
    return nccl


def headers() -> str | None:
    """The folder of CUDA's headers, searched for as CuPy does it; None if there is none."""
    from cuda.pathfinder import find_nvidia_header_directory  # installed with CuPy

    return find_nvidia_header_directory("cudart")


def compiler(cupy: ModuleType) -> str | None:
    """The version of NVRTC, or None if it cannot be loaded."""
    try:
        major, minor = cupy.cuda.nvrtc.getVersion()
    except RuntimeError:
        return None
    return f"{major}.{minor}"
