"""`minivae anomaly` and `minivae compress-curve` train autoencoders of their own and compare them with PCA."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minivae import figures, manual_seed, models, uses
from minivae.data import Dataset
from minivae.models.base import Codec
from minivae.training.progress import progress_for
from minivae.uses.anomaly import threshold_rank
from minivae.uses.compression import CompressionRow

from . import images, options
from .ending import write_table
from .parser import Parser
from .pixels import check_unit_interval
from .reports import write_report
from .runs import Files, write_json
from .text import fixed, kept, print_table
from .training import Training, training
from .views.registry import view_of

DIMS = [2, 4, 8, 16, 32, 64]
# What `minivae train` calls them: how to make one of images (C, H, W) with codes of `latent_dim` numbers.
MODELS: dict[str, Callable[..., Codec]] = {
    "ae": models.Autoencoder,
    "dae": partial(models.Autoencoder, corruption="gaussian"),
    "sae": models.SparseAutoencoder,
    "cae": models.ContractiveAutoencoder,
    "vae": models.VAE,
}
CHOSEN = ["ae", "dae", "sae", "cae"]


def add_commands(commands: Any) -> None:
    anomaly = _training(commands, "anomaly", _anomaly, "train on some classes and find the images of the others")
    options.count(anomaly, "--latent-dim", 16, "length of a code", most=options.WIDE)
    normal = "classes to train on, by number (default: the first half of them)"
    options.counts(anomaly, "--normal", None, "CLASS", normal, least=0)
    alarms = "share of normal images that may raise an alarm"
    anomaly.add_argument("--false-alarms", type=options.share, metavar="SHARE", default=0.05, help=alarms)
    options.keeping(anomaly)

    curve = _training(commands, "compress-curve", _compress, "compare codes of several lengths with PCA")
    options.counts(curve, "--dims", DIMS, "D", "lengths of a code to compare", most=options.WIDE)
    options.force(curve)


def _training(commands: Any, name: str, function: options.Command, text: str) -> Parser:
    """Add a command that trains autoencoders of its own."""
    parser = options.add_command(commands, name, function, text)
    text = "models to train and to compare with PCA; --arch, --channels and --hidden are of all of them"
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=CHOSEN, help=text)
    options.data(parser)
    options.training(parser, 40)
    options.networks(parser, "dense", (32, 64), "those of each model")
    parser.add_argument("--out", type=Path, default=Path("runs") / name, help="folder for the results")
    return parser


def _images(args: argparse.Namespace) -> Dataset:
    """Load the images of the options. Raise ValueError for data of another kind."""
    data = images.load(args.data, args.image_shape)
    if (found := images.kind(data)) != "images":
        raise ValueError(f"`minivae {args.parser.command}` is for images; {data.name!r} holds {found}")
    return images.in_memory(data)


def _model(name: str, args: argparse.Namespace, data: Dataset, latent_dim: int) -> Codec:
    """Make a model, from the seed of the command whichever others are made."""
    manual_seed(args.seed)
    networks = {"arch": args.arch, "channels": args.channels, "hidden": args.hidden}
    return MODELS[name](data.x_train.shape[1:], latent_dim, **networks).to(device=args.device)


# ---- anomalies ----


def _anomaly(args: argparse.Namespace) -> None:
    """Train the models one after the other. The run keeps the first, which alone has checkpoints."""
    files = Files(args.out)
    with training(files, args) as run:
        data = run.checked(_images(args))
        normal = args.normal or _first_half(data)
        split = uses.anomaly_split(data, normal, seed=args.seed)
        threshold_rank(len(split.x_validation), args.false_alarms)  # an error now, if there are too few of them
        baseline = uses.PCA.at_most(split.x_train, args.latent_dim)
        first, *others = dict.fromkeys(args.models)
        for name in others:
            _model(name, args, data, args.latent_dim).check_images(split.x_train)
        model = _model(first, args, data, args.latent_dim)
        model.check_images(split.x_train)
        names = ", ".join(_names(data, normal))
        print(f"training on {len(split.x_train):,} images of {names}", flush=True)
        run.begin()
        run.fit(model, args, split.x_train, validation=split.x_validation)
        figures.save_training(files.path("training.png"), model.history, view_of(model).unit, "validation")
        scorers: dict[str, Any] = {first: model}
        for name in others:
            print(name, flush=True)
            scorers[name] = _fitted(name, args, data, split.x_train, args.latent_dim)
        scorers[f"PCA of {len(baseline.components)}"] = baseline
        labels = None if data.y_test is None else _names(data, data.y_test)
        _compare_detection(args, run, scorers, split, labels)
        write_report(files.folder)
    print(f"model and pictures are in {args.out}/")


def _fitted(name: str, args: argparse.Namespace, data: Dataset, x: np.ndarray, latent_dim: int) -> Codec:
    model = _model(name, args, data, latent_dim)
    return model.fit(x, progress=progress_for(), **options.of_fit(args))


def _compare_detection(
    args: argparse.Namespace,
    run: Training,
    scorers: dict[str, Any],
    split: uses.AnomalySplit,
    labels: list[str] | None,
) -> None:
    """Print what each of the models detects, and draw the strangest images of the first."""
    rows, numbers = [], {}
    for name, scorer in scorers.items():
        found = uses.detect_anomalies(scorer, split.x_validation, split.x_test, split.anomalous, args.false_alarms)
        rates = f"{found.false_alarms:.1%}", f"{found.detected:.1%}"
        rows.append([name, f"{found.auroc:.4f}", *fixed(found.threshold), *rates])
        numbers[name] = {k: getattr(found, k) for k in ("auroc", "threshold", "false_alarms", "detected")}
        if len(numbers) == 1:
            figures.save_anomalies(run.files.path("anomalies.png"), split.x_test, found.scores, labels=labels)
    print()
    with kept() as text:
        print_table(["model", "AUROC", "threshold", "false alarms", "detected"], rows)
        print(f"{args.latent_dim} numbers in a code; an image is the stranger, the larger its squared error", end="")
        print(" or, for a vae, minus its ELBO" if "vae" in scorers else "")
        print(f"the threshold is to let at most {args.false_alarms:.0%} of the normal images raise an alarm")
    write_json(run.files.path("results.json"), numbers)
    write_table(run.files, text.getvalue())


def _first_half(data: Dataset) -> list[int]:
    """Choose the classes that are normal unless the user says which."""
    classes = [] if data.y_train is None else np.unique(data.y_train).tolist()
    return classes[: max(1, len(classes) // 2)]


def _names(data: Dataset, labels: Any) -> list[str]:
    """Name the classes of labels, by their numbers where the data set has no names."""
    return [str(label) if data.class_names is None else data.class_names[int(label)] for label in labels]


# ---- codes of several lengths ----


def _compress(args: argparse.Namespace) -> None:
    files = Files(args.out)
    with training(files, args) as run:
        data = run.checked(_images(args))
        check_unit_interval(data)
        names, dims = list(dict.fromkeys(args.models)), sorted(set(args.dims))
        for name in names:
            first = _model(name, args, data, dims[0])
        x_train, x_test = first.check_images(data.x_train), first.check_images(data.x_test)
        if dims[-1] > (most := min(len(x_train), x_train[0].size)):
            raise ValueError(
                f"PCA of {len(x_train)} training images has at most {most} components, --dims asks for {dims[-1]}"
            )

        def train(name: str, dim: int) -> Codec:
            print(f"{name} with codes of length {dim}", flush=True)
            return _fitted(name, args, data, x_train, dim)

        run.begin()
        found = {name: uses.compression(partial(train, name), x_train, x_test, dims) for name in names}
        print()
        with kept() as text:
            _compression_tables(found)
        write_json(files.path("results.json"), {name: [r._asdict() for r in rows] for name, rows in found.items()})
        write_table(files, text.getvalue())
        _draw_compression(files.path("compression.png"), found, data.name)
        write_report(args.out)


def _columns(found: dict[str, list[CompressionRow]], field: str) -> dict[str, list[float]]:
    """Collect a field of the rows by model, and that of PCA, which all of them have, last."""
    first = next(iter(found.values()))
    columns = {name: [getattr(row, field) for row in rows] for name, rows in found.items()}
    return {**columns, "PCA": [getattr(row, f"pca_{field}") for row in first]}


def _draw_compression(path: Path, found: dict[str, list[CompressionRow]], data: str) -> None:
    dims = [row.dim for row in next(iter(found.values()))]
    title = f"{data}: test images through codes of few numbers"
    figures.save_curves(path, dims, _columns(found, "psnr"), "numbers in a code", "PSNR in dB", title, log_x=True)
    print(f"wrote {path}")


def _compression_tables(found: dict[str, list[CompressionRow]]) -> None:
    dims = [row.dim for row in next(iter(found.values()))]
    for field, text in (("psnr", "PSNR in dB"), ("squared_error", "squared error per image")):
        columns = _columns(found, field)
        cells = [[str(dim), *fixed(*values)] for dim, *values in zip(dims, *columns.values(), strict=True)]
        print_table(["numbers in a code", *columns], cells)
        print(f"{text}, of all test images")
    for name, rows in found.items():
        if wins := [str(r.dim) for r in rows if r.pca_psnr > r.psnr]:
            print(f"PCA is better than {name} with {', '.join(wins)}")
