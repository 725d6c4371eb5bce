"""Run the project's CUDA kernels, unmodified, on a CPU, to test them without a GPU. It is a test tool, not a backend.

    from minivae.kernels.cuda import launcher
    from cuda_emulator import Emulator

    with launcher.use_engine(Emulator(order="reversed")):
        module.kernel("gemm", "float", 64, 64)[grid, block](a, b, c, M, N, K)      # NumPy arrays

    with launcher.use_engine(Emulator(xp=arrays)):
        model.fit(images, device="cuda")                      # the whole backend, with a fake CuPy (arrays.py)

How it works

* g++ compiles the text of the .cu file after declarations of what NVRTC has built in (device/), against a small
  runtime (runtime/). Both are compiled once and cached (build.py). Only `__shared__` declarations are rewritten.
* Each CUDA thread is a fiber (runtime/fibers.h); the scheduler (runtime/block.h) lets a thread run until it waits at
  a barrier or in a warp intrinsic (runtime/warp.h). Blocks run one after the other.
* Arrays are copied between unreadable pages (runtime/memory.h), each variable in shared memory ends at such a page
  (runtime/shared.h), and faults are turned into error messages (runtime/faults.h).
* `MINIVAE_EMULATOR` is defined. A kernel needs it only for inline assembly: the tensor core instruction exists here as
  `emulator::mma_m16n8k8_tf32`, the conversion of its operands as `emulator::float_to_tf32` (device/threads.h).

What it finds, with the block and the thread

* reads and writes outside of an array, past the end of a shared variable, or through a null pointer; with
  check_bounds=True also indices outside of the rows of arrays of fixed size, shared or local;
* most vector loads from arrays that were not declared ALIGNED; stack overflow; integer division by zero;
* barriers that not all threads reach, or that they reach at different lines;
* warp masks that leave out the caller, that lanes disagree about, that name lanes which have exited or do not exist;
  shuffles that read a lane outside the mask;
* shared memory that is used before it is written: it holds NaN when a block begins;
* results that depend on the order of threads, so most races: order="all".

What it cannot find

* races that none of the orders exposes, since a thread runs undisturbed until it waits; missing fences, since memory
  is sequentially consistent; anything that needs blocks to run at the same time;
* results of `fmax`, `min` or a comparison that happen to hide a NaN; use of uninitialised registers;
* anything about speed: bank conflicts, coalescing, occupancy; NVRTC checks the limits on registers and static shared
  memory;
* differences in the last bits: exp, log, sin, ... are those of the C library, and g++ decides which multiplications and
  additions it contracts. Subnormals are zero in float64 too; on a GPU only those of float32 are (CuPy passes
  -ftz=true to NVRTC).

Not provided: floating-point atomics (they make results depend on the order of threads), cooperative groups,
asynchronous copies, half precision, textures. `extern __shared__` must stand inside a
function, and a lambda that uses shared memory must capture by reference.
"""

from __future__ import annotations

from . import arrays
from .build import compiler
from .engine import ORDERS, Emulator

__all__ = ["ORDERS", "Emulator", "arrays", "compiler"]
