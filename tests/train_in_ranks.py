"""A script for mpiexec: train each model of shard_models.py and write down what came of it, as digests.

    mpiexec -n 4 python -m mpi4py tests/train_in_ranks.py FOLDER REPEATS [NAME ...]

Every rank writes FOLDER/<rank>.json. tests/training/test_shards_under_mpi.py starts it, and calls outcomes() in a
process that is alone. All results must be equal, bit by bit.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parent))
from shard_models import CASES, IMAGES, SHAPE, Case

import minivae as mv
from minivae.kernels import use_cpu
from minivae.nn.module import Buffer, Parameter
from minivae.training import ranks, team
from minivae.training.callbacks import BestCheckpoint, EarlyStopping

SHARDS = 4
# Its gradients take more than MpiWorld sends in one small message.
LARGE = Case(lambda: mv.models.VAE(SHAPE, 8, arch="dense", hidden=(96,), free_bits=0.02), IMAGES)
EVERY = {**CASES, "large": LARGE}


def outcomes(folder: Path, epochs: int, names: Sequence[str]) -> dict[str, str]:
    """Return the digest of what a training in 4 shards leaves behind, by the name of the model."""
    return {name: outcome(EVERY[name], folder / f"{name}.npz", epochs) for name in names}


def outcome(case: Case, file: Path, epochs: int) -> str:
    """Train in batches of 10, 10 and 2 examples, of which the last is too small to be cut.

    The digest is of weights, buffers, moments, the history without times, the noise that comes next, and, on rank 0,
    of the file that BestCheckpoint has written.
    """
    mv.manual_seed(0)
    model, made = case.make(), []

    def adam(params: list[mv.Tensor], lr: float) -> mv.optim.Adam:
        made.append(mv.optim.Adam(params, lr=lr))
        return made[0]

    stop = EarlyStopping(patience=max(1, epochs // 2), monitor="validation_loss")
    model.fit(
        *(case.x, case.y),
        epochs=epochs,
        batch_size=10,
        lr=1e-2,
        optimizer=adam,
        clip_norm=10.0,
        validation=case.x[:9] if case.y is None else (case.x[:9], case.y[:9]),
        on_epoch=[stop, BestCheckpoint(file)],
        shards=SHARDS,
    )
    found = sha256()
    for name, tensor in model.named_tensors((Parameter, Buffer)):
        found.update(name.encode() + np.ascontiguousarray(tensor.numpy()).tobytes())
    for name, moment in sorted(made[0].state_dict().items()):
        found.update(name.encode() + np.ascontiguousarray(moment).tobytes())
    history = [{k: v for k, v in r.items() if k not in ("seconds", "images_per_second")} for r in model.history]
    best = mv.models.load(file, [type(model)]).state_dict() if type(model).__name__ in mv.models.MODELS else {}
    found.update(repr((history, mv.random.default_generator.state_dict(), stop.state_dict().get("best"))).encode())
    for name, array in best.items():
        found.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def main(folder: Path, epochs: int, names: Sequence[str]) -> dict[str, Any]:
    """Return the outcomes with both CPU backends, and those of each way to make sums between ranks."""
    from minivae.training import mpi

    every: dict[str, Any] = {}
    world = ranks.world()
    for backend in ("native", "reference"):
        with use_cpu(backend):
            every[backend] = outcomes(folder, epochs, names if backend == "native" else SOME)
    mpi.SMALL = 0  # bytes: nothing is small, all sums are made in parts
    for way, shared in (("shared", True), ("messages", False)):
        chosen = mpi.MpiWorld(shared)
        team.world = partial(lambda world: world, chosen)
        every[way] = outcomes(folder, 2, SOME)
    assert world.size == int(os.environ.get("PMI_SIZE", world.size))
    return every


# One of each way to look at the batch: sums in the loss, codebooks, batch normalisation, two players; a large one.
SOME = ("BetaTCVAE", "VQVAE", "Own", "VQGAN", "large")

if __name__ == "__main__":
    from mpi4py import MPI

    out, repeats, *chosen = sys.argv[1:]
    result = main(Path(out), int(repeats), chosen or list(EVERY))
    (Path(out) / f"{MPI.COMM_WORLD.rank}.json").write_text(json.dumps(result))
