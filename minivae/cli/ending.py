"""The end of a training: the picture of its course, the table of the model, and results.json with the numbers."""

from __future__ import annotations

import argparse

import numpy as np

from minivae import figures
from minivae.data import Dataset
from minivae.models.base import Estimator
from minivae.training.checkpoint import atomic_write

from .runs import TABLE, Files, Run, write_json
from .tables import report
from .text import kept
from .training import Training
from .views.registry import view_of


def finish(
    done: Training, args: argparse.Namespace, trained: Estimator, run: Run, data: Dataset, *others: Estimator
) -> None:
    """Draw the course of training, print the final table and write its numbers; others were trained before it."""
    files, history = done.files, trained.history
    draw_course(done, args, trained)
    print()
    with kept() as text:
        results = report(run, data)
    records = [record for model in (trained, *others) for record in model.history]
    seconds = sum(record["seconds"] for record in records)  # however often it was interrupted
    speed = float(np.mean([record["images_per_second"] for record in history]))
    parameters = sum(model.num_parameters() for model in (trained, *others))
    numbers = {"parameters": parameters, "seconds": round(seconds, 1), "images_per_second": round(speed)}
    if done.best_epoch is not None:
        numbers |= {"epochs": len(history), "best_epoch": done.best_epoch}
        end = "stopped after epoch {}" if len(history) < args.epochs else "trained for {} epochs"
        print(f"{end.format(len(history))}; the weights are those of epoch {done.best_epoch}")
    print(f"{seconds:.1f} s, {speed:,.0f} images/s in training")
    write_json(files.path("results.json"), {**numbers, **results})
    write_table(files, text.getvalue())


def write_table(files: Files, text: str) -> None:
    """Write a table as it was printed."""
    atomic_write(files.path(TABLE), lambda file: file.write(text.encode()))


def draw_course(done: Training, args: argparse.Namespace, trained: Estimator) -> None:
    """Draw the losses of all epochs."""
    unit = "nats per map of codes" if done.files.prefix else view_of(trained).unit
    seen = "test" if args.validation is None else "validation"
    figures.save_training(done.files.path("training.png"), trained.history, unit, seen)
