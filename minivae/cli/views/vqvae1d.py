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
from minivae.random import fork
from minivae.training import evaluate
from minivae.uses.voices import VOICE_FRAME as LEAST

from .. import codebook, options, sounds
from ..parser import Parser
from ..runs import Run
from ..text import Numbers, fixed, print_table
from .view import Asked, Command
from .vqvae import VQVAEView, priors_of, uniform

OF_LIKELIHOOD = {
    "gaussian": "of the density of samples in [-1, 1]",
    "mu-law": "of the probability of their levels in 8-bit mu-law",
}
BITS = {"gaussian": "16 bits", "mu-law": "8-bit mu-law"}
# What is chosen by the decoder where it is not given.
OF_DECODER: dict[str, dict[str, Any]] = {
    "conv": {"codes": 256, "strides": [4, 8], "commitment": COMMITMENT, "batch_size": 16},
    "wavenet": {"codes": 64, "strides": [4, 8, 4], "commitment": 3.0, "batch_size": 4},
}
COUNT = 200  # the most segments that are judged
OTHER = "the same in the next voice"
SEED = 0x5D  # of the samples that are judged


class VQVAE1dView(VQVAEView):
    unit = "nats per segment"
    temperature = 1.0

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
            for kind, distribution, of_prior in priors_of(name, prior, data, type(prior).__name__):
                cost = float(model.code_cost(model.encode(x), distribution, of_prior).mean())
                bits = cost / log(2) / seconds
                bound = terms["nll"] + cost
                numbers[name][kind.lower()] = {"codes": cost, "bound": bound, "bits_a_second": bits}
                cells = (f"{n / T:.4f}" for n in (bound, terms["nll"], cost))
                rows.append([name, kind, *cells, f"{bits:,.0f}", f"{terms['perplexity']:.1f}"])
        print_table(["data", "prior of the codes", "bound", "nll", "codes", "bits/s of the codes", "perplexity"], rows)
        print(f"bound = nll + cost of the codes, in nats a sample, {OF_LIKELIHOOD[model.likelihood]}")
        best = kind.lower()  # the last one in the table
        numbers["test"]["bits_per_dim"] = model.bits_per_dim(numbers["test"][best]["bound"])
        print(f"{numbers['test']['bits_per_dim']:.4f} bits a sample of {BITS[model.likelihood]}, by the last bound")
        numbers["test"] |= _coding(model, data)
        return {**numbers, **_heard(model, prior, data)}

    def draw(self, model: Any, data: Dataset, folder: Path) -> None:
        sounds.draw(model, data, folder)

    def draw_reconstructions(self, model: Any, data: Dataset, count: int, path: Path) -> None:
        y = model.check_labels(data.y_test, len(data.x_test))
        sounds.draw_reconstructions(model, data.x_test[:count], None if y is None else y[:count], path)

    def draw_samples(self, run: Run, count: int, path: Path, asked: Asked) -> None:
        model: Any = run.model
        prior, temperature, label = self.asked_prior(run, asked)
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
    if isinstance(model, models.WaveNetVQVAE):
        print("the WaveNet draws waveforms anew: they resemble the segments in sound, which no SNR shows")
    return dict(zip(("coding", "mu_law_equal", "mu_law_8"), found, strict=True))


