"""All tests and measurements that need a GPU, in one run of under ten minutes.

    python -m benchmarks.gpu                      all sections
    python -m benchmarks.gpu gemm conv            the sections named
    python -m benchmarks.gpu --rehearse           without a GPU, on the emulator at tiny sizes; writes no results

    suite       pytest --device cuda: the operations, layers and models; training steps that are captured as a graph and
                replayed must give the same bits as without a graph (tests/training/test_graph.py), and so must each
                launch (tests/benchmarks/test_launches.py); deleted graphs must free their memory (gpu_only tests)
    sanitizer   the four tools of compute-sanitizer, on one small launch of each kernel
    emulator    the same launches on the emulator and on the GPU, compared bit by bit
    gemm        the matrix products of kernels/cuda/ladder and matmul, against cuBLAS (through PyTorch), TF32 off and on
    conv        the three passes of each layer, and the ladder's convolution, against cuDNN, TF32 off and on
    nearest     the nearest code, against PyTorch's matmul and argmin
    steps       training steps of three models: kernel by kernel, as a graph, on the CPU; PyTorch eager and compiled
    curve       a VAE that is trained on both devices from one seed

`mpiexec -n 2 python -m mpi4py -m benchmarks.gpu.ranks` is apart, for a machine with several GPUs.

Results are written to benchmarks/results/gpu.json and gpu.md after each section, so that an interrupted run keeps them.
The candidates are timed in turns: a round measures each of them once, and the tables show the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib import metadata
from pathlib import Path
from typing import Any

import minivae as mv
from minivae import kernels
from minivae.kernels.cuda import launcher

from . import checks, speed
from .checks import ROOT
from .machine import Machine, Rows

RESULTS = ROOT / "benchmarks" / "results"

SECTIONS: dict[str, Callable[[Machine], Rows]] = {
    **{"suite": checks.suite, "sanitizer": checks.sanitizer, "emulator": checks.emulator},
    **{
        "gemm": speed.gemm_ladder,
        "conv": speed.conv_layers,
        "nearest": speed.nearest,
        "steps": speed.steps,
        "curve": speed.curve,
    },
}


def environment() -> dict[str, Any]:
    """The GPU and its driver, the date, and versions."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        gpu = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        gpu = "none"
    names = ("numpy", "torch", "cupy-cuda12x", "cupy-cuda13x", "cupy")
    installed = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"] in names}
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return {"gpu": gpu, "date": when, "python": platform.python_version(), "minivae": mv.__version__, **installed}


def markdown(report: dict[str, Any]) -> str:
    """The report as tables."""
    text = ["# On a GPU", "", "`python -m benchmarks.gpu` writes this page.", ""]
    text += [f"* {name}: {value}" for name, value in report["environment"].items()]
    for name, rows in report["sections"].items():
        columns = list(dict.fromkeys(key for row in rows for key in row if not isinstance(row[key], list)))
        text += ["", f"## {name}", "", (SECTIONS[name].__doc__ or "").strip(), "", f"| {' | '.join(columns)} |"]
        text += ["|" + " --- |" * len(columns)]
        text += ["| " + " | ".join(_cell(row.get(column, "")) for column in columns) + " |" for row in rows]
        text += [f"\n`{line}`" for row in rows for key in ("summary", "failed") for line in _lines(row.get(key))]
    return "\n".join(text) + "\n"


def _lines(value: Any) -> list[str]:
    return value if isinstance(value, list) else []


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> int:
    """Run the sections named on the command line; return 1 if one of them failed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Everything that needs a GPU.")
    parser.add_argument("sections", nargs="*", help=f"any of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--rehearse", action="store_true", help="on the emulator, tiny sizes, nothing written")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for gpu.json and gpu.md")
    args = parser.parse_args()
    if unknown := [name for name in args.sections if name not in SECTIONS]:
        parser.error(f"unknown sections {unknown}; there are {list(SECTIONS)}")
    failed = False
    with _engine(args.rehearse):
        report: dict[str, Any] = {"environment": environment(), "sections": {}}
        machine = Machine(args.rehearse)
        for name in args.sections or SECTIONS:
            start = time.perf_counter()
            try:
                report["sections"][name] = SECTIONS[name](machine)
            except Exception as error:
                failed = True
                report["sections"][name] = [{"error": f"{type(error).__name__}: {error}"}]
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
            if not args.rehearse:
                args.out.mkdir(parents=True, exist_ok=True)
                (args.out / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")
                (args.out / "gpu.md").write_text(markdown(report))
    print(markdown(report))
    return int(failed)


def _engine(rehearse: bool) -> Any:
    """A context manager: inside it kernels run on the GPU or, to rehearse, on the emulator."""
    if not rehearse:
        kernels.backend("cuda")  # raises RuntimeError, which says what is missing
        return nullcontext()
    sys.path.append(str(ROOT / "tests"))
    from cuda_emulator import Emulator, arrays

    return launcher.use_engine(Emulator(xp=arrays))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        sys.exit(f"error: {error}")
