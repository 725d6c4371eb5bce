"""mv.models: constructors, fit, and the verbs. What their arguments may be stands in model_settings.py."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from minivae import models, nn

from .judge import Argument, Row, method
from .kinds import EITHER, NONE, REFUSED, Kind, array, choice, integer, number
from .model_settings import (
    CLIPS,
    CODE_KIND,
    CODES,
    FILES,
    IMAGE_KIND,
    IMAGES,
    INNER_KIND,
    LABELS,
    LATENT_KIND,
    LATENTS,
    MAP_KIND,
    MAPS,
    OFFERS,
    OWN,
    SEQUENCES,
    SETTINGS,
    WAVES,
)
from .table_functional import NOISE

# The squared error of huge images is beyond float32.
VQVAES = ("VQVAE", "VQVAE1d", "WaveNetVQVAE", "VQVAE2", "VideoVQVAE", "VQGAN")
AUTOENCODERS = ("Autoencoder", "SparseAutoencoder", "ContractiveAutoencoder")
OVERFLOWS: dict[tuple[str, str], tuple[type[Exception], ...]] = {
    (m, n): (FloatingPointError,) for m in AUTOENCODERS for n in ("score_samples", "score", "fit_transform")
}
OF_WAVES = ("VQVAE1d", "WaveNetVQVAE")
OVERFLOWS |= {
    (m, n): (FloatingPointError,) for m in OF_WAVES for n in ("score_samples", "score", "fit_transform", "bound")
}
NAMES = (
    *("VAE", "ConditionalVAE", "IWAE", "BetaTCVAE", "VAEGAN", *AUTOENCODERS),
    *(*VQVAES, "PixelCNN", "WaveNet"),
)
CLASSES: dict[str, type] = {name: getattr(models, name) for name in NAMES}
DATA = {
    **dict.fromkeys(CLASSES, (IMAGES, IMAGE_KIND)),
    "PixelCNN": (MAPS, MAP_KIND),
    "WaveNet": (SEQUENCES, MAP_KIND),
    **dict.fromkeys(OF_WAVES, (WAVES, IMAGE_KIND)),
    "VideoVQVAE": (CLIPS, IMAGE_KIND),
}
CONDITIONAL = ("ConditionalVAE", "PixelCNN", *OF_WAVES, "WaveNet")


def setting(model: str, name: str) -> Argument:
    return OWN.get(model, {}).get(name) or SETTINGS[name]


def constructor(model: str) -> dict[str, Argument]:
    return {name: setting(model, name) for name in CLASSES[model]._parameters()}


def new(model: str) -> Any:
    return CLASSES[model](**{name: a.valid for name, a in constructor(model).items()})


@cache
def prior() -> Any:
    return models.PixelCNN((1, 1), values=3, channels=2, layers=1, first_kernel=1, kernel=1, hidden=2)


def _described(model: Any) -> Any:
    """A model's weights and one loss. What it writes into a file must be plain values."""
    x = DATA[type(model).__name__][0]
    json.dumps(model._meta())
    y = () if model.classes is None else (np.zeros(len(x), np.int64),)
    try:
        loss = model.loss(x, *y)
    except ValueError:  # another image_shape
        loss = None
    return model.state_dict(), loss


def made(name: str) -> Row:
    cls = CLASSES[name]
    return Row(lambda *a, **k: _described(cls(*a, **k)), constructor(name), public=cls)


def _or_the_models(valid: Any, kind: Kind) -> Argument:
    return Argument(valid, kind | Kind("None", lambda value: valid if value is None else REFUSED))


def fitted(name: str) -> Row:
    """What a fit of one epoch makes of the weights."""
    cls = CLASSES[name]
    x, kind = DATA[name]
    arguments = {"x": Argument(x, kind), "validation": Argument(x[:2], kind | NONE)}
    if name in CONDITIONAL:
        valid = (x[:2], LABELS[:2])
        arguments["validation"] = Argument(valid, Kind("pair", lambda value: None if value is None else REFUSED))
    for parameter in inspect.signature(cls.fit).parameters:
        if parameter not in ("self", *arguments):
            arguments[parameter] = setting(name, parameter)

    def fit(*positional: Any, **keywords: Any) -> Any:
        model = new(name)
        model.fit(*positional, **keywords)
        return model.state_dict()

    for parameter in ("epochs", "batch_size", "lr"):  # None is what the constructor was given
        arguments[parameter] = _or_the_models(*arguments[parameter])

    # A learning rate of any size is right as long as the loss stays finite.
    return Row(fit, arguments, public=cls.fit, errors=(FloatingPointError,))


