"""`minivae info` prints what this installation computes with."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from importlib import metadata
from typing import Any

import numpy as np

from minivae import __version__
from minivae.kernels import cpu_choice

from .options import add_command


def add_commands(commands: Any) -> None:
    add_command(commands, "info", _info, "print versions, the kernels in use and why, BLAS, MPI and GPU")


def _info(args: argparse.Namespace) -> None:
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    rows = [
        ["minivae", __version__],
        ["Python", f"{platform.python_version()} on {platform.machine()}"],
        ["NumPy", np.__version__],
        ["kernels", _kernels()],
        ["BLAS", f"{blas.get('name')} {blas.get('version')}, {_blas_threads()}"],
        ["MPI", _mpi()],
        *_gpu(),
    ]
    for name, value in rows:
        print(f"{name:8} {value}")


def _kernels() -> str:
    """Name the kernels that compute with NumPy arrays; those in C are compiled now if they were not before."""
    choice = cpu_choice()
    return " ".join(f"{choice.name}: {choice.why}".split())


def _blas_threads() -> str:
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
        limits = [f"{n}={os.environ[n]}" for n in names if n in os.environ]
        return ", ".join(limits) or f"up to {os.cpu_count()} threads"
    np.ones((2, 2)) @ np.ones((2, 2))
    threads = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return f"{max(threads, default=1)} threads"


def _mpi() -> str:
    """Name the MPI that `mpiexec` must belong to. Another process loads it, as that would make this one a rank."""
    try:
        version = f"mpi4py {metadata.version('mpi4py')}"
    except metadata.PackageNotFoundError:
        return "mpi4py is not installed"
    command = [sys.executable, "-m", "mpi4py", "--mpi-lib-version"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode:
        return f"{version} finds no library of an MPI: {' '.join(asked.stderr.split()[-12:])}"
    return f"{' '.join(asked.stdout.splitlines()[0].split())}, {version}"


def _gpu() -> list[list[str]]:
    try:
        import cupy
    except ImportError:
        return [["CuPy", "not installed"]]
    from minivae.kernels.cuda.installation import compiler, headers, missing

    rows = [
        ["CuPy", cupy.__version__],
        ["CUDA", missing(cupy) or f"NVRTC {compiler(cupy)}, headers in {headers()}"],
    ]
    if not cupy.cuda.is_available():
        return [*rows, ["GPU", "none found"]]
    for i in range(cupy.cuda.runtime.getDeviceCount()):
        rows.append(["GPU", cupy.cuda.runtime.getDeviceProperties(i)["name"].decode()])
    return rows
