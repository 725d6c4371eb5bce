"""`minivae denoise|probe RUN`, `minivae anomaly` and `minivae compress-curve` show what autoencoders are for.

Each ends in a table in which the baseline stands beside the model.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from minivae import figures, manual_seed, uses
from minivae.data import Dataset
from minivae.models import Autoencoder
from minivae.models.autoencoder import CORRUPTIONS, LEVEL
from minivae.training.progress import progress_for
from minivae.uses.anomaly import threshold_rank
from minivae.uses.compression import CompressionRow

from . import images, options
from .denoising import denoising_table, draw_denoising
from .parser import Parser
from .pictures import write
from .pixels import check_unit_interval
from .runs import Files, Run, write_json
from .text import fixed, print_table
from .training import training
from .views.registry import view_of
from .views.view import PAIRS

DIMS = [2, 4, 8, 16, 32, 64]
LABELS = [10, 50]


def add_commands(commands: Any) -> None:
    _denoise_options(options.add_command(commands, "denoise", _denoise, "take the noise from noisy images"))
    text = "classify images by logistic regression on their codes, on PCA and on pixels"
    _probe_options(options.add_command(commands, "probe", _probe, text))

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


def _denoise_options(denoise: Parser) -> None:
    options.picture(denoise, "denoised.png")
    shown = "number of images to show; the table is about all test images"
    options.count(denoise, "-n", PAIRS, shown, most=options.IMAGES)
    kinds = "kind of noise (default: what the model was trained on, else gaussian)"
    denoise.add_argument("--corruption", choices=CORRUPTIONS, help=kinds)
    level = f"level of the noise: its standard deviation or probability (default: as in training, else {LEVEL})"
    denoise.add_argument("--level", type=float, help=level)
    options.seed(denoise, "seed of the noise")
    options.other_data(denoise)


def _probe_options(probe: Parser) -> None:
    options.run(probe)
    options.device(probe)
    few = " ".join(map(str, LABELS))
    labels = f"numbers of labelled images of each class; all there are come last (default: {few}, as far as there are)"
    options.counts(probe, "--labels", None, "N", labels, least=2)
    options.seed(probe, "seed of the choice of labelled images")
    options.other_data(probe)


def _training(commands: Any, name: str, function: options.Command, text: str) -> Parser:
    """Add a command that trains autoencoders of its own."""
    parser = options.add_command(commands, name, function, text)
    options.data(parser)
    options.training(parser, 40)
    options.networks(parser, "dense", (32, 64), {"dense": (1000,), "conv": ()})
    parser.add_argument("--out", type=Path, default=Path("runs") / name, help="folder for the results")
    return parser


# ---- of a run ----


def _denoise(args: argparse.Namespace) -> None:
    run = Run.open(args.run, args.device)
    trained = run.model if isinstance(run.model, Autoencoder) and run.model.corruption else None
    kind = args.corruption or (trained.corruption if trained else None) or CORRUPTIONS[0]
    same = trained is not None and kind == trained.corruption
    level = args.level if args.level is not None else (trained.level if trained and same else None)
    data = run.data(args.data)
    result, _ = denoising_table(run.model, data, kind, LEVEL if level is None else level, args.seed)
    clean = run.model.check_images(data.x_test)
    write(args, run, "denoised.png", lambda path: draw_denoising(clean, result, args.n, path))


def _probe(args: argparse.Namespace) -> None:
    run = Run.open(args.run, args.device)
    data = run.data(args.data)
    if data.y_train is None or data.y_test is None:
        raise ValueError(f"a probe needs labels, and {data.name!r} has none")
    x_train, x_test = run.model.check_images(data.x_train), run.model.check_images(data.x_test)
    least = int(np.unique(data.y_train, return_counts=True)[1].min())
    counts = [*(args.labels or [count for count in LABELS if count <= least]), None]
    model: Any = run.model
    rows = uses.probe(model, x_train, data.y_train, x_test, data.y_test, counts, seed=args.seed)
    dims = {row.features: row.dim for row in rows}
    cells, best = [], []
    for count in counts:
        found = {row.features: row for row in rows if row.labels == count}
        label = "all" if count is None else str(count)
        spread = [f"{r.accuracy:.1%}" + (f" +- {r.deviation:.1%}" if count else "") for r in found.values()]
        cells.append([label, *spread])
        best.append(f"{max(found, key=lambda name: found[name].accuracy)} with {label}")
    print_table(["labels a class", *(f"{name} ({dim})" for name, dim in dims.items())], cells)
    print("accuracy on the test images of logistic regression; in brackets, how many numbers it sees of an image")
    print(f"best: {', '.join(best)}")


# ---- with a training of their own ----


def _autoencoder(args: argparse.Namespace, data: Dataset, latent_dim: int) -> Autoencoder:
    return Autoencoder(data.x_train.shape[1:], latent_dim, args.arch, channels=args.channels, hidden=args.hidden)


def _anomaly(args: argparse.Namespace) -> None:
    files = Files(args.out)
    with training(files, args) as run:
        manual_seed(args.seed)
        data = run.checked(images.load(args.data, args.image_shape))
        normal = args.normal or _first_half(data)
        split = uses.anomaly_split(data, normal, seed=args.seed)
        model = _autoencoder(args, data, args.latent_dim)
        threshold_rank(len(split.x_validation), args.false_alarms)  # an error now, if there are too few of them
        baseline = uses.PCA.at_most(split.x_train, args.latent_dim)
        model.to(device=args.device)
        names = ", ".join(_names(data, normal))
        print(f"training on {len(split.x_train):,} images of {names}", flush=True)
        run.begin()
        run.fit(model, args, split.x_train, validation=split.x_validation)
        figures.save_training(files.path("training.png"), model.history, view_of(model).unit, "validation")
        labels = None if data.y_test is None else _names(data, data.y_test)
        _compare_detection(args, files, model, baseline, split, labels)
    print(f"model and pictures are in {args.out}/")


def _compare_detection(
    args: argparse.Namespace,
    files: Files,
    model: Autoencoder,
    baseline: uses.PCA,
    split: uses.AnomalySplit,
    labels: list[str] | None,
) -> None:
    """Draw and print what the autoencoder and PCA detect."""
    rows, numbers = [], {}
    for name, scorer in (("autoencoder", model), (f"PCA of {len(baseline.components)}", baseline)):
        found = uses.detect_anomalies(scorer, split.x_validation, split.x_test, split.anomalous, args.false_alarms)
        rates = f"{found.false_alarms:.1%}", f"{found.detected:.1%}"
        rows.append([name, f"{found.auroc:.4f}", *fixed(found.threshold), *rates])
        numbers[name] = {k: getattr(found, k) for k in ("auroc", "threshold", "false_alarms", "detected")}
        if scorer is model:
            figures.save_anomalies(files.path("anomalies.png"), split.x_test, found.scores, labels=labels)
    print()
    print_table(["squared error of", "AUROC", "threshold", "false alarms", "detected"], rows)
    print(f"the threshold is to let at most {args.false_alarms:.0%} of the normal images raise an alarm")
    write_json(files.path("results.json"), numbers)


def _first_half(data: Dataset) -> list[int]:
    """Choose the classes that are normal unless the user says which."""
    classes = [] if data.y_train is None else np.unique(data.y_train).tolist()
    return classes[: max(1, len(classes) // 2)]


def _names(data: Dataset, labels: Any) -> list[str]:
    """Name the classes of labels, by their numbers where the data set has no names."""
    return [str(label) if data.class_names is None else data.class_names[int(label)] for label in labels]


def _compress(args: argparse.Namespace) -> None:
    files = Files(args.out)
    with training(files, args) as run:
        manual_seed(args.seed)
        data = run.checked(images.load(args.data, args.image_shape))
        check_unit_interval(data)
        first = _autoencoder(args, data, min(args.dims)).to(device=args.device)
        x_train, x_test = first.check_images(data.x_train), first.check_images(data.x_test)
        if max(args.dims) > (most := min(len(x_train), x_train[0].size)):
            raise ValueError(
                f"PCA of {len(x_train)} training images has at most {most} components, --dims asks for {max(args.dims)}"
            )

        def train(dim: int) -> Autoencoder:
            manual_seed(args.seed)
            print(f"codes of length {dim}", flush=True)
            return _autoencoder(args, data, dim).fit(x_train, progress=progress_for(), **options.of_fit(args))

        run.begin()
        rows = uses.compression(train, x_train, x_test, sorted(set(args.dims)))
        print()
        _compression_table(rows)
        write_json(files.path("results.json"), {"rows": [row._asdict() for row in rows]})
        _draw_compression(files.path("compression.png"), rows, data.name)


def _draw_compression(path: Path, rows: list[CompressionRow], data: str) -> None:
    curves = {"autoencoder": [row.psnr for row in rows], "PCA": [row.pca_psnr for row in rows]}
    title = f"{data}: test images through codes of few numbers"
    dims = [row.dim for row in rows]
    figures.save_curves(path, dims, curves, "numbers in a code", "PSNR in dB", title, log_x=True)
    print(f"wrote {path}")


def _compression_table(rows: list[CompressionRow]) -> None:
    cells = [[str(r.dim), *fixed(r.psnr, r.pca_psnr, r.squared_error, r.pca_squared_error)] for r in rows]
    print_table(["numbers in a code", "PSNR", "PSNR of PCA", "squared error", "of PCA"], cells)
    print("PSNR in dB, squared error per image, of all test images")
    if wins := [str(r.dim) for r in rows if r.pca_psnr > r.psnr]:
        print(f"PCA is better with {', '.join(wins)}")
