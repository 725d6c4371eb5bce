"""What must be installed for kernels to be compiled and launched, and the errors that say what is missing.

The driver alone does not do. CuPy hands every kernel to NVRTC, the compiler, and gives it the folder of CUDA's headers,
whether the kernel includes any or not: where there is none, CuPy 14 compiles nothing. The extra `ctk` of its wheels
brings both.
"""

from __future__ import annotations

from types import ModuleType

OLDEST_CUPY = (14, 2)  # the first that keeps instances of templates on disk once they are compiled (cupy#10177)
INSTALL = "pip install 'minivae[cuda13]' (CUDA 13 driver) or 'minivae[cuda12]'"


def import_cupy() -> ModuleType:
    """CuPy, able to compile and to launch. Raises RuntimeError, with what to install, where it is not."""
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
    """What keeps this CuPy from compiling kernels, as the end of a sentence with what to install; None: nothing."""
    if tuple(map(int, cupy.__version__.split(".")[:2])) < OLDEST_CUPY:
        return f"{'.'.join(map(str, OLDEST_CUPY))} or later is needed: {INSTALL}"
    if headers() is None:
        return f"finds no CUDA headers, without which it compiles nothing: {INSTALL}"
    if compiler(cupy) is None:
        return f"finds no NVRTC, the compiler of kernels: {INSTALL}"
    return None


def headers() -> str | None:
    """The folder of CUDA's headers, looked for as CuPy looks for it; None where there is none."""
    from cuda.pathfinder import find_nvidia_header_directory  # installed with CuPy

    return find_nvidia_header_directory("cudart")


def compiler(cupy: ModuleType) -> str | None:
    """The version of NVRTC, or None where it cannot be loaded."""
    try:
        major, minor = cupy.cuda.nvrtc.getVersion()
    except RuntimeError:
        return None
    return f"{major}.{minor}"
