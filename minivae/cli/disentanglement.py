"""`minivae disentangle RUN [RUN ...]` says whether each factor of generated images has a latent of its own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from minivae import figures, uses
from minivae.data import Dataset
from minivae.models import VAE
from minivae.training import evaluate
from minivae.uses import Disentanglement

from . import gallery, options
from .runs import Run, common_data, open_all
from .text import Numbers, fixed, print_table

LITTLE = 0.05  # of the entropy of a factor: a latent that tells less of all factors is said to tell nothing


def add_commands(commands: Any) -> None:
    text = "measure whether each factor of generated images has a latent of its own"
    parser = options.add_command(commands, "disentangle", _disentangle, text)
    options.runs(parser)
    options.device(parser)
    options.seed(parser, "seed of the codes that are drawn from a VAE's q(z | x)")
    options.other_data(parser)


def _disentangle(args: argparse.Namespace) -> None:
    runs, names = open_all(args.runs, args.device), [str(path) for path in args.runs]
    for run in runs:
        _check_latents(run)
    data = _with_factors(common_data(runs, args.data))
    scores = {name: measured(run.model, data, args.seed) for name, run in zip(names, runs, strict=True)}
    print_scores(scores, data)
    print()
    rows = [[name, type(run.model).__name__, *_bound(run, data)] for name, run in zip(names, runs, strict=True)]
    print_table(["run", "model", "ELBO", "nll", "kl"], rows)
    print("ELBO, nll and kl of the test images, in nats per image")
    for found, run in zip(scores.values(), runs, strict=True):
        draw_factors(run.model, data, found, run.folder)
        print(f"pictures are in {run.folder}/")


def _check_latents(run: Run) -> None:
    """Raise ValueError for a model whose code is an array, or that needs labels to encode, or has one latent."""
    model: Any = run.model
    if getattr(model, "latent_dim", None) is None or model.classes is not None:
        kind = type(model).__name__
        raise ValueError(f"disentangle is for models whose codes are vectors; {str(run.folder)!r} holds {kind}")
    if model.latent_dim < 2:
        raise ValueError(f"disentangle compares latents; the model in {str(run.folder)!r} has {model.latent_dim}")


def _with_factors(data: Dataset) -> Dataset:
    """Return the data set. Raise ValueError for one whose factors are not known."""
    if data.factors_train is None or data.factors_test is None:
        raise ValueError(f"disentangle needs images of known factors, as those of 'shapes'; {data.name!r} has none")
    return data


def measured(model: Any, data: Dataset, seed: int = 0) -> Disentanglement:
    """Compute MIG and SAP from all images of a data set with factors, as few codes give no MIG.

    A factor that is also the label is unordered.
    """
    x = np.concatenate([data.x_train, data.x_test])
    factors = np.concatenate([np.asarray(data.factors_train), np.asarray(data.factors_test)])
    labels = None if data.y_train is None or data.y_test is None else np.concatenate([data.y_train, data.y_test])
    classes = [k for k, v in enumerate(factors.T) if labels is not None and (v == labels).all()]
    return uses.disentanglement(uses.latent_codes(model, model.check_images(x), seed), factors, classes)


def print_scores(scores: dict[str, Disentanglement], data: Dataset) -> Numbers:
    """Print MIG and SAP of each run and the gap of each factor, and return those of the last."""
    factors = list(data.factor_names or ())
    for measure, mean, gaps in (("MIG", "mig", "information_gaps"), ("SAP", "sap", "predictability_gaps")):
        rows = [[name, *fixed(getattr(found, mean), *getattr(found, gaps))] for name, found in scores.items()]
        print_table(["run", measure, *factors], rows)
        print()
    print("how much more the best latent tells of each factor than the second best, from 0 to 1, and the mean of that")
    found = list(scores.values())[-1]
    return {"disentanglement": {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in found._asdict().items()}}


def _bound(run: Run, data: Dataset) -> list[str]:
    """Return the cells ELBO, nll and kl of a model that has them."""
    if not isinstance(run.model, VAE):
        return ["-"] * 3
    terms = evaluate(run.model, run.model.binarized(data.x_test))
    return fixed(-terms["nll"] - terms["kl"], terms["nll"], terms["kl"])


# ---- pictures ----


def draw_factors(model: Any, data: Dataset, found: Disentanglement, folder: Path) -> None:
    """Draw which latent tells of which factor, and for a VAE what each latent does to an image."""
    names, shares = list(data.factor_names or ()), found.information / found.entropy[:, None]  # (K, D)
    save_information(folder / "information.png", shares, names)
    if not isinstance(model, VAE):
        return
    codes = model.encode(data.x_test)  # (N, D)
    start = int(np.square(codes - codes.mean(axis=0)).sum(axis=1).argmin())
    values = np.linspace(-gallery.SPAN, gallery.SPAN, gallery.VALUES)
    order = np.argsort(-model.latent_usage(data.x_test).kl, kind="stable")[: gallery.ROWS]
    images = model.traverse(data.x_test[start : start + 1], order.tolist(), values.tolist())
    best = shares.argmax(axis=0)  # (D,)
    labels = [
        f"latent {d}: {names[best[d]]} {shares[best[d], d]:.2f}" if shares[:, d].max() > LITTLE else f"latent {d}: none"
        for d in order
    ]
    title = "each latent alone, from the code of a test image; the factor that it tells most of"
    columns = [f"{value:.1f}" for value in values]
    grid = images.reshape(-1, *images.shape[2:])
    figures.save_sheet(folder / "factors.png", grid, len(values), title, labels, columns)


def save_information(path: Path, shares: np.ndarray, names: list[str]) -> None:
    """Draw the mutual information of factors and latents (K, D), as shares of each factor's entropy."""
    K, D = shares.shape
    with figures.new_figure(path, 1.6 + 0.5 * D, 1.3 + 0.45 * K) as figure:
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_title("share of the factor's entropy that a latent tells", fontsize=10)
        axes.set_xlabel("latent")
        axes.set_xticks(range(D))
        axes.set_yticks(range(K), names)
        for k, d in np.ndindex(K, D):
            colour = "white" if shares[k, d] > 0.6 else "black"
            axes.text(d, k, f"{shares[k, d]:.2f}", ha="center", va="center", fontsize=7, color=colour)
