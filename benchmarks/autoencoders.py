"""Compare the autoencoders with PCA: reconstructions, what a linear classifier finds in codes, anomalies.

    python benchmarks/autoencoders.py --runs runs

The script runs `minivae train` for each of MODELS by its defaults, and a second time on images of the first five
classes alone, to find the test images of the others by their scores. A run that exists in --runs already is not
repeated. It prints a table in Markdown and writes the numbers to --json.
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
    data = datasets.load("fashion-mini")
    split = uses.anomaly_split(data, NORMAL)
    args.runs.mkdir(parents=True, exist_ok=True)
    normal = args.runs / "normal.npz"
    np.savez(normal, x_train=split.x_train, x_test=split.x_validation)
    by_name = {name: trained(name, args.runs / name, "fashion-mini") for name in MODELS}
    contenders: dict[str, tuple[Any, Any]] = {
        name: (model, trained(name, args.runs / f"{name}-normal", str(normal))) for name, model in by_name.items()
    }
    accuracy = probed(by_name, data)
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


def trained(name: str, run: Path, data: str) -> Codec:
    """The model that `minivae train NAME` makes of the data by its defaults."""
    if not (run / "results.json").is_file():
        command = [sys.executable, "-m", "minivae", "train", name, "--data", data, "--out", str(run)]
        subprocess.run(command, check=True)
    model = models.load(run / "model.npz")
    assert isinstance(model, Codec)
    return model


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
