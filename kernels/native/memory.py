"""Memory that a training step has freed is kept for the next one.

The arrays of a training step have the same sizes every time. The C library's allocator (glibc) gives large ones back to
the system when they are freed, and the next step's come as fresh pages, each of which costs a page fault when it is
first touched: a third of the time of a step of a convolutional VAE. Told to keep them, it hands out the same memory
again, to NumPy for results and to the kernels for what they work in, and nothing in their code shows it.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

# Parameters of mallopt, from malloc.h, and the largest values that it takes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = {M_TRIM_THRESHOLD: 2**31 - 1, M_MMAP_THRESHOLD: 2**25}


@lru_cache
def keep_freed_memory() -> bool:
    """Keep what is freed for this process's next allocations, from now on; says whether the C library obeyed.

    Arrays above 32 MiB still come from the system. It does nothing where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(mallopt(parameter, value) for parameter, value in LARGEST.items())
