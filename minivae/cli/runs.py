"""The folder of a run: what is in it, how it is begun, continued and opened again."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from math import isinf
from pathlib import Path
from typing import Any

from minivae import __version__, models
from minivae import data as datasets
from minivae.data import Dataset
from minivae.models import VQVAE, PixelCNN
from minivae.training import Estimator
from minivae.training.checkpoint import atomic_write
from minivae.training.progress import progress_for

from .pixels import check_pixels


@dataclass(frozen=True)
class Files:
    """The files of one training in the folder of a run: those of its model, or with a prefix those of its prior."""

    folder: Path
    prefix: str = ""

    def path(self, name: str) -> Path:
        return self.folder / f"{self.prefix}{name}"

    @property
    def model(self) -> Path:
        return self.folder / "prior.npz" if self.prefix else self.folder / "model.npz"

    def check(self, options: dict[str, Any], force: bool, resume: bool) -> None:
        """ValueError unless a training with these options may write here; nothing is written."""
        if force and resume:
            raise ValueError("--force overwrites, --resume goes on: not both")
        if resume:
            self._check_resume(options)
        elif self._taken() and not force:
            where = str(self.model if self.prefix else self.folder)
            raise ValueError(
                f"{where!r} is {'there' if self.prefix else 'not empty'}; "
                "--force overwrites it, --resume goes on with it"
            )

    def _taken(self) -> bool:
        if self.prefix:
            return self.model.exists() or self.path("checkpoint.npz").exists()
        return self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir()))

    def _check_resume(self, options: dict[str, Any]) -> None:
        config = read_json(self.path("config.json"))
        if config is None or not self.path("checkpoint.npz").is_file():
            raise ValueError(f"{str(self.folder)!r} holds no {'prior' if self.prefix else 'run'} to resume")
        if changed := sorted(k for k, v in options.items() if config.get(k) != v):
            raise ValueError(
                "resume with the options of the run: "
                + ", ".join(f"--{k.replace('_', '-')} was {config.get(k)}, not {options[k]}" for k in changed)
            )

    def begin(self, options: dict[str, Any], resume: bool) -> None:
        """Make the folder and note the options; without `resume` an old training goes, with all that hung on it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self.folder, os.W_OK):
            raise PermissionError(f"the folder {str(self.folder)!r} is not writable")
        if not resume:
            for name in ("checkpoint.npz", "metrics.jsonl", "results.json"):
                self.path(name).unlink(missing_ok=True)
            self.model.unlink(missing_ok=True)
            if not self.prefix:
                Files(self.folder, "prior_").forget()
        write_json(self.path("config.json"), {**options, "versions": versions()})

    def forget(self) -> None:
        """Remove the files of this training."""
        for name in ("checkpoint.npz", "metrics.jsonl", "results.json", "config.json"):
            self.path(name).unlink(missing_ok=True)
        self.model.unlink(missing_ok=True)

    def fit(self, model: Estimator, args: argparse.Namespace, *data: Any, validation: Any) -> float:
        """Train as the options say, saving after every epoch; returns the seconds it took."""

        def after_epoch(record: dict[str, Any]) -> None:
            model.save(self.model)
            lines = "".join(json.dumps(epoch) + "\n" for epoch in model.history)
            atomic_write(self.path("metrics.jsonl"), lambda file: file.write(lines.encode()))

        start = time.perf_counter()
        try:
            model.fit(
                *data,
                epochs=args.epochs,
                batch_size=args.batch_size,
                lr=args.lr,
                validation=validation,
                device=args.device,
                progress=progress_for(sys.stderr),
                checkpoint=self.path("checkpoint.npz"),
                resume=args.resume,
                on_epoch=after_epoch,
            )
        except KeyboardInterrupt:
            done = len(model.history)
            kept = f"{self.model} is that of epoch {done}; --resume goes on from there" if done else "nothing to keep"
            print(f"\ninterrupted in epoch {done + 1}: {kept}", file=sys.stderr)
            raise
        return time.perf_counter() - start


@dataclass(frozen=True)
class Run:
    """A trained model and the folder that it lies in."""

    folder: Path
    model: Estimator
    device: str

    @classmethod
    def open(cls, path: Path, device: str = "cpu") -> Run:
        """The run in a folder or around a model file. FileNotFoundError, ValueError where there is none."""
        file = path / "model.npz" if path.is_dir() else path
        if not file.is_file():
            missing = "has no model.npz" if path.is_dir() else "does not exist"
            raise FileNotFoundError(f"{str(path)!r} is no run: it {missing}; `minivae train` makes one")
        model = models.load(file)
        if isinstance(model, PixelCNN):
            raise ValueError(f"{str(file)!r} is the prior of a VQ-VAE; name the folder of the run")
        return cls(file.parent, model.to(device=device), device)

    @property
    def config(self) -> dict[str, Any]:
        return read_json(self.folder / "config.json") or {}

    def data(self, name: str | None = None) -> Dataset:
        """The data set of this name or, without one, of the run; ValueError if its images do not fit the model."""
        if name is None:
            name = self.config.get("data")
            if name is None:
                raise ValueError(f"there is no {self.folder / 'config.json'}; say with --data which images to use")
            if not isinstance(name, str):
                raise ValueError(f"{self.folder / 'config.json'} names no data set, but {name!r}")
        data = datasets.load(name)
        check_pixels(self.model, data)
        self.model.check_images(data.x_test[:1])
        return data

    def prior(self) -> PixelCNN | None:
        """The prior that was trained for the codes of this VQ-VAE; ValueError if it is that of another codebook."""
        path = Files(self.folder, "prior_").model
        if not isinstance(self.model, VQVAE) or not path.exists():
            return None
        prior = PixelCNN.load(path)
        prior.to(device=self.device)
        if prior.codebook_digest != self.model.codebook_digest:
            raise ValueError(
                f"{str(path)!r} was trained on the codes of another codebook; `minivae train prior {self.folder} "
                "--force` makes one for this model"
            )
        return prior


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file, or None without a file. ValueError for anything else in it."""
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is no readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{str(path)!r} holds no options, but a {type(value).__name__}")
    return value


def write_json(path: Path, value: Any) -> None:
    """JSON has no infinity: the PSNR of equal images is null."""
    text = json.dumps(_finite(value), indent=2, allow_nan=False)
    atomic_write(path, lambda file: file.write(f"{text}\n".encode()))


def _finite(value: Any) -> Any:
    """The same with None for infinity."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and isinf(value) else value


def versions() -> dict[str, str]:
    """What a result may depend on."""
    names = ("numpy", "cupy-cuda12x", "cupy-cuda13x")
    installed = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"] in names}
    return {"minivae": __version__, "python": platform.python_version(), **installed}
