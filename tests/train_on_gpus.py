"""Trains a model on the emulated GPUs of the ranks of mpiexec, for test_nccl.py, and writes weights and records.

mpiexec -n 2 python -m mpi4py train_on_gpus.py weights.npz      without mpiexec: in one process
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent))

from fake_nccl import FakeNccl, RankEmulator

import minivae as mv
from minivae.kernels.cuda import launcher
from minivae.training.ranks import world

IMAGES = np.random.default_rng(0).random((20, 1, 8, 8)).astype(np.float32)
HIDDEN = 80  # so many that the gradients do not count as small for NcclSum


def main(path: str) -> None:
    ranks, nccl = world(), FakeNccl(lambda messages: ranks.comm.alltoall(messages))  # type: ignore[attr-defined]
    warnings.simplefilter("error")  # a step that is not captured
    with launcher.use_engine(RankEmulator(ranks.rank, nccl)):
        model = mv.models.VAE((1, 8, 8), latent_dim=3, arch="dense", hidden=(HIDDEN,), random_state=1)
        model.fit(IMAGES, epochs=3, batch_size=8, clip_norm=5.0, device="cuda", validation=IMAGES[:5], shards=4)
        weights = {name: tensor.numpy() for name, tensor in model.named_parameters()}
    assert set(nccl.calls) == ({"group", "allGather"} if ranks.size > 1 else set())
    losses = [[record["loss"], record["validation_loss"]] for record in model.history]
    if ranks.rank == 0:
        np.savez(path, losses=losses, **weights)


if __name__ == "__main__":
    main(sys.argv[1])