def verb(model: str, name: str, **own: Argument) -> Row:
    cls = CLASSES[model]
    arguments = dict(own)
    for parameter in inspect.signature(getattr(cls, name)).parameters:
        if parameter not in ("self", *own):
            arguments[parameter] = setting(model, parameter)
    errors = FILES if "path" in arguments else OVERFLOWS.get((model, name), ())
    return method(cls, name, lambda: new(model), arguments, errors=errors)


NO_MODULES = Argument({}, OFFERS)
NOT_MODULES = {"modules": {"encoder = 5": {"encoder": 5}, "not of this model": {"encoder": nn.Linear(1, 1)}}}


def _saved(model: str) -> Path:
    path = Path(tempfile.mkdtemp()) / "model.npz"
    new(model).save(path)
    return path


def files(model: str) -> dict[str, Row]:
    path = _saved(model)
    kind = SETTINGS["path"].kind
    return {
        f"models.{model}.save": verb(model, "save", path=Argument(path, kind)),
        f"models.{model}.load": Row(
            CLASSES[model].load,
            {"path": Argument(path, kind), "modules": NO_MODULES},
            public=CLASSES[model].load,
            errors=FILES,
            extra=NOT_MODULES,
        ),
    }


def _set(model: str) -> Callable[..., Any]:
    def set_params(**params: Any) -> Any:
        return _described(new(model).set_params(**params))

    return set_params


def set_params(model: str) -> Row:
    bad = {f"{name} = 1j": {name: 1j} for name in constructor(model)} | {"unknown": {"unknown": 1}}
    some = next(name for name in ("latent_dim", "codes", "values") if name in CLASSES[model]._parameters())
    return Row(
        _set(model),
        {"params": Argument({some: 4}, OFFERS)},
        public=CLASSES[model].set_params,
        extra={"params": bad},
    )