def _heard(model: models.VQVAE1d, prior: Any, data: Dataset) -> Numbers:
    """Print how far sounds are from the training segments and, with speakers, how many are heard as the right one."""
    x, known = (sounds.rows(model.check_images(part)) for part in (data.x_test[:COUNT], data.x_train))
    if x.shape[1] < LEAST or not known.any():
        return {}
    y: Any = None if model.classes is None or data.y_test is None else data.y_test[:COUNT]
    y_train: Any = data.y_train
    codes = model.encode(data.x_test[:COUNT])
    groups = {"test segments": (x, y), "their reconstructions": (sounds.rows(model.decode(codes, y)), y)}
    if several := y is not None and len(np.unique(y_train)) > 1:
        other = (y + 1) % model.classes
        groups[OTHER] = sounds.rows(model.decode(codes, other)), other
    with fork(SEED):
        groups |= _drawn(model, prior)
    waves = np.concatenate([waves for waves, _ in groups.values()])
    ends = np.cumsum([len(waves) for waves, _ in groups.values()])[:-1]
    distances = np.split(uses.nearest_distance(waves, known), ends)
    found: Numbers = {name: {"distance": float(d.mean())} for name, d in zip(groups, distances, strict=True)}
    print()
    rows = [[name, *fixed(of["distance"])] for name, of in found.items()]
    if several:
        judge = uses.SpeakerJudge(known, y_train)
        for row, (name, (waves, speakers)) in zip(rows, groups.items(), strict=True):
            found[name]["heard"] = float((judge.predict(waves) == speakers).mean())
            row.append(f"{found[name]['heard']:.1%}")
    print_table(["sounds", "distance", *["heard as their speaker"] * several], rows)
    print("distance: log-spectral, to the nearest training segment, in dB")
    if several:
        own, voiced = groups["their reconstructions"][0], groups[OTHER][0]
        found[OTHER]["power"] = float(((voiced - own) ** 2).sum() / (own**2).sum())
        print(
            f"speakers are heard by a linear discriminant; the next label changes {found[OTHER]['power']:.1%} of power"
        )
    return {"sounds": found}


def _drawn(model: models.VQVAE1d, prior: Any) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Draw segments from the uniform prior and from the one that was trained, with their labels."""
    y = sounds.labels_of(model, COUNT)
    codes = uniform(COUNT, model.code_shape, model.quantizer.codes)
    waves = {"samples, uniform prior": model.decode(codes, y)}
    if prior is not None:
        for temperature in (1.0, 0.8):
            waves[f"samples, temperature {temperature:g}"] = model.sample(COUNT, prior, temperature, y)
    return {name: (sounds.rows(x), y) for name, x in waves.items()}


def _vqvae1d_options(parser: Parser) -> None:
    """Add the options of a VQ-VAE of sounds; if the data has labels, its decoder is conditional on them."""
    parser.set_defaults(data="syllables", batch_size=None)
    by = {name: [of[name] for of in OF_DECODER.values()] for name in OF_DECODER["conv"]}
    usual = {name: f"(default: {conv}, for wavenet {wavenet})" for name, (conv, wavenet) in by.items()}
    decoders = (
        "conv: makes all samples at once; wavenet: draws one after the other from fewer codes, in the voice of the "
        f"label. Decides the defaults of --batch-size {usual['batch_size']} and --commitment {usual['commitment']}"
    )
    parser.add_argument("--decoder", choices=list(OF_DECODER), default="conv", help=decoders)
    codebook.add_options(parser, None, f"number of codes in the codebook {usual['codes']}", None)
    strides = "strides of the encoder's convolutions; a code stands for as many samples as their product says"
    options.counts(parser, "--strides", None, "S", f"{strides} {usual['strides']}", least=2, most=64)
    kinds = "likelihood of a sample: gaussian, or mu-law, a categorical over the 256 levels of 8-bit mu-law"
    parser.add_argument("--likelihood", choices=list(models.VQVAE1d.likelihoods), default="gaussian", help=kinds)


def _vqvae1d(args: argparse.Namespace, data: Dataset) -> Estimator:
    if data.sample_rate is None:
        raise ValueError(f"vqvae1d is for sounds: 'syllables' or a folder of .wav, .flac, .ogg; {data.name!r} is none")
    settings: dict[str, Any] = {
        **codebook.arguments(args),
        "classes": None if data.class_names is None else len(data.class_names),
        "strides": args.strides,
    }
    of_data = data.x_train.shape[1:], data.sample_rate
    if args.decoder == "wavenet":
        return models.WaveNetVQVAE(*of_data, **settings)
    return models.VQVAE1d(*of_data, **settings, likelihood=args.likelihood)


def _complete(args: argparse.Namespace) -> None:
    """Set what was not given and follows from the decoder. Raise ValueError for a likelihood that it does not have."""
    if args.decoder == "wavenet" and args.likelihood != "gaussian":
        raise ValueError(f"--decoder wavenet has a gaussian likelihood, got --likelihood {args.likelihood}")
    for name, value in OF_DECODER[args.decoder].items():
        if getattr(args, name) is None:
            setattr(args, name, value)


TEXT = "train a vector-quantised autoencoder of sounds"
COMMANDS = (Command("vqvae1d", TEXT, 8, _vqvae1d_options, _vqvae1d, _complete, of="sounds"),)
