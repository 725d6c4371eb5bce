"""Ranks: the processes that were started together, by mpiexec or by the batch system of a cluster.

    mpiexec -n 4 python -m mpi4py -m minivae train vae        # or: mpiexec -n 4 python -m mpi4py script.py

Nobody tells minivae: the starter sets variables of the environment, and mpi4py (mpi.py) knows the rest. mpi4py is
imported only where one of them is set or the program has imported it already.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cache

from minivae.kernels import backend

from .world import World

# What starters tell each process about the number of them: MPICH and Intel MPI, Open MPI; and the processes of others.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PALS_SIZE", "MPI_LOCALNRANKS")
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PALS_RANKID")


def started(environment: Mapping[str, str]) -> int | None:
    """Return how many processes were started together, 0 if that is not said, None for a process that is alone."""
    for name in SIZES:
        if environment.get(name, "").isdigit():
            return int(environment[name])
    return 0 if any(name in environment for name in RANKS) else None


def is_first(environment: Mapping[str, str]) -> bool:
    """Return whether this is the first of the processes that were started together, as far as that is said."""
    return all(environment.get(name, "0") == "0" for name in RANKS)


def choose_gpu(device: str | None) -> None:
    """For the device 'cuda', make a GPU of its own the current one of each rank of this machine, in turn.

    It comes before anything goes to the GPU. A process that is alone stays on the current GPU.
    Raises RuntimeError, which says what is missing, without CuPy or a GPU, and whatever world() raises.
    """
    if device == "cuda" and world().size > 1:
        backend("cuda").launcher.engine().use_gpu(world().local)


@cache
def world() -> World:
    """Return the ranks that were started together with this process.

    Raises ImportError where there are several and mpi4py or its MPI is missing, RuntimeError where mpi4py uses another
    MPI than that of the mpiexec that has started them, so that each process takes itself for the only one.
    """
    count = started(os.environ)
    if count is None and "mpi4py.MPI" not in sys.modules:
        return World()
    try:
        from .mpi import MpiWorld
    except (ImportError, RuntimeError) as error:
        if count is not None and count < 2:
            return World()
        raise ImportError(
            f"this is one of {count or 'several'} processes of mpiexec, which need mpi4py and the library of an MPI: "
            f"pip install 'minivae[mpi]' ({error})"
        ) from None
    ranks = MpiWorld()
    if (count or 0) > 1 and ranks.size == 1:
        raise RuntimeError(
            f"mpiexec has started {count} processes, but the MPI of mpi4py, {ranks.library}, sees only one: "
            "start them with the mpiexec of that MPI, `python -m mpi4py --mpi-lib-version` names it"
        )
    if ranks.size > 1:
        ranks.share_cores()
        ranks.end_together()
    return ranks
