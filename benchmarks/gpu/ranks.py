"""How a training scales over the GPUs of several ranks. No machine with several GPUs has run it yet.

    mpiexec -n 1 python -m mpi4py -m benchmarks.gpu.ranks            then -n 2, -n 4: a line each
    mpiexec -n 2 python -m mpi4py -m benchmarks.gpu.ranks --device cpu --batch 16 --epochs 2       without a GPU

A line has the ranks, the images per second in the median of all epochs but the first, which compiles and captures, and
a digest of the weights. With one number of shards the digest must be the same on any number of ranks.
"""

from __future__ import annotations

import argparse
from statistics import median
from zlib import crc32

from minivae.training.ranks import world

from .. import cases


def main() -> None:
    """Train the convolutional VAE and print the line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.ranks", description="Scaling over GPUs.")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--batch", type=int, default=512, help="images in a batch of all ranks together")
    parser.add_argument("--shards", type=int, default=4, help="parts of a batch, at least as many as ranks")
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()
    case = cases.MODELS["conv VAE"]
    model, x = case.make(), cases.images(20 * args.batch, case.image_shape)
    model.fit(x, epochs=args.epochs, batch_size=args.batch, shards=args.shards, device=args.device)
    if world().rank == 0:
        speed = median(record["images_per_second"] for record in model.history[1:])
        digest = crc32(b"".join(p.numpy().tobytes() for p in model.parameters()))
        print(f"{world().size} ranks, {args.shards} shards, {args.device}: {speed:,.0f} images/s, weights {digest:08x}")


if __name__ == "__main__":
    main()
