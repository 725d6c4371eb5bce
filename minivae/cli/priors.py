"""`minivae train prior RUN` trains the prior of a VQ-VAE's codes.

It is a PixelCNN over the maps of images, two of them for the maps of a VQ-VAE-2, and a WaveNet over the sequences of
sounds.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from minivae import manual_seed, models
from minivae.data import Dataset
from minivae.data.lazy import LazyArray
from minivae.models.base import Estimator

from . import gallery, images, options
from .ending import draw_course, finish
from .parser import Parser
from .reports import write_report
from .runs import BOTTOM, PRIOR, TOP, Files, Run
from .training import training
from .views.registry import view_of
from .views.view import Asked

# Options that are not given. A WaveNet has so many layers that it sees all codes of a sequence.
OF_MAPS: dict[str, Any] = {"epochs": 20, "batch_size": 128, "channels": 32, "layers": 5}
OF_SEQUENCES: dict[str, Any] = {"epochs": 10, "batch_size": 32, "channels": 64}
OF_CLIPS: dict[str, Any] = {**OF_MAPS, "epochs": 5, "batch_size": 32}  # each clip has many maps
MIRRORED = ("fashion-mini", "fashion-mnist")  # data whose mirror images are as good: no digits, no letters


def add_options(parser: Parser) -> None:
    """Add the options of `minivae train prior`."""
    options.run(parser)
    options.training(parser, 20)
    options.validation(parser)
    options.count(parser, "--channels", None, "number of channels of each convolution", most=options.CHANNELS)
    options.count(parser, "--layers", None, "number of layers", most=100)
    parser.set_defaults(**dict.fromkeys(OF_MAPS))
    for action in (action for action in parser.options if action.dest in OF_MAPS):
        others = f", of sounds {OF_SEQUENCES.get(action.dest, 'as many as see all codes')}"
        others += f", of clips {OF_CLIPS[action.dest]}" if OF_CLIPS[action.dest] != OF_MAPS[action.dest] else ""
        action.help = f"{action.help} (default: {OF_MAPS[action.dest]}{others})"
    dropout = "probability that a feature of a layer is zero in a step of the training"
    parser.add_argument("--dropout", type=options.probability, default=0.1, metavar="P", help=dropout)
    mirrored = f"train on the codes of mirror images too (default: for {' and '.join(MIRRORED)})"
    options.flag(parser, "--mirrored", mirrored, default=None)
    conditional = "learn one distribution for each class (default: where the classes are numbered 0, 1, ...)"
    options.flag(parser, "--conditional", conditional, default=None)
    options.keeping(parser)


def train(args: argparse.Namespace) -> None:
    """Train the prior of a run's codes, or both priors of a VQ-VAE-2."""
    run = Run.open(args.run, args.device)
    model = run.model
    _complete(args, model)
    if args.mirrored and isinstance(model, models.VQVAE1d):
        raise ValueError("--mirrored is not for the prior of sounds, which it would reverse in time")
    if isinstance(model, models.VQVAE2):
        _train_priors_of_levels(args, run, model)
        return
    if not isinstance(model, models.VQVAE):
        raise ValueError(f"{str(args.run)!r} holds {type(model).__name__}; a prior is for the codes of a VQVAE")
    files = Files(run.folder, PRIOR)
    with training(files, args) as of_prior:
        whole = of_prior.checked(run.data())
        of_video = isinstance(model, models.VideoVQVAE)
        if of_video and args.conditional:
            raise ValueError("--conditional is not for the prior of a video, which is given the frames before")
        conditional = not of_video and _conditional(whole, args.conditional)
        data, x_validation, y_validation = images.set_aside(whole, args.validation, args.seed)
        manual_seed(args.seed)
        prior = _prior(args, model, 1 + max(_labels(whole.y_train)) if conditional else None)
        shape = " x ".join(map(str, model.code_shape))
        print(f"prior with {prior.num_parameters():,} parameters on the {shape} codes of {run.folder}: ", end="")
        x, y = _with_mirrored(args, whole, model, data)
        mirrored = len(x) > len(data.x_train)
        maps, validation_maps, test_maps = model.encode(x), model.encode(x_validation), data.x_test
        if isinstance(model, models.VideoVQVAE):  # frame by frame, each given those before it
            of_clips = models.VideoPrior(prior, model.frames)
            maps, y = of_clips.training_examples(maps)
            validation_maps, y_validation = of_clips.examples(validation_maps)
            test_maps = data.x_test.reshape(-1, *data.x_test.shape[2:])
        sizes = images.sizes(args.validation, maps, validation_maps, test_maps)
        print(f"{sizes} maps{', one half of the training maps of mirror images' if mirrored else ''}", flush=True)
        of_prior.begin()
        validation = (validation_maps, y_validation) if prior.conditional else validation_maps
        of_prior.fit(prior, args, maps, y if prior.conditional else None, validation=validation)
        if not of_prior.leads:
            return
        finish(of_prior, args, prior, run, whole)
        view_of(model).draw_samples(run, gallery.SHEET, run.folder / "samples.png", Asked())
        write_report(run.folder)
    print(f"prior, metrics, samples and report.html are in {run.folder}/")


