"""Compare the VAE, the beta-VAE and the beta-TC-VAE by MIG and SAP on the generated shapes, with several seeds each.

    python benchmarks/disentanglement.py --seeds 0 1 2

Every model is trained on the 4,000 training images and its codes of all 5,000 are scored (minivae/uses/
disentanglement.py); ELBO, nll and kl are those of the 1,000 test images, in nats per image. All models have the same
layers, the same images in the same order and the same number of steps; only the price of the KL term differs. Without
a warm-up some trainings of the VAE and the beta-VAE end in posterior collapse (minivae/models/vae.py), so they are
trained with one too. --json has one row for each training and is rewritten after each; rows that it holds already are
not computed again. The table has means, and of MIG and SAP the lowest and highest of the seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minivae import datasets, manual_seed, uses
from minivae.models import VAE, BetaTCVAE
from minivae.training import evaluate

HERE = Path(__file__).parent
WARMUP = 320  # steps in which the weight of the KL term rises: 10 epochs
MODELS: dict[str, Callable[..., VAE]] = {
    "VAE": VAE,
    "beta-VAE, beta = 4": lambda *shape, **options: VAE(*shape, beta=4, **options),
    "VAE, warm-up": lambda *shape, **options: VAE(*shape, kl_warmup=WARMUP, **options),
    "beta-VAE, beta = 4, warm-up": lambda *shape, **options: VAE(*shape, beta=4, kl_warmup=WARMUP, **options),
    "beta-TC-VAE, beta = 6": lambda *shape, **options: BetaTCVAE(*shape, beta=6, **options),
}
SCORES = ("mig", "sap", "elbo", "nll", "kl")


def main() -> None:
    args = arguments()
    data = datasets.load("shapes", image_shape=(1, args.size, args.size))
    rows = json.loads(args.json.read_text())["rows"] if args.json.is_file() else []
    for seed in args.seeds:
        for name in args.models:
            if any((row["model"], row["seed"]) == (name, seed) for row in rows):
                continue
            rows.append(trained(name, seed, data, args.epochs))
            print(json.dumps(rows[-1]), flush=True)
            record = {"size": args.size, "epochs": args.epochs, "factors": data.factor_names, "rows": rows}
            args.json.write_text(json.dumps(record) + "\n")
    print(table(rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--size", type=int, default=16, help="pixels along a side of an image")
    parser.add_argument("--json", type=Path, default=HERE / "results" / "disentanglement.json")
    return parser.parse_args()


def trained(name: str, seed: int, data: datasets.Dataset, epochs: int) -> dict[str, Any]:
    """Train a model and return what there is to know of it."""
    manual_seed(seed)
    began = time.process_time()
    model = MODELS[name](data.x_train.shape[1:], 10).fit(data.x_train, epochs=epochs, lr=2e-3)
    seconds = time.process_time() - began
    x, factors = (
        np.concatenate([getattr(data, f"{part}_{of}") for of in ("train", "test")]) for part in ("x", "factors")
    )
    found = uses.disentanglement(uses.latent_codes(model, x), factors, classes=(0,))
    terms = evaluate(model, data.x_test)
    numbers = {"mig": found.mig, "sap": found.sap, "elbo": -terms["nll"] - terms["kl"], **terms}
    gaps = {k: getattr(found, k).round(4).tolist() for k in ("information_gaps", "predictability_gaps")}
    scores = {k: round(numbers[k], 4) for k in SCORES}
    return {"model": name, "seed": seed, "cpu_seconds": round(seconds, 1), **scores, **gaps}


def table(rows: list[dict[str, Any]]) -> str:
    """The README's table: the mean over the seeds and, of MIG and SAP, the lowest and highest."""
    lines = [["model", "MIG", "SAP", "ELBO", "nll", "kl"], ["---"] * 6]
    for name in MODELS:
        found = {score: [row[score] for row in rows if row["model"] == name] for score in SCORES}
        if not found["mig"]:
            continue
        spread = [f"{np.mean(v):.2f} ({min(v):.2f} to {max(v):.2f})" for v in (found["mig"], found["sap"])]
        lines.append([name, *spread, *(f"{np.mean(found[score]):.1f}" for score in SCORES[2:])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