waves, inner_waves = Argument(WAVES, IMAGE_KIND), Argument(WAVES, INNER_KIND)
x, a, b = (Argument(IMAGES, IMAGE_KIND) for _ in range(3))
z = Argument(LATENTS, LATENT_KIND)
codes, maps = Argument(CODES, CODE_KIND), Argument(MAPS, MAP_KIND)
inner = Argument(IMAGES, INNER_KIND)
prior_argument, no_labels = Argument(prior(), OFFERS | NONE), Argument(None, NONE)
some_labels = Argument(LABELS, CODE_KIND)
sequences = Argument(SEQUENCES, MAP_KIND)
inner_maps, inner_sequences, inner_labels = (
    Argument(MAPS, replace(MAP_KIND, tensors=True)),
    Argument(SEQUENCES, replace(MAP_KIND, tensors=True)),
    Argument(LABELS, replace(CODE_KIND, tensors=True)),
)
CLASS = integer(0, 1)  # one label for all images
VERBS = {
    "VAE": {
        **{name: {"x": x} for name in ("encode", "transform", "reconstruct", "binarized", "latent_usage")},
        **{name: {"x": x} for name in ("score_samples", "score", "log_likelihood", "fit_transform", "check_images")},
        **{name: {"x": inner} for name in ("loss", "posterior", "elbo", "log_weights")},
        **{name: {"z": z} for name in ("decode", "inverse_transform", "check_latents")},
        "interpolate": {"a": a, "b": b},
        "traverse": {
            "x": Argument(IMAGES[:1], IMAGE_KIND | NONE),
            "values": Argument(np.array([0.5, 1.0]), LATENT_KIND | NONE),
        },
        "sample": {},
        "manifold": {},
        "bits_per_dim": {},
    },
    "ConditionalVAE": {
        **{name: {"x": x} for name in ("encode", "transform", "reconstruct", "latent_usage", "score_samples", "score")},
        **{name: {"x": x} for name in ("log_likelihood", "log_joint", "classify", "binarized", "check_images")},
        "fit_transform": {"x": x},
        **{name: {"x": inner, "y": inner_labels} for name in ("loss", "posterior", "elbo", "log_weights")},
        **{name: {"z": z} for name in ("decode", "inverse_transform")},
        "check_latents": {"z": z},
        "interpolate": {"a": a, "b": b},
        "traverse": {
            "x": Argument(IMAGES[:1], IMAGE_KIND | NONE),
            "values": Argument(np.array([0.5, 1.0]), LATENT_KIND | NONE),
            "y": Argument(1, CLASS),
        },
        "sample": {"y": Argument(np.array([0, 1]), CODE_KIND)},
        "manifold": {"y": Argument(1, CLASS)},
        "bits_per_dim": {},
    },
    "Autoencoder": {
        **{name: {"x": x} for name in ("encode", "transform", "reconstruct", "denoise", "score_samples")},
        **{name: {"x": x} for name in ("score", "fit_transform", "check_images")},
        **{name: {"x": inner} for name in ("loss", "forward")},
        **{name: {"z": z} for name in ("decode", "inverse_transform", "check_latents")},
    },
    "VQVAE": {
        **{name: {"x": x} for name in ("encode", "transform", "reconstruct", "score", "fit_transform", "check_images")},
        "loss": {"x": inner},
        **{name: {"codes": codes} for name in ("decode", "check_codes")},
        "inverse_transform": {"z": codes},
        "code_cost": {"codes": codes, "prior": prior_argument, "y": no_labels},
        "score_samples": {"x": x, "prior": prior_argument, "y": no_labels},
        "bound": {"x": x, "prior": prior_argument, "y": no_labels},
        "sample": {"prior": Argument(prior(), OFFERS), "y": no_labels},
        "bits_per_dim": {},
    },
    "VQVAE1d": {
        **{name: {"x": waves} for name in ("encode", "transform", "check_images")},
        **{name: {"x": waves, "y": some_labels} for name in ("score", "reconstruct", "fit_transform")},
        "loss": {"x": inner_waves, "y": inner_labels},
        "decode": {"codes": codes, "y": some_labels},
        "inverse_transform": {"z": codes, "y": some_labels},
        "check_codes": {"codes": codes},
        "code_cost": {"codes": codes, "prior": prior_argument, "y": no_labels},
        "score_samples": {"x": waves, "prior": prior_argument, "y": some_labels},
        "bound": {"x": waves, "prior": prior_argument, "y": some_labels},
        "sample": {"prior": Argument(prior(), OFFERS), "y": Argument(np.array([0, 1]), CODE_KIND)},
        "bits_per_dim": {},
    },
    **{
        name: {
            **{verb: {"x": codes} for verb in ("score", "check_images")},
            "score_samples": {"maps": codes, "y": some_labels},
            **{verb: {"maps": inner, "y": inner_labels} for verb in ("loss", "logits", "nll")},
            "sample": {"y": Argument(np.array([0, 1]), CODE_KIND)},
            "bits_per_dim": {},
        }
        for name, codes, inner in (("PixelCNN", maps, inner_maps), ("WaveNet", sequences, inner_sequences))
    },
}
VERBS |= {"VAEGAN": VERBS["VAE"], "VQGAN": VERBS["VQVAE"], "WaveNetVQVAE": VERBS["VQVAE1d"]}
VERBS["BetaTCVAE"] = VERBS["VAE"]
VERBS["IWAE"] = VERBS["VAE"]
VERBS["SparseAutoencoder"] = VERBS["Autoencoder"] | {"activity": {"x": x}}
VERBS["ContractiveAutoencoder"] = VERBS["Autoencoder"] | {"jacobian_norm": {"x": x}}
CORRUPT = {
    "x": Argument(IMAGES, array("images", ("float32", "float64"), tensors=False, not_finite="refused")),
    "kind": Argument("gaussian", choice("gaussian", "masking", "salt-and-pepper")),
    "level": Argument(0.3, number(0)),
    "noise": NOISE,
}

TABLE = {
    **{f"models.{name}": made(name) for name in CLASSES},
    **{f"models.{name}.fit": fitted(name) for name in CLASSES},
    **{f"models.{name}.set_params": set_params(name) for name in CLASSES},
    **{row: value for name in CLASSES for row, value in files(name).items()},
    **{
        f"models.{model}.{name}": verb(model, name, **arguments)
        for model, verbs in VERBS.items()
        for name, arguments in verbs.items()
    },
    **{
        f"models.{name}.check_labels": method(
            CLASSES[name],
            "check_labels",
            lambda name=name: new(name),
            {"y": some_labels, "count": Argument(3, Kind("count", lambda value: EITHER))},
        )
        for name in CONDITIONAL
    },
    "models.corrupt": Row(models.corrupt, CORRUPT),
    "models.load": Row(
        models.load,
        {
            "path": Argument(_saved("VAE"), SETTINGS["path"].kind),
            "classes": Argument(
                (), Kind("classes", lambda value: () if isinstance(value, (list, tuple)) and not value else REFUSED)
            ),
            "modules": NO_MODULES,
        },
        errors=FILES,
        extra=NOT_MODULES,
    ),
}