def _train_priors_of_levels(args: argparse.Namespace, run: Run, model: models.VQVAE2) -> None:
    """Train the two PixelCNNs of a VQVAE2Prior one after the other, each with a checkpoint of its own."""
    trained: list[Estimator] = []
    for prefix in (TOP, BOTTOM):
        files = Files(run.folder, prefix)
        begun = files.path("config.json").is_file()  # of a level that is not, --resume trains it from the beginning
        with training(files, argparse.Namespace(**{**vars(args), "resume": args.resume and begun})) as part:
            whole = part.checked(run.data())
            conditional = _conditional(whole, args.conditional)
            data, x_validation, y_validation = images.set_aside(whole, args.validation, args.seed)
            manual_seed(args.seed)
            settings = {"channels": args.channels, "layers": args.layers, "dropout": args.dropout}
            prior = models.VQVAE2Prior.of(model, 1 + max(_labels(whole.y_train)) if conditional else None, **settings)
            learning, validation = (
                _of_level(prior, prefix, model.encode(x), y if conditional else None)
                for x, y in (_with_mirrored(args, whole, model, data), (x_validation, y_validation))
            )
            level = prior.top if prefix == TOP else prior.bottom
            (h, w), parameters = level.map_shape, level.num_parameters()
            print(f"{files.model.stem} with {parameters:,} parameters on {h} x {w} codes of {run.folder}: ", end="")
            print(f"{images.sizes(args.validation, learning[0], validation[0], whole.x_test)} maps", flush=True)
            part.begin()
            part.fit(level, args, *learning, validation=validation if level.conditional else validation[0])
            trained.append(level)
            if not part.leads:
                continue
            if prefix == TOP:
                draw_course(part, args, level)
            else:
                finish(part, args, level, run, whole, trained[0])
                view_of(model).draw_samples(run, gallery.SHEET, run.folder / "samples.png", Asked())
                write_report(run.folder)
    print(f"priors, metrics, samples and report.html are in {run.folder}/")


def _of_level(prior: models.VQVAE2Prior, prefix: str, codes: Any, y: Any) -> tuple[np.ndarray, Any]:
    """Collect the maps that the PixelCNN of a level learns, and what they are given."""
    return (codes.top, y) if prefix == TOP else (codes.bottom, prior.context(codes.top, y))


def _with_mirrored(
    args: argparse.Namespace, whole: Dataset, model: Estimator, data: Dataset
) -> tuple[np.ndarray, np.ndarray | None]:
    """Collect the images that a prior learns and their labels, of --mirrored with those of the mirror images."""
    x, y = model.check_images(data.x_train), data.y_train
    if whole.name in MIRRORED if args.mirrored is None else args.mirrored:
        if isinstance(data.x_train, LazyArray):
            raise ValueError(f"--mirrored is for images in memory; those of {whole.name!r} are read batch by batch")
        x, y = np.concatenate([x, x[..., ::-1]]), None if y is None else np.concatenate([y, y])
    return x, y


def _complete(args: argparse.Namespace, model: Estimator) -> None:
    """Set the options that were not given and are others for maps than for sequences."""
    defaults = OF_MAPS
    if isinstance(model, models.VQVAE1d):
        defaults = {**OF_SEQUENCES, "layers": _layers_that_see_all(model)}
    elif isinstance(model, models.VideoVQVAE):
        defaults = OF_CLIPS
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)


def _layers_that_see_all(model: models.VQVAE) -> int:
    """The least number of layers, with dilations 1, 2, 4, ..., that sees all codes of a segment."""
    return max(1, (model.map_size[1] - 1).bit_length())


def _prior(args: argparse.Namespace, model: models.VQVAE, classes: int | None) -> Any:
    common = {"classes": classes, "codebook_digest": model.codebook_digest, "dropout": args.dropout}
    sizes = model.code_shape, model.quantizer.codes, args.channels
    if isinstance(model, models.VideoVQVAE):
        settings = {"channels": args.channels, "layers": args.layers, "dropout": args.dropout}
        return models.VideoPrior.of(model, **settings).frame
    if not isinstance(model, models.VQVAE1d):
        return models.PixelCNN(*sizes, args.layers, **common)
    period = _layers_that_see_all(model)  # after which the dilations begin again at 1
    return models.WaveNet(*sizes, [2 ** (i % period) for i in range(args.layers)], **common)


def _conditional(data: Dataset, asked: bool | None) -> bool:
    """Say whether the prior is conditional: as asked or, if nobody asked, where the labels allow it.

    Raises ValueError for one that is asked for and labels on which none can be trained.
    """
    obstacle = _obstacle(data) if asked is not False else None
    if asked and obstacle is not None:
        raise ValueError(obstacle)
    return asked is not False and obstacle is None


def _obstacle(data: Dataset) -> str | None:
    """Say what is wrong with the labels for a conditional prior; None if nothing is."""
    if data.y_train is None or data.y_test is None:
        return f"--conditional needs labels, and {data.name!r} has none"
    known, found = _labels(data.y_train), _labels(data.y_test)
    if known != list(range(len(known))):
        return f"--conditional needs classes that are numbered 0, 1, 2, ..., those of training are {_some(known)}"
    if other := sorted({*found} - {*known}):
        return f"no training image of {data.name!r} has the labels {_some(other)} of its test images"
    return None


def _labels(y: np.ndarray | None) -> list[int]:
    """List the labels that occur, in order."""
    return [] if y is None else np.unique(y).tolist()


def _some(labels: list[int]) -> str:
    """List the first few labels."""
    return ", ".join(map(str, labels[:5])) + (", ..." if len(labels) > 5 else "")
