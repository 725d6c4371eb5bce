"""`minivae train vqvae`, and what is shown of a VQ-VAE and the prior of its codes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minivae import figures, models, uses
from minivae.data import Dataset
from minivae.models.base import Estimator
from minivae.random import current_generator
from minivae.training import evaluate

from .. import codebook, gallery, options
from ..parser import Parser
from ..pixels import scale
from ..runs import Run
from ..text import Numbers, fixed, print_table
from ..wholeness import print_wholeness
from .view import Asked, Command, View

STAGES = 10  # images on the sheet of stages
CLASSES = 20  # the most classes that get a column each on a sheet of samples
TEMPERATURE = 0.7
# Few codes, whose prior can be learned from few images. rvq: of each stage. fsq has none: VQVAE's own default.
CODES = {"vq": 8, "rvq": 16, "fsq": 256}


class VQVAEView(View):
    temperature = TEMPERATURE
    takes: tuple[str, ...] = ("temperature", "label")

    def table(self, run: Run, data: Dataset, asked: Asked) -> Numbers:
        model: Any = run.model
        prior = run.prior()
        numbers: Numbers = {}
        rows = []
        for name, images in (("train", data.x_train), ("test", data.x_test)):
            x = model.check_images(images)
            terms = evaluate(model, x)
            numbers[name] = {key: v for key, v in terms.items() if key.startswith(("nll", "perplexity", "usage"))}
            codes = model.encode(x)
            for kind, distribution, y in priors_of(name, prior, data):
                cost = float(model.code_cost(codes, distribution, y).mean())
                bound = terms["nll"] + cost
                numbers[name][kind.lower()] = {"codes": cost, "bound": bound, "bits_per_dim": model.bits_per_dim(bound)}
                rows.append([name, kind, *fixed(bound, terms["nll"], cost), f"{model.bits_per_dim(bound):.4f}"])
        print_table(["data", "prior of the codes", "bound", "nll", "codes", "bits/dim"], rows)
        print(f"bound on -log p(x) = nll + cost of the codes, in {self.unit}{scale(data, model)}")
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
        return {**numbers, **print_wholeness(self, model, prior, data)}

    def draw(self, model: Any, data: Dataset, folder: Path) -> None:
        super().draw(model, data, folder)
        codes = model.encode(data.x_test)  # (N, h, w) or (N, stages, h, w)
        stages = codes.swapaxes(0, 1) if codes.ndim == 4 else [codes]
        counts = [np.bincount(stage.ravel(), minlength=model.quantizer.codes) for stage in stages]
        figures.save_code_usage(folder / "codes.png", np.array(counts))
        if codes.ndim == 4:
            _draw_stages(model, data.x_test[:STAGES], folder / "stages.png")

    def draw_samples(self, run: Run, count: int, path: Path, asked: Asked) -> None:
        model: Any = run.model
        prior, temperature, label = self.asked_prior(run, asked)
        columns = gallery.columns_of(count)
        title, names = f"samples from the PixelCNN prior at temperature {temperature:g} and the decoder", None
        if label is not None:
            title = f"{title}, class {label}"
        elif prior.classes is not None and prior.classes <= CLASSES:
            title, names = f"{title}, by class", [str(k) for k in range(min(count, prior.classes))]
            columns = len(names)
        images = of_prior(model, prior, count, temperature, label)
        figures.save_sheet(path, images, columns, title, column_labels=names)

    def samples(self, model: Any, prior: Any, count: int) -> dict[str, np.ndarray]:
        samples = {"samples, uniform prior": model.decode(self.uniform_codes(model, count))}
        if prior is not None:
            for temperature in dict.fromkeys((1.0, TEMPERATURE)):
                samples[f"samples, temperature {temperature:g}"] = of_prior(model, prior, count, temperature)
        return samples

    def asked_prior(self, run: Run, asked: Asked) -> tuple[Any, float, int | None]:
        """Return the prior of a run, temperature and label to draw with. Raise ValueError where there is no prior."""
        prior, model = run.prior(), run.model
        if prior is None:
            raise ValueError(
                f"the {type(model).__name__} in {str(run.folder)!r} has no prior to draw codes from yet; "
                f"`minivae train prior {run.folder}` trains one"
            )
        if asked.label is not None and prior.classes is None and model.classes is None:
            raise ValueError("--label is for a prior that was trained with --conditional")
        return prior, self.temperature if asked.temperature is None else asked.temperature, asked.label

    def uniform_codes(self, model: Any, count: int) -> Any:
        """Draw the codes of images, each as likely as any other."""
        return uniform(count, model.code_shape, model.quantizer.codes)


def priors_of(part: str, prior: Any, data: Dataset, name: str = "PixelCNN") -> Iterator[tuple[str, Any, Any]]:
    """Yield the priors of the codes of a part of the data: name, prior and the labels that it takes or None.

    The uniform prior, which is None, is for all parts; the trained one, if there is one, for the test images.
    """
    yield "uniform", None, None
    if prior is not None and part == "test":
        yield name, prior, None if prior.classes is None else data.y_test


def uniform(count: int, shape: tuple[int, ...], codes: int) -> np.ndarray:
    """Draw maps (count, *shape) of integers below `codes`."""
    return (current_generator().uniform((count, *shape), np.float64) * codes).astype(np.int64)


def of_prior(
    model: models.VQVAE | models.VQVAE2,
    prior: Any,
    count: int,
    temperature: float = TEMPERATURE,
    label: int | None = None,
) -> np.ndarray:
    """Draw images (count, C, H, W): of one class or, without a label, of all classes of a conditional prior in turn."""
    y = None if prior.classes is None else np.arange(count) % prior.classes if label is None else np.full(count, label)
    return model.sample(count, prior, temperature, y)


def _draw_stages(model: models.VQVAE, x: np.ndarray, path: Path) -> None:
    """Draw images, and below them what is decoded from the first stage of their codes, the first two, and so on."""
    x = model.check_images(x)
    codes = model.encode(x)  # (N, stages, h, w)
    lengths = range(1, codes.shape[1] + 1)
    rows = [x, *(model.decode(codes[:, :s]) for s in lengths)]
    images = np.concatenate([figures.contrast(row, x) for row in rows])
    labels = ["image", *("stage 1" if s == 1 else f"stages 1 to {s}" for s in lengths)]
    figures.save_sheet(path, images, len(x), "test images, decoded from the first stages of their codes", labels)


def _stages(model: models.VQVAE, images: np.ndarray, test: Numbers) -> Numbers:
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


def add_options(parser: Parser) -> None:
    """Add the options of a VQ-VAE."""
    codes = "number of codes in the codebook, or in that of each stage of rvq (default: 8, for rvq 16)"
    codebook.add_options(parser, None, codes)
    options.likelihood(parser)
    kind = "vq: one codebook; rvq: residual, a codebook for each of several stages; fsq: finite scalar, no codebook"
    parser.add_argument("--quantizer", choices=["vq", "rvq", "fsq"], default="vq", help=kind)
    levels = "numbers of levels of fsq, one for each number of a code (default: 8 6 5)"
    options.counts(parser, "--levels", None, "L", levels, least=2, most=2**16)
    options.count(parser, "--stages", None, "number of codebooks of rvq (default: 2)", most=64)


def arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Collect the arguments of a VQ-VAE."""
    own = {name: getattr(args, name) for name in ("likelihood", "quantizer", "levels", "stages")}
    return {**codebook.arguments(args), **own}


def _vqvae(args: argparse.Namespace, data: Dataset) -> Estimator:
    return models.VQVAE(data.x_train.shape[1:], **arguments(args))


def complete(args: argparse.Namespace) -> None:
    """Choose the number of codes by the quantiser, unless it was given."""
    if args.codes is None:
        args.codes = CODES[args.quantizer]


TEXT = "train a vector-quantised autoencoder"
COMMANDS = (Command("vqvae", TEXT, 15, add_options, _vqvae, complete, for_sounds="vqvae1d"),)
