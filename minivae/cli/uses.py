"""`minivae denoise RUN ...` and `minivae probe RUN ...` show what autoencoders are for.

Each ends in a table in which the baseline stands beside the models; contenders.py has the commands that train some.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from minivae import uses
from minivae.data import Dataset
from minivae.models import Autoencoder
from minivae.models.autoencoder import CORRUPTIONS, LEVEL

from . import images, options
from .denoising import denoising_table, draw_denoising
from .parser import Parser
from .pictures import write
from .runs import Run, common_data, open_all
from .text import print_table
from .views.view import PAIRS

LABELS = [10, 50]


def add_commands(commands: Any) -> None:
    _denoise_options(options.add_command(commands, "denoise", _denoise, "take the noise from noisy images"))
    text = "classify images by logistic regression on their codes, on PCA and on pixels"
    _probe_options(options.add_command(commands, "probe", _probe, text))


def _denoise_options(denoise: Parser) -> None:
    options.picture(denoise, "denoised.png", several=True)
    shown = "number of images to show; the table is about all test images"
    options.count(denoise, "-n", PAIRS, shown, most=options.IMAGES)
    kinds = "kind of noise (default: what the model was trained on, else gaussian)"
    denoise.add_argument("--corruption", choices=CORRUPTIONS, help=kinds)
    level = f"level of the noise: its standard deviation or probability (default: as in training, else {LEVEL})"
    denoise.add_argument("--level", type=float, help=level)
    options.seed(denoise, "seed of the noise")
    options.other_data(denoise)


def _probe_options(probe: Parser) -> None:
    options.runs(probe)
    options.device(probe)
    few = " ".join(map(str, LABELS))
    labels = f"numbers of labelled images of each class; all there are come last (default: {few}, as far as there are)"
    options.counts(probe, "--labels", None, "N", labels, least=2)
    options.seed(probe, "seed of the choice of labelled images")
    options.other_data(probe)


def _denoise(args: argparse.Namespace) -> None:
    runs, data = _opened(args, "denoise")
    if (found := images.kind(data)) != "images":
        raise ValueError(f"denoise is for images; {data.name!r} holds {found}")
    first, names = runs[0], ["the model"] if len(runs) == 1 else [str(path) for path in args.runs]
    trained = [run.model for run in runs if isinstance(run.model, Autoencoder) and run.model.corruption]
    kind = args.corruption or (trained[0].corruption if trained else None) or CORRUPTIONS[0]
    levels = [model.level for model in trained if model.corruption == kind]
    level = args.level if args.level is not None else next(iter(levels), None)
    by_name = dict(zip(names, (run.model for run in runs), strict=True))
    results, _ = denoising_table(by_name, data, kind, LEVEL if level is None else level, args.seed)
    if len(runs) == 1:
        results = {"denoised": results["the model"]}
    clean = first.model.check_images(data.x_test)
    write(args, first, "denoised.png", lambda path: draw_denoising(clean, results, args.n, path))


def _probe(args: argparse.Namespace) -> None:
    runs, data = _opened(args, "probe")
    for run in runs:
        if getattr(run.model, "latent_dim", None) is None:
            kind = type(run.model).__name__
            raise ValueError(f"probe is for models whose codes are vectors; {str(run.folder)!r} holds {kind}")
    if data.y_train is None or data.y_test is None:
        raise ValueError(f"a probe needs labels, and {data.name!r} has none")
    model = runs[0].model
    x_train, x_test = model.check_images(data.x_train), model.check_images(data.x_test)
    least = int(np.unique(data.y_train, return_counts=True)[1].min())
    counts = [*(args.labels or [count for count in LABELS if count <= least]), None]
    models: Any = {str(path): run.model for path, run in zip(args.runs, runs, strict=True)}
    rows = uses.probe(models, x_train, data.y_train, x_test, data.y_test, counts, seed=args.seed)
    names = list(dict.fromkeys(row.features for row in rows))
    cells, best = {name: [name] for name in names}, []
    for count in counts:
        found = {row.features: row for row in rows if row.labels == count}
        for name, row in found.items():
            cells[name] += [str(row.dim)] if len(cells[name]) == 1 else []
            cells[name].append(f"{row.accuracy:.1%}" + (f" +- {row.deviation:.1%}" if count else ""))
        label = "all" if count is None else str(count)
        best.append(f"{max(found, key=lambda name: found[name].accuracy)} with {label}")
    header = ["features", "numbers", *("all labels" if count is None else f"{count} a class" for count in counts)]
    print_table(header, list(cells.values()))
    print("accuracy on the test images of logistic regression on the numbers that it sees of an image")
    print(f"best: {', '.join(best)}")


def _opened(args: argparse.Namespace, command: str) -> tuple[list[Run], Dataset]:
    """Open the runs, and load the images that they are compared on. Raise ValueError for models that need labels."""
    runs = open_all(args.runs, args.device)
    for run in runs:
        if run.model.conditional:
            kind = type(run.model).__name__
            raise ValueError(f"{command} is for models without labels; {str(run.folder)!r} holds a {kind} with classes")
    return runs, common_data(runs, args.data)
