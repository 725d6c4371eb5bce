"""`minivae train sae|cae`, and what is shown of sparse and contractive autoencoders, whose codes have a penalty."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from minivae import figures, models
from minivae.data import Dataset
from minivae.models import ContractiveAutoencoder, SparseAutoencoder
from minivae.models.base import Estimator
from minivae.models.contractive import PENALTY
from minivae.models.sparse import DECAY, RHO, SPARSITIES
from minivae.models.sparse import PENALTY as SPARSE_PENALTY

from .. import options
from ..parser import Parser
from ..runs import Run
from ..text import Numbers
from .autoencoder import SquaredErrorView
from .view import Asked, Command

ATOMS, COLUMNS = 100, 10  # the most atoms on their sheet, and atoms in a row of it


class SparseView(SquaredErrorView):
    def table(self, run: Run, data: Dataset, asked: Asked) -> Numbers:
        numbers, model = super().table(run, data, asked), run.model
        assert isinstance(model, SparseAutoencoder)
        found = model.activity(data.x_test)
        D = model.latent_dim
        print(
            f"{found.share:.1%} of {D} latents are active in a test image, {found.share * D:.1f} on average; ", end=""
        )
        print(f"{found.dead} in none")
        return {**numbers, "active_share": found.share, "dead": found.dead}

    def draw(self, model: Any, data: Dataset, folder: Path) -> None:
        super().draw(model, data, folder)
        often = np.argsort(-model.activity(data.x_test).frequency, kind="stable")
        draw_atoms(model.atoms()[often], "atoms of the latents that are active most often", folder / "atoms.png")


class ContractiveView(SquaredErrorView):
    def table(self, run: Run, data: Dataset, asked: Asked) -> Numbers:
        numbers, model = super().table(run, data, asked), run.model
        assert isinstance(model, ContractiveAutoencoder)
        norm = float(model.jacobian_norm(data.x_test).mean())
        print(f"||J||^2 = {norm:.2f}: how far a code moves for a small step of the image, mean over the test images")
        return {**numbers, "jacobian": norm}

    def draw(self, model: Any, data: Dataset, folder: Path) -> None:
        super().draw(model, data, folder)
        if model.one_layer:
            spread = model.encode(data.x_test).std(axis=0)
            atoms = model.atoms()[np.argsort(-spread, kind="stable")]
            draw_atoms(atoms, "filters of the latents that vary most", folder / "atoms.png")


def draw_atoms(atoms: np.ndarray, title: str, path: Path) -> None:
    """Draw the first atoms (D, C, H, W), each as bright as it can be: grey is 0, white above it, black below it."""
    atoms = atoms[:ATOMS]
    largest = np.abs(atoms).max(axis=(1, 2, 3), keepdims=True)
    shown = 0.5 + 0.5 * atoms / np.where(largest > 0, largest, 1)
    figures.save_sheet(path, shown, min(COLUMNS, len(shown)), title)


def _networks(parser: Parser, latents: str) -> None:
    options.networks(parser, "dense", (32, 64), {"dense": (), "conv": ()})
    options.count(parser, "--latent-dim", 256, latents, most=options.WIDE)


def _weight(parser: Parser, name: str, default: float | None, text: str) -> None:
    parser.add_argument(name, type=options.at_least_zero, default=default, help=text)


def _by_sparsity(values: dict[str, float]) -> str:
    return f"(default: {', '.join(f'{value:g} for {name}' for name, value in values.items())})"


def _sae_options(parser: Parser) -> None:
    parser.set_defaults(lr=1e-3)  # with 0.002, 108 of 256 latents of l1 were dead in the end
    _networks(parser, "number of latents, each with an atom")
    kinds = "what makes codes sparse: l1, their size; kl, how often a latent is on"
    parser.add_argument("--sparsity", choices=SPARSITIES, default=SPARSITIES[0], help=kinds)
    _weight(parser, "--penalty", None, f"weight of the sparsity in the loss {_by_sparsity(SPARSE_PENALTY)}")
    rho = f"share of the images in which a latent is to be on, for --sparsity kl (default: {RHO})"
    parser.add_argument("--rho", type=options.share, metavar="SHARE", help=rho)
    _weight(parser, "--decay", None, f"weight of the squares of the decoder's weights {_by_sparsity(DECAY)}")


def _sae(args: argparse.Namespace, data: Dataset) -> Estimator:
    names = ("sparsity", "penalty", "rho", "decay")
    own = {name: getattr(args, name) for name in names}
    return models.SparseAutoencoder(data.x_train.shape[1:], **own, **options.of_networks(args))


def _cae_options(parser: Parser) -> None:
    _networks(parser, "length of a code")
    _weight(parser, "--penalty", PENALTY, "weight of the squared norm of the code's Jacobian in the loss")


def _cae(args: argparse.Namespace, data: Dataset) -> Estimator:
    shape = data.x_train.shape[1:]
    return models.ContractiveAutoencoder(shape, penalty=args.penalty, **options.of_networks(args))


COMMANDS = (
    Command("sae", "train a sparse autoencoder", 60, _sae_options, _sae),
    Command("cae", "train a contractive autoencoder", 60, _cae_options, _cae),
)
