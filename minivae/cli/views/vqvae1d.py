"""`minivae train vqvae1d`, and what is shown of a VQ-VAE of sounds; sounds.py draws and writes them."""

from __future__ import annotations

import argparse
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from minivae import models, uses
from minivae.data import Dataset
from minivae.models.base import Estimator
from minivae.models.vqvae1d import COMMITMENT
from minivae.training import evaluate

from .. import codebook, options, sounds
from ..parser import Parser
from ..runs import Run
from ..text import Numbers, fixed, print_table
from .view import Asked, Command
from .vqvae import VQVAEView, asked_prior


class VQVAE1dView(VQVAEView):
    unit = "nats per segment"

    def table(self, run: Run, data: Dataset, asked: Asked) -> Numbers:
        """Print nll, bits and use of the codes, and how near the reconstructions come beside mu-law coding."""
        model: Any = run.model
        prior = run.prior()
        numbers: Numbers = {}
        rows, T = [], model.image_shape[2]
        seconds = T / model.sample_rate
        for name, images, labels in (("train", data.x_train, data.y_train), ("test", data.x_test, data.y_test)):
            x = model.check_images(images)
            y = model.check_labels(labels, len(x))
            terms = evaluate(model, x, y)
            numbers[name] = {key: terms[key] for key in ("nll", "perplexity", "usage")}
            for kind, distribution in {"uniform": None, "PixelCNN": prior}.items():
                if kind == "PixelCNN" and (prior is None or name == "train"):
                    continue
                of_prior = labels if distribution is not None and distribution.classes is not None else None
                cost = float(model.code_cost(model.encode(x), distribution, of_prior).mean())
                bits = cost / log(2) / seconds
                bound = terms["nll"] + cost
                numbers[name][kind.lower()] = {"codes": cost, "bound": bound, "bits_a_second": bits}
                cells = (f"{n / T:.4f}" for n in (bound, terms["nll"], cost))
                rows.append([name, kind, *cells, f"{bits:,.0f}", f"{terms['perplexity']:.1f}"])
        print_table(["data", "prior of the codes", "bound", "nll", "codes", "bits/s of the codes", "perplexity"], rows)
        print("bound = nll + cost of the codes, in nats a sample, of the density of samples in [-1, 1]")
        numbers["test"] |= _coding(model, data)
        return numbers

    def draw(self, model: Any, data: Dataset, folder: Path) -> None:
        sounds.draw(model, data, folder)

    def draw_reconstructions(self, model: Any, data: Dataset, count: int, path: Path) -> None:
        y = model.check_labels(data.y_test, len(data.x_test))
        sounds.draw_reconstructions(model, data.x_test[:count], None if y is None else y[:count], path)

    def draw_samples(self, run: Run, count: int, path: Path, asked: Asked) -> None:
        model: Any = run.model
        prior, temperature, label = asked_prior(run, asked)
        sounds.draw_samples(model, prior, count, path, temperature, label)


def _coding(model: models.VQVAE1d, data: Dataset) -> Numbers:
    """Print segmental SNR and log-spectral distance of the test segments' reconstructions, beside mu-law's."""
    x = model.check_images(data.x_test)
    y = model.check_labels(data.y_test, len(x))
    signal = np.clip(x[:, 0, 0], -1, 1)
    bits = model.bits_a_second / model.sample_rate
    equal, each = uses.mu_law_at(signal, bits)
    eight = 8.0 * model.sample_rate
    candidates = {
        "VQ-VAE": (model.bits_a_second, np.clip(model.reconstruct(x, y)[:, 0, 0], -1, 1)),
        f"mu-law, {bits / each:.2g} of the samples with {each} bits": (model.bits_a_second, equal),
        "mu-law, 8 bits": (eight, uses.mu_law(signal, 8)),
    }
    found, rows = [], []
    for name, (rate, seen) in candidates.items():
        numbers = {"snr": uses.segmental_snr(signal, seen), "distance": uses.log_spectral_distance(signal, seen)}
        found.append(numbers)
        rows.append([name, f"{rate:,.0f}", f"{eight / rate:.1f}", *fixed(*numbers.values())])
    print_table(["test segments by", "bits/s", "times fewer than 8-bit", "segmental SNR", "spectral distance"], rows)
    print("segmental SNR and log-spectral distance in dB; bits of the VQ-VAE under a uniform prior")
    return dict(zip(("coding", "mu_law_equal", "mu_law_8"), found, strict=True))


def _vqvae1d_options(parser: Parser) -> None:
    """Add the options of a VQ-VAE of sounds; if the data has labels, its decoder is conditional on them."""
    parser.set_defaults(data="syllables", batch_size=16)
    codebook.add_options(parser, 256, "number of codes in the codebook", COMMITMENT)
    strides = "strides of the encoder's convolutions; a code stands for as many samples as their product says"
    options.counts(parser, "--strides", [4, 4], "S", strides, least=2, most=64)


def _vqvae1d(args: argparse.Namespace, data: Dataset) -> Estimator:
    if data.sample_rate is None:
        raise ValueError(f"vqvae1d is for sounds: 'syllables' or a folder of .wav, .flac, .ogg; {data.name!r} is none")
    return models.VQVAE1d(
        data.x_train.shape[1:],
        data.sample_rate,
        **codebook.arguments(args),
        classes=None if data.class_names is None else len(data.class_names),
        strides=args.strides,
    )


TEXT = "train a vector-quantised autoencoder of sounds"
COMMANDS = (Command("vqvae1d", TEXT, 12, _vqvae1d_options, _vqvae1d, of="sounds"),)
