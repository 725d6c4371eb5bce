"""Compare the bounds of VQ-VAE-2 and of the VQ-VAE, each with its prior, after equal training time.

    python benchmarks/two_levels.py --data fashion-mnist --seconds 150 --one 4 32 256 --two 3x4 32x32 256x256

--one lists the codebook sizes of VQ-VAEs, --two those of VQ-VAE-2s, bottom x top. A model and its prior (or priors)
together train for about --seconds CPU seconds of one thread, --share of them for the model: a short training first says
how long an image takes, and so many images are drawn, pass by pass over the training images, that the time is used up.
The learning rate falls to 0 over just these images. The time of both fits that was then measured stands beside each
result. Not counted is the time to encode the training images for the prior.

The priors have no classes and no mirror images, so that the bound is one on -log p(x). Each result is added to --json,
where it stands as soon as it is there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import minivae as mv
from minivae.models import VQVAE, VQVAE2, PixelCNN, VQVAE2Prior
from minivae.models.vqvae2 import LEVELS
from minivae.random import fork
from minivae.training.checkpoint import atomic_write

BATCH, LR = 128, 2e-3  # images in a step; the first learning rate
TRIAL, LEAST = 10, 1e-9  # steps of the short training, and its learning rate, which changes nothing
Fit = Callable[..., Any]  # fit(rows, lr=, epochs=, batch_size=)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion-mnist", help="data set, as for minivae train")
    parser.add_argument("--seconds", type=float, default=150, help="CPU seconds for a model and its priors")
    parser.add_argument("--share", type=float, default=0.55, help="share of them for the model")
    parser.add_argument("--one", type=int, nargs="*", default=[], metavar="CODES")
    parser.add_argument("--two", nargs="*", default=[], metavar="BOTTOMxTOP")
    parser.add_argument("--stride", type=int, default=4, help="of the VQ-VAE-2")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "two_levels.json")
    args = parser.parse_args()
    data = mv.datasets.load(args.data)
    for seed in args.seeds:
        for codes in args.one:
            add(args, {"model": "VQVAE", "codes": codes, "seed": seed}, result(args, VQVAE(codes=codes), data, seed))
        for sizes in args.two:
            bottom, top = map(int, sizes.split("x"))
            model = VQVAE2(codes=bottom, top_codes=top, stride=args.stride)
            of = {"model": "VQVAE2", "codes": bottom, "top_codes": top, "stride": args.stride, "seed": seed}
            add(args, of, result(args, model, data, seed))


def result(args: argparse.Namespace, model: Any, data: Any, seed: int) -> dict[str, Any]:
    """Train the model and its prior, and return the parts of the bound on the test images."""
    mv.manual_seed(seed)
    x, count = data.x_train, len(data.x_train)
    model.prepare(x)
    time_of_model, seen = train(lambda rows, **of: model.fit(x[rows], **of), count, args.seconds * args.share)
    prior, fit = prior_of(model, model.encode(x))
    time_of_prior, coded = train(fit, count, args.seconds * (1 - args.share))
    bound = model.bound(data.x_test, prior)._asdict()
    found = {"nats_of_codes" if name == "codes" else name: round(value, 4) for name, value in bound.items()}
    if isinstance(model, VQVAE2):
        found |= {f"nll_without_{level}": round(model.nll_without(data.x_test, level), 2) for level in LEVELS}
    seconds = {"model_seconds": round(time_of_model, 1), "prior_seconds": round(time_of_prior, 1)}
    return {**found, **seconds, "passes": round(seen / count, 2), "prior_passes": round(coded / count, 2)}


def prior_of(model: Any, codes: Any) -> tuple[Any, Fit]:
    """A new prior, and what trains it on the codes of some rows."""
    if isinstance(model, VQVAE2):
        levels = VQVAE2Prior.of(model)
        return levels, lambda rows, **of: levels.fit((codes.top[rows], codes.bottom[rows]), **of)
    prior = PixelCNN(model.code_shape, model.codes, codebook_digest=model.codebook_digest)
    return prior, lambda rows, **of: prior.fit(codes[rows], **of)


def train(fit: Fit, count: int, seconds: float) -> tuple[float, int]:
    """Fit on rows of `count` for about so many CPU seconds. Return the seconds, and how many rows were seen."""
    settings = {"epochs": 1, "batch_size": BATCH}
    with fork(1):
        fit(np.arange(2 * BATCH) % count, lr=LEAST, **settings)  # memory is allocated, kernels are chosen
        start = time.process_time()
        fit(np.arange(TRIAL * BATCH) % count, lr=LEAST, **settings)
        each = (time.process_time() - start) / (TRIAL * BATCH)
    wanted = max(round(seconds / each), BATCH)
    passes = [np.random.default_rng(k).permutation(count) for k in range(-(-wanted // count))]
    start = time.process_time()
    fit(np.concatenate(passes)[:wanted], lr=LR, **settings)
    return time.process_time() - start, wanted


def add(args: argparse.Namespace, of: dict[str, Any], found: dict[str, Any]) -> None:
    record = {"data": args.data, "seconds": args.seconds, **of, **found}
    print(record, flush=True)
    records = json.loads(args.json.read_text()) if args.json.is_file() else []
    lines = ",\n".join(json.dumps(r) for r in [*records, record])
    atomic_write(args.json, lambda file: file.write(f"[\n{lines}\n]\n".encode()))


if __name__ == "__main__":
    main()
