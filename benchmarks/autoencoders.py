"""Compare the autoencoders with PCA: reconstructions, what a linear classifier finds in codes, anomalies.

    python benchmarks/autoencoders.py --runs runs

The script runs `minivae train` for each of MODELS by its defaults unless its run exists in --runs, then trains each a
second time on the first five classes alone, to find the test images of the others by their scores. It prints a table
in Markdown and writes the numbers to --json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minivae import datasets, models, uses
from minivae.models.base import Codec

MODELS = ("ae", "dae", "sae", "cae", "vae")  # and PCA of the lengths of their codes
LABELS = (10, 100, None)  # labelled images of each class
NORMAL = (0, 1, 2, 3, 4)
HEADER = ["model", "numbers", "squared error", "PSNR", "100 labels", "1,000 labels", "4,000 labels", "AUROC"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for the runs")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "autoencoders.json")
    args = parser.parse_args()
    by_name = {name: trained(name, args.runs) for name in MODELS}
    data = datasets.load("fashion-mini")
    split = uses.anomaly_split(data, NORMAL)
    accuracy = probed(by_name, data)
    contenders: dict[str, tuple[Any, Any]] = {
        name: (model, on_normal(model, args.runs / name, split.x_train)) for name, model in by_name.items()
    }
    for dim in sorted({model.latent_dim for model in by_name.values()}):
        contenders[f"PCA of {dim}"] = uses.PCA(data.x_train, dim), uses.PCA(split.x_train, dim)
    rows = {}
    for name, (model, on_some) in contenders.items():
        seen = model.reconstruct(data.x_test)
        rows[name] = {
            "squared_error": float(uses.squared_error(data.x_test, seen).mean()),
            "psnr": uses.psnr(data.x_test, np.clip(seen, 0, 1)),
            **accuracy[name],
            "auroc": uses.detect_anomalies(on_some, split.x_validation, split.x_test, split.anomalous).auroc,
        }
    rows["pixels"] = accuracy["pixels"]
    args.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(markdown(rows))


def trained(name: str, runs: Path) -> Codec:
    """The model that `minivae train NAME` makes by its defaults."""
    if not (runs / name / "results.json").is_file():
        subprocess.run([sys.executable, "-m", "minivae", "train", name, "--out", str(runs / name)], check=True)
    model = models.load(runs / name / "model.npz")
    assert isinstance(model, Codec)
    return model


def on_normal(model: Codec, run: Path, x: np.ndarray) -> Codec:
    """A model of the same parameters, trained in the same way on images x of some classes."""
    config = json.loads((run / "config.json").read_text())
    again: Codec = type(model)(**{**model.get_params(), "random_state": 0})
    return again.fit(x, **{name: config[name] for name in ("epochs", "batch_size", "lr", "clip_norm")})


def probed(by_name: dict[str, Codec], data: datasets.Dataset) -> dict[str, dict[str, Any]]:
    """The accuracy of logistic regression by the name of the features, with so many numbers of labels."""
    found: dict[str, dict[str, Any]] = {}
    every: Any = by_name
    for row in uses.probe(every, data.x_train, data.y_train, data.x_test, data.y_test, LABELS, repeats=3):
        label = "all" if row.labels is None else str(row.labels)
        found.setdefault(row.features, {"numbers": row.dim})[f"accuracy_{label}"] = row.accuracy
    return found


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    lines = [HEADER, ["---"] * len(HEADER)]
    for name, row in rows.items():
        errors = [f"{row['squared_error']:.2f}", f"{row['psnr']:.2f}"] if "psnr" in row else ["", ""]
        accuracy = [f"{row[f'accuracy_{label}']:.1%}" for label in ("10", "100", "all")]
        auroc = f"{row['auroc']:.3f}" if "auroc" in row else ""
        lines.append([f"`{name}`" if name in MODELS else name, str(row["numbers"]), *errors, *accuracy, auroc])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
