"""The columns that this machine can measure: NumPy, C with a compiler, CuPy with a GPU, PyTorch where installed."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from typing import Any

import numpy as np

import minivae as mv
from minivae import kernels
from minivae.kernels.native.library import why_not

try:
    import torch
except ImportError:
    torch = None

CPU: dict[str, str] = {"C": "native", "NumPy": "reference"}  # column -> backend; the first one is the default
MISSING: list[str] = []  # "column: reason" for each column that is left out


def find() -> Any:
    """Return the CUDA backend or None, fill MISSING, and give PyTorch as many threads as minivae."""
    MISSING.clear()
    if "C" in CPU and (missing := why_not()):
        del CPU["C"]
        MISSING.append(f"C: {missing}")
    if torch is None:
        MISSING.append("PyTorch: not installed (pip install torch==2.13.0)")
    else:
        torch.set_num_threads(threads())
        if not torch.cuda.is_available():
            MISSING.append("PyTorch CUDA: this PyTorch finds no GPU")
    try:
        return kernels.backend("cuda")
    except RuntimeError as error:
        MISSING.append(f"CuPy: {error}")
        return None


def threads() -> int:
    """The number of threads that each column may use."""
    return int(os.environ.get("MINIVAE_NUM_THREADS") or len(os.sched_getaffinity(0)))


def machine() -> dict[str, Any]:
    """A description of the machine: date, processor, threads, load, versions, columns left out."""
    names = ("numpy", "torch", "cupy-cuda12x", "cupy-cuda13x", "threadpoolctl")
    installed = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"] in names}
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": _processor(),
        "threads": threads(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "blas": f"{blas.get('name')} {blas.get('version')}",
        "minivae": mv.__version__,
        **dict(sorted(installed.items())),
        "left out": list(MISSING),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor()
