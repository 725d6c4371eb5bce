"""Prints the numbers of a run as a table, at the end of `minivae train` and again for `minivae evaluate RUN`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from minivae import uses
from minivae.data import Dataset
from minivae.models import VAE, VQVAE, VQVAE2, Autoencoder, PixelCNN, VQVAE1d, VQVAE2Prior
from minivae.models.autoencoder import LEVEL
from minivae.models.base import Estimator
from minivae.random import fork
from minivae.training import evaluate
from minivae.uses import Denoising

from . import options
from .pixels import check_unit_interval, in_unit_interval
from .runs import Run, write_json
from .wholeness import judged

IMAGES, SAMPLES = 1000, 100  # for the quick estimate of log p(x)
SEED = 0x5A  # for the noise of that estimate
Numbers = dict[str, Any]


def add_commands(commands: Any) -> None:
    parser = options.add_command(commands, "evaluate", _evaluate, "print the numbers of a trained model")
    options.run(parser)
    options.device(parser)
    options.other_data(parser)
    options.count(parser, "--samples", None, f"number of importance samples for log p(x) of a VAE (default: {SAMPLES})")
    options.count(parser, "--images", None, f"number of test images to estimate log p(x) on (default: {IMAGES})")
    parser.add_argument("--out", type=Path, help="JSON file to write the numbers to (default: none)")


def _evaluate(args: argparse.Namespace) -> None:
    run = Run.open(args.run, args.device)
    if not isinstance(run.model, VAE):
        options.refuse(args, type(run.model).__name__, "samples", "images")
    numbers = report(run, run.data(args.data), args.images or IMAGES, args.samples or SAMPLES)
    if args.out is not None:
        write_json(args.out, numbers)


def report(run: Run, data: Dataset, images: int = IMAGES, samples: int = SAMPLES) -> Numbers:
    """Print the table of a model on a data set, and return what stands in it."""
    model = run.model
    if isinstance(model, VAE):
        return _checked({**_vae(model, data, images, samples), **_wholeness(model, None, data)})
    if isinstance(model, VQVAE1d):
        return _checked(_vqvae1d(model, run.prior(), data))
    if isinstance(model, VQVAE):
        prior = run.prior()
        return _checked({**_vqvae(model, prior, data), **_wholeness(model, prior, data)})
    if isinstance(model, VQVAE2):
        levels = run.prior()
        return _checked({**_vqvae2(model, levels, data), **_wholeness(model, levels, data)})
    if isinstance(model, Autoencoder):
        return _checked(_autoencoder(model, data))
    raise TypeError(f"there is no table for a {type(model).__name__}")


def _checked(numbers: Numbers) -> Numbers:
    """Return the numbers; FloatingPointError for NaN and infinity, except the PSNR of equal images."""
    for name, value in numbers.items():
        if isinstance(value, dict):
            _checked(value)
        elif not name.endswith("psnr") and not np.isfinite(value).all():
            raise FloatingPointError(f"{name} is not finite in the table above; see whether the pixels are in [0, 1]")
    return numbers


def _scale(data: Dataset) -> str:
    return "" if in_unit_interval(data) else "; bits/dim are those of pixels in [0, 1], which these are not"


# ---- VAE ----


def _vae(model: VAE, data: Dataset, images: int, samples: int) -> Numbers:
    numbers: Numbers = {}
    for name, x in (("train", data.x_train), ("test", data.x_test)):
        terms = evaluate(model, model.binarized(x))
        nll, kl = terms["nll"], terms["kl"]
        numbers[name] = {"elbo": -nll - kl, "nll": nll, "kl": kl, "bits_per_dim": model.bits_per_dim(nll + kl)}
    rows = [[name, *fixed(n["elbo"], n["nll"], n["kl"]), f"{n['bits_per_dim']:.4f}"] for name, n in numbers.items()]
    print_table(["data", "ELBO", "nll", "kl", "bits/dim"], rows)
    print(f"ELBO, nll and kl in nats per image{_scale(data)}")
    x = data.x_test[:images]
    with fork(SEED):
        likelihood = float(model.log_likelihood(x, samples, progress=True).mean())
    print(f"log p(x) = {likelihood:.2f}: {samples:,} importance samples for each of {len(x):,} test images")
    usage = model.latent_usage(data.x_test)
    print(f"{usage.active} of {model.latent_dim} latents active; their KL in nats:")
    print_columns(fixed(*np.sort(usage.kl)[::-1]))
    estimate = {"log_likelihood": likelihood, "samples": samples, "images": len(x)}
    return {**numbers, **estimate, "active": usage.active, "kl_per_latent": usage.kl.tolist()}


# ---- VQ-VAE ----


def _vqvae(model: VQVAE, prior: PixelCNN | None, data: Dataset) -> Numbers:
    numbers: Numbers = {}
    rows = []
    for name, images in (("train", data.x_train), ("test", data.x_test)):
        x = model.check_images(images)
        terms = evaluate(model, x)
        numbers[name] = {key: value for key, value in terms.items() if key.startswith(("nll", "perplexity", "usage"))}
        codes = model.encode(x)
        for kind, distribution in {"uniform": None, "PixelCNN": prior}.items():
            if kind == "PixelCNN" and (prior is None or name == "train"):
                continue
            y = data.y_test if distribution is not None and distribution.classes is not None else None
            cost = float(model.code_cost(codes, distribution, y).mean())
            bound = terms["nll"] + cost
            numbers[name][kind.lower()] = {"codes": cost, "bound": bound, "bits_per_dim": model.bits_per_dim(bound)}
            rows.append([name, kind, *fixed(bound, terms["nll"], cost), f"{model.bits_per_dim(bound):.4f}"])
    print_table(["data", "prior of the codes", "bound", "nll", "codes", "bits/dim"], rows)
    print(f"bound on -log p(x) = nll + cost of the codes, in nats per image{_scale(data)}")
    if prior is not None and prior.classes is not None:
        print("the PixelCNN knows the class y of each image: its bound is one on -log p(x | y)")
    test = numbers["test"]
    used = f"{test['usage']:.1%} of {model.quantizer.codes} codes used"
    print(f"{used} on the test images, perplexity {test['perplexity']:.1f}")
    if model.given["quantizer"] == "rvq":
        test["stages"] = _stages(model, data.x_test, test)
    if prior is not None:
        test["codes_saved"] = 1 - test["pixelcnn"]["codes"] / test["uniform"]["codes"]
        print(f"the prior makes the codes of the test images {test['codes_saved']:.1%} cheaper than uniform ones")
    return numbers


def _stages(model: VQVAE, images: np.ndarray, test: Numbers) -> Numbers:
    """Print and return how well the first stages alone reconstruct images, and how their codes are used."""
    x = model.check_images(images)
    codes = model.encode(x)  # (N, S, h, w)
    found: Numbers = {}
    for s in range(1, codes.shape[1] + 1):
        error = float(uses.squared_error(x, model.decode(codes[:, :s])).mean())
        use = {name: test[f"{name}_{s}"] for name in ("perplexity", "usage")}
        found[str(s)] = {"squared_error": error, **use}
    print()
    rows = [[s, *fixed(of["squared_error"], of["perplexity"]), f"{of['usage']:.1%}"] for s, of in found.items()]
    print_table(["stage", "squared error", "perplexity", "codes used"], rows)
    print("squared error per test image, decoded from the stages up to this one; perplexity and use are its own")
    return found


# ---- VQ-VAE-2 ----


def _vqvae2(model: VQVAE2, prior: VQVAE2Prior | None, data: Dataset) -> Numbers:
    numbers: Numbers = {}
    rows = []
    for name, images in (("train", data.x_train), ("test", data.x_test)):
        x = model.check_images(images)
        terms = evaluate(model, x)
        numbers[name] = {key: v for key, v in terms.items() if key == "nll" or key.startswith(("perplexity", "usage"))}
        codes, nll = model.encode(x), terms["nll"]
        for kind, distribution in {"uniform": None, "PixelCNN": prior}.items():
            if kind == "PixelCNN" and (prior is None or name == "train"):
                continue
            y = data.y_test if distribution is not None and distribution.classes is not None else None
            top, bottom = (float(cost.mean()) for cost in model.level_costs(codes, distribution, y))
            bits, bound = model.bits_per_dim(nll + top + bottom), nll + top + bottom
            numbers[name][kind.lower()] = {"top": top, "bottom": bottom, "bound": bound, "bits_per_dim": bits}
            rows.append([name, kind, *fixed(bound, nll, top, bottom), f"{bits:.4f}"])
    print_table(["data", "prior of the codes", "bound", "nll", "top", "bottom", "bits/dim"], rows)
    print(f"bound on -log p(x) = nll + cost of top and bottom codes, in nats per image{_scale(data)}")
    test = numbers["test"]
    x = model.check_images(data.x_test)
    rows = []
    for level, other, count in (("top", "bottom", model.top_codes), ("bottom", "top", model.codes)):
        test[f"nll_{level}_alone"] = model.nll_without(x, other)
        used, perplexity = test[f"usage_{level}"], test[f"perplexity_{level}"]
        rows.append([level, f"{count:,}", f"{used:.1%}", f"{perplexity:.1f}", *fixed(test[f"nll_{level}_alone"])])
    print_table(["level", "codes", "used", "perplexity", "nll from it alone"], rows)
    print("on the test images; alone: with the mean code in the place of the other level's codes")
    return numbers


# ---- VQ-VAE of sounds ----


def _vqvae1d(model: VQVAE1d, prior: PixelCNN | None, data: Dataset) -> Numbers:
    """Print nll, bits and use of the codes, and how near the reconstructions come beside mu-law coding."""
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


def _coding(model: VQVAE1d, data: Dataset) -> Numbers:
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


# ---- samples ----


def _wholeness(model: VAE | VQVAE | VQVAE2, prior: PixelCNN | VQVAE2Prior | None, data: Dataset) -> Numbers:
    """Print which share of the samples a classifier takes for whole, beside the share of the test images."""
    found = judged(model, prior, data)
    if not found:
        return {}
    print()
    rows = [[name, *(f"{share:.1%}" for share in shares)] for name, shares in found.items()]
    print_table(["images", "whole", "of a certain class"], rows)
    print("whole: a classifier finds it more like the data than like patchworks of them")
    return {"wholeness": {name: shares._asdict() for name, shares in found.items()}}


# ---- autoencoder ----


def _autoencoder(model: Autoencoder, data: Dataset) -> Numbers:
    x_train, x_test = model.check_images(data.x_train), model.check_images(data.x_test)
    linear = uses.PCA.at_most(x_train, model.latent_dim)
    candidates: list[tuple[str, np.ndarray, Any]] = [("train", x_train, model), ("test", x_test, model)]
    candidates.append((f"test, by PCA of {len(linear.components)}", x_test, linear))
    pictures = in_unit_interval(data)
    numbers: Numbers = {}
    for name, x, by in candidates:
        seen = by.reconstruct(x)
        found = {"squared_error": float(uses.squared_error(x, seen).mean())}
        if pictures:
            found["psnr"] = uses.psnr(x, np.clip(seen, 0, 1))
        numbers["pca" if "PCA" in name else name] = found
    rows = [[c[0], *fixed(*found.values())] for c, found in zip(candidates, numbers.values(), strict=True)]
    print_table(["data", "squared error", "PSNR"][: len(rows[0])], rows)
    print("squared error per image" + ("; PSNR in dB, of pictures with pixels in [0, 1]" if pictures else ""))
    if model.corruption is not None and pictures:
        print()
        _, found = denoising_table(model, data, model.corruption, LEVEL if model.level is None else model.level)
        numbers["denoising"] = found
    return numbers


def denoising_table(
    model: Estimator, data: Dataset, kind: str, level: float, seed: int = 0
) -> tuple[Denoising, Numbers]:
    """Print how well a model denoises test images; if its codes are vectors, PCA of that length stands beside it."""
    check_unit_interval(data)
    reconstructs: Any = model
    x = model.check_images(data.x_test)
    result = uses.denoising(reconstructs, x, kind, level, seed)
    rows = [["noisy", *fixed(result.noisy_psnr), "+0.00"]]
    numbers = {"noisy_psnr": result.noisy_psnr, "denoised_psnr": result.denoised_psnr, "gain": result.gain}
    dim = getattr(model, "latent_dim", None)
    if dim is not None:
        pca = uses.PCA.at_most(model.check_images(data.x_train), dim)
        linear = uses.denoising(pca, x, kind, level, seed)
        rows.append([f"through PCA of {len(pca.components)}", *fixed(linear.denoised_psnr), f"{linear.gain:+.2f}"])
        numbers["pca_gain"] = linear.gain
    rows.append(["through the model", *fixed(result.denoised_psnr), f"{result.gain:+.2f}"])
    print_table(["test images", "PSNR", "gain"], rows)
    clipped = ", clipped to [0, 1] as the model's likelihood needs it" if model.unit_interval else ""
    print(f"PSNR in dB, {kind} noise of level {level:g}{clipped if kind == 'gaussian' else ''}")
    return result, numbers


# ---- text ----


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose words are aligned to the left and whose numbers to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    left = [not _is_number(cell) for cell in rows[0]]
    for row in [header, ["-" * w for w in widths], *rows]:
        cells = (c.ljust(w) if words else c.rjust(w) for c, w, words in zip(row, widths, left, strict=True))
        print("  ".join(cells).rstrip())


def _is_number(cell: str) -> bool:
    return cell.lstrip("+-")[:1].isdigit()


def fixed(*numbers: float) -> list[str]:
    """Format numbers with two decimals."""
    return [f"{number:.2f}" for number in numbers]


def print_columns(cells: Sequence[str], columns: int = 16) -> None:
    """Print short cells in lines of `columns` columns of equal width."""
    width = max(map(len, cells))
    for start in range(0, len(cells), columns):
        print("  ".join(cell.rjust(width) for cell in cells[start : start + columns]))
