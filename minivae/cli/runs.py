"""Knows what is in the folder of a run, and opens it again; training.py is what makes it."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from math import isinf
from pathlib import Path
from typing import Any

from minivae import __version__, models
from minivae.data import Dataset
from minivae.kernels import cpu_choice
from minivae.models import VQVAE, VQVAE2, VideoPrior, VideoVQVAE, VQVAE2Prior
from minivae.models.autoregressive import Autoregressive
from minivae.models.base import Estimator
from minivae.training.checkpoint import atomic_write

from . import images
from .lock import NAME as LOCK
from .pixels import check_pixels

OVERWRITING = "overwriting"  # the mark in config.json while what an older run left is removed
OF_A_RUN = ("model", "versions", "contents", OVERWRITING)  # what config.json holds besides options
PICTURES = (
    *("analogies", "anomalies", "atoms", "codes", "codes_bottom", "codes_top", "compression", "continuation"),
    *("denoised", "factors", "information", "interpolation", "latent", "levels", "manifold", "reconstructions"),
    *("samples", "stages", "training", "traversal", "voices"),
)
PRIOR, TOP, BOTTOM = "prior_", "prior_top_", "prior_bottom_"  # prefixes of the files of priors
SOUNDS = ("reconstructions", "samples", "voices")
CLIPS = ("continuation", "reconstructions", "samples")
TABLE, REPORT = "table.txt", "report.html"  # the table as it was printed; the page, one for a model and its priors


@dataclass(frozen=True)
class Files:
    """The files of one training in the folder of a run: those of its model, or with a prefix those of its prior."""

    folder: Path
    prefix: str = ""

    def path(self, name: str) -> Path:
        return self.folder / f"{self.prefix}{name}"

    @property
    def model(self) -> Path:
        return self.folder / f"{self.prefix.removesuffix('_') or 'model'}.npz"

    @property
    def checkpoint(self) -> Path:
        return self.path("checkpoint.npz")

    def taken(self) -> bool:
        """Say whether there is something that a new training would overwrite."""
        if self.prefix:
            return self.model.exists() or self.checkpoint.exists()
        return any(path.name != LOCK for path in self.folder.iterdir())

    def clear(self) -> None:
        """Remove what a training has made except its config.json.

        The prior of a model is removed with it, and with the prior of top codes that of the bottom codes.
        """
        names = ["checkpoint.npz", "metrics.jsonl", "results.json", TABLE, *(f"{picture}.png" for picture in PICTURES)]
        names += [f"{sound}.wav" for sound in SOUNDS]
        names += [f"{clips}.gif" for clips in CLIPS]
        shared = [self.folder / name for name in ("samples.png", "samples.wav", "samples.gif", REPORT)]
        for path in (self.model, *shared, *map(self.path, names)):
            path.unlink(missing_ok=True)
        for prefix in {"": (PRIOR, TOP), TOP: (BOTTOM,)}.get(self.prefix, ()):
            Files(self.folder, prefix).forget()

    def forget(self) -> None:
        """Remove all that a training has made."""
        self.clear()
        self.path("config.json").unlink(missing_ok=True)


@dataclass(frozen=True)
class Run:
    """A trained model and the folder that it lies in."""

    folder: Path
    model: Estimator
    device: str

    @classmethod
    def open(cls, path: Path, device: str = "cpu") -> Run:
        """Open the run in a folder or around a model file. FileNotFoundError or ValueError where there is none."""
        file = path / "model.npz" if path.is_dir() else path
        if not file.is_file():
            missing = "has no model.npz" if path.is_dir() else "does not exist"
            raise FileNotFoundError(f"{str(path)!r} is no run: it {missing}; `minivae train` makes one")
        model = models.load(file)
        if isinstance(model, Autoregressive):
            raise ValueError(f"{str(file)!r} is the prior of a VQ-VAE; name the folder of the run")
        return cls(file.parent, model.to(device=device), device)

    @property
    def config(self) -> dict[str, Any]:
        return read_json(self.folder / "config.json") or {}

    def data(self, name: str | None = None) -> Dataset:
        """Load a data set by its name or, without a name, the images that the run was trained and tested on.

        Flat rows of a file get the shape that the model's images have. Raises ValueError for images that do not fit it.
        """
        own, config = name is None, self.config
        if name is None:
            name = config.get("data")
            if name is None:
                raise ValueError(f"there is no {self.folder / 'config.json'}; say with --data which images to use")
            if not isinstance(name, str):
                raise ValueError(f"{self.folder / 'config.json'} names no data set, but {name!r}")
        shape = self.model.image_shape
        data = images.load(name, shape if own or images.takes_shape(name, shape) else None)
        check_pixels(self.model, data)
        rate = getattr(self.model, "sample_rate", None)
        if rate != data.sample_rate and None not in (rate, data.sample_rate):
            raise ValueError(f"{data.name!r} has {data.sample_rate} samples a second, the model was made for {rate}")
        self.model.check_images(data.x_test[:1])
        return images.set_aside(data, config.get("validation"), config.get("seed", 0))[0] if own else data

    def prior(self) -> Any:
        """Load the prior of this model's codes, a PixelCNN, WaveNet, VideoPrior or VQVAE2Prior; None if there is none.

        Raises ValueError for a prior of the codes of another codebook.
        """
        files = self._prior_files()
        if not files or not all(part.model.exists() for part in files):
            return None
        parts: list[Any] = [self._prior_in(part) for part in files]
        if isinstance(self.model, VideoVQVAE):
            return VideoPrior(parts[0], self.model.frames)
        return VQVAE2Prior(*parts) if isinstance(self.model, VQVAE2) else parts[0]

    def _prior_files(self) -> list[Files]:
        """Name the files of the distributions that the prior of this model is made of."""
        prefixes = [TOP, BOTTOM] if isinstance(self.model, VQVAE2) else [PRIOR] * isinstance(self.model, VQVAE)
        return [Files(self.folder, prefix) for prefix in prefixes]

    @property
    def _digest(self) -> str | None:
        """The codebook_digest of the model, None if it has no codes."""
        return self.model.codebook_digest if isinstance(self.model, (VQVAE, VQVAE2)) else None

    def _prior_in(self, files: Files) -> Autoregressive:
        prior = _loaded_prior(files.model).to(device=self.device)
        if prior.codebook_digest != self._digest:
            raise ValueError(
                f"{str(files.model)!r} was trained on the codes of another codebook; `minivae train prior "
                f"{self.folder} --force` makes one for this model"
            )
        return prior

    def drop_other_prior(self) -> None:
        """Remove a prior of codes that this model had before its training went on, and say so."""
        found = [files for files in self._prior_files() if files.model.exists()]
        other = [f for f in found if _loaded_prior(f.model).codebook_digest != self._digest]
        for files in other:
            files.forget()
        if other:
            print(
                f"removed the prior: its codes are those of before; `minivae train prior {self.folder}` trains another"
            )


def open_all(paths: Sequence[Path], device: str) -> list[Run]:
    """Open runs that are compared. Raise ValueError for one that is named twice."""
    if twice := [str(path) for path in paths if paths.count(path) > 1]:
        raise ValueError(f"each run is named once, got {twice[0]!r} twice")
    return [Run.open(path, device) for path in paths]


def common_data(runs: Sequence[Run], name: str | None) -> Dataset:
    """Load the images of a data set or, without a name, those that all runs were trained and tested on.

    Raises ValueError for a run that was trained on other images than the first.
    """
    first, *others = runs
    data = first.data(name)
    for run in others:
        if images.digests(run.data(name)) != images.digests(data):
            raise ValueError(
                f"{str(run.folder)!r} was trained on other images than {str(first.folder)!r}; --data says which to use"
            )
    return images.in_memory(data)


def _loaded_prior(path: Path) -> Autoregressive:
    """Load a prior of codes. Raise ValueError for a file with another model in it."""
    prior = models.load(path)
    if not isinstance(prior, Autoregressive):
        raise ValueError(f"{str(path)!r} holds a {type(prior).__name__}, which is no prior of codes")
    return prior


def read_json(path: Path) -> dict[str, Any] | None:
    """Read the object in a JSON file; None if there is no file, ValueError for a file with anything else in it."""
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is no readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{str(path)!r} holds no options, but a {type(value).__name__}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON; ValueError for one that has a name twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {max(names, key=names.count)!r} twice")
    return found


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file. JSON has no infinity: the PSNR of equal images becomes null."""
    text = json.dumps(_finite(value), indent=2, allow_nan=False)
    atomic_write(path, lambda file: file.write(f"{text}\n".encode()))


def _finite(value: Any) -> Any:
    """Put None in the place of infinity."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and isinf(value) else value


def command_of(model: str) -> str:
    """Name the command that makes a run whose config.json has this model."""
    return f"minivae {model}" if model in ("anomaly", "compress-curve") else f"minivae train {model}"


def versions() -> dict[str, str]:
    """Collect the versions of all that the outcome of a training may depend on."""
    names = ("numpy", "cupy-cuda12x", "cupy-cuda13x")
    installed = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"] in names}
    own = {"minivae": __version__, "kernels": cpu_choice().name}
    return {**own, "python": platform.python_version(), **installed}
