"""mv.models: constructors, fit, and the verbs.

What a constructor's or fit's argument may be stands in SETTINGS by its name, as it means the same in all models; a new
one needs a line there (and in OWN where one model differs).
"""

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

from minivae import models, nn, optim

from .judge import Argument, Row, method
from .kinds import (
    ALL,
    EITHER,
    FLAG,
    FUNCTION,
    INDEX_ARRAY,
    NONE,
    PASSED_ON,
    REFUSED,
    SEED,
    Kind,
    array,
    choice,
    integer,
    integers,
    number,
)
from .table_engine import DEVICE
from .table_functional import NOISE

RNG = np.random.default_rng(2)
IMAGES = RNG.uniform(0.1, 0.9, (3, 1, 4, 4)).astype(np.float32)
MAPS = RNG.integers(0, 3, (3, 2, 2))
CLIPS = RNG.uniform(0.1, 0.9, (3, 2, 1, 4, 4)).astype(np.float32)
WAVES = RNG.uniform(-0.9, 0.9, (3, 1, 1, 4)).astype(np.float32)
CODES = RNG.integers(0, 3, (3, 1, 1))
SEQUENCES = RNG.integers(0, 3, (3, 1, 4))
LATENTS = RNG.normal(size=(3, 2)).astype(np.float32)
LABELS = np.array([0, 1, 1])
FILES = (OSError,)  # a file that is not there
EXTENDED = ("float16", "float32", "float64", np.dtype(np.longdouble).name)
IMAGE_KIND = array("images", EXTENDED, scalars=False, same=True, tensors=False, not_finite="refused")
LATENT_KIND = array(
    "latents",
    tuple(d for d in (*ALL, "float16", EXTENDED[-1]) if d != "bool"),
    scalars=False,
    same=True,
    tensors=False,
    not_finite="refused",
)
MAP_KIND = array("maps", tuple(d for d in ALL if "float" not in d), same=True, tensors=False, out_of_range="refused")
CODE_KIND = array("codes", INDEX_ARRAY.dtypes, same=True, tensors=False, out_of_range="refused")
# loss() and the like see Tensors and arrays on their way to the device, and leave the values to the operations.
INNER_KIND = array("numbers", (*ALL, "float16", EXTENDED[-1]), same=True)

SIZES = integers(1, empty=True)
CALLED = FUNCTION | Kind(
    "functions", lambda value: EITHER if isinstance(value, (list, tuple)) and all(map(callable, value)) else REFUSED
)
OFFERS = Kind("object with methods", lambda value: REFUSED)
SETTINGS: dict[str, Argument] = {
    "image_shape": Argument((1, 4, 4), integers(1, count=3)),
    "map_shape": Argument((2, 2), integers(1, count=2) | integers(1, count=3)),
    "latent_dim": Argument(2, integer(1)),
    "arch": Argument("conv", choice("dense", "conv")),
    "likelihood": Argument("bernoulli", choice("bernoulli", "gaussian", "logistic", "continuous-bernoulli")),
    "beta": Argument(0.5, number(0)),
    "alpha": Argument(0.7, number(0)),
    "gamma": Argument(1.5, number(0)),
    "sampling": Argument("weighted", choice("stratified", "weighted")),
    "channels": Argument((2,), SIZES | NONE),
    "hidden": Argument((3,), SIZES | NONE),
    "encoder": Argument(None, NONE),  # Modules are in tests/models/test_own_networks.py
    "decoder": Argument(None, NONE),
    "kl_warmup": Argument(2, integer(0)),
    "free_bits": Argument(0.1, number(0)),
    "binarize": Argument("dynamic", choice("dynamic") | NONE),
    "corruption": Argument("masking", choice("gaussian", "masking", "salt-and-pepper") | NONE),
    "level": Argument(0.3, number(0, 1) | NONE),
    "codes": Argument(3, integer(1)),
    "code_dim": Argument(2, integer(1)),
    "residual_channels": Argument(2, integer(1)),
    "residual_blocks": Argument(1, integer(0, 1000)),
    "update": Argument("ema", choice("ema", "gradient")),
    "commitment": Argument(0.3, number(0)),
    "decay": Argument(0.9, number(0, 1, "()")),
    "restart": Argument(0.1, number(0, 1, "[)")),
    "sample_rate": Argument(8000, integer(1)),
    "strides": Argument((2, 2), integers(2)),
    "dilations": Argument((1,), SIZES),
    "quantizer": Argument("vq", choice("vq", "fsq", "rvq")),
    "levels": Argument(None, NONE),  # of other quantisers than "vq": in tests/models/test_vqvae_quantizers.py
    "stages": Argument(None, NONE),
    "values": Argument(3, integer(2)),
    "layers": Argument(2, integer(1, 1000)),
    "first_kernel": Argument(3, integer(1)),
    "kernel": Argument(3, integer(1)),
    "classes": Argument(2, integer(1) | NONE),
    "top_codes": Argument(2, integer(1)),
    "stride": Argument(2, integer(2, 16)),
    "context_shape": Argument(None, NONE),  # with context_values in tests/models/test_pixelcnn_context.py
    "context_values": Argument(None, NONE),
    "context_blocks": Argument(1, integer(0, 1000)),
    "dropout": Argument(0.2, number(0, 1, "[)")),
    "codebook_digest": Argument("abc", Kind("str", lambda value: value if isinstance(value, str) else REFUSED) | NONE),
    "feature_weight": Argument(0.3, number(0)),
    "adversary": Argument("hinge", choice("hinge", "non-saturating")),
    "gan_weight": Argument(0.3, number(0)),
    "discriminator_start": Argument(0, integer(0)),
    "discriminator_channels": Argument((2,), integers(1)),
    "discriminator_norm": Argument("group", choice("group", "none")),
    "sparsity": Argument("kl", choice("l1", "kl")),
    "penalty": Argument(0.5, number(0)),
    "rho": Argument(0.1, number(0, 1, "()") | NONE),
    "random_state": Argument(3, SEED | NONE),
    "warm_start": Argument(True, FLAG),
    "epochs": Argument(1, integer(1, 3)),  # more are right, and take longer
    "batch_size": Argument(2, integer(1)),
    "lr": Argument(1e-3, number(0)),
    # of fit()
    "y": Argument(None, PASSED_ON),  # models without labels ignore it, to fit into scikit-learn's Pipeline
    "clip_norm": Argument(1.0, number(0, np.inf, "(i") | NONE),
    "device": Argument("cpu", DEVICE | NONE),
    "progress": Argument(False, FLAG),
    "checkpoint": Argument(None, NONE),
    "resume": Argument(False, Kind("False", lambda value: False if value is False else REFUSED)),
    "on_epoch": Argument(None, CALLED | NONE),
    "optimizer": Argument(optim.SGD, FUNCTION | NONE),
    "schedule": Argument(optim.CosineSchedule, FUNCTION | NONE),
    # of the verbs
    "options": Argument({"epochs": 1}, PASSED_ON),  # to fit()
    "n": Argument(2, integer(1)),
    "pixels": Argument(True, FLAG),
    "temperature": Argument(0.5, number(0)),
    "on_position": Argument(None, FUNCTION | NONE),
    "samples": Argument(2, integer(1)),
    "rows": Argument(2, integer(1)),
    "steps": Argument(3, integer(2)),
    "dims": Argument((1, 0), integers(0, 1) | NONE),
    "nats": Argument(3.0, number()),
    "noise": NOISE,
    "path": Argument("", Kind("path", lambda value: EITHER if isinstance(value, str) else REFUSED)),
}
WEIGHT_DECAY = Argument(0.2, number(0, np.inf, "()") | NONE)
OWN: dict[str, dict[str, Argument]] = {
    "VQVAE": {"channels": Argument(2, integer(1))},
    "VQGAN": {"channels": Argument(2, integer(1))},
    "VQVAE2": {"channels": Argument(2, integer(1))},
    "VQVAE1d": {
        "image_shape": Argument((1, 1, 4), integers(1, count=3)),
        "likelihood": Argument("gaussian", choice("gaussian", "mu-law")),
        "channels": Argument(2, integer(1)),
        "y": Argument(LABELS, CODE_KIND),
    },
    "ConditionalVAE": {"y": Argument(LABELS, CODE_KIND)},
    "IWAE": {  # whose bound has no KL term
        "importance_samples": Argument(2, integer(1)),
        "beta": Argument(1.0, number(1, 1)),
        "kl_warmup": Argument(0, integer(0, 0)),
        "free_bits": Argument(0.0, number(0, 0)),
    },
    "VideoVQVAE": {
        "image_shape": Argument((2, 1, 4, 4), integers(1, count=4)),
        "channels": Argument(2, integer(1)),
        "blocks": Argument(1, integer(0, 1000)),
        "time_kernel": Argument(2, integer(1)),
        "likelihood": Argument("bernoulli", choice("bernoulli", "continuous-bernoulli", "gaussian")),
    },
    "SparseAutoencoder": {"penalty": Argument(0.5, number(0) | NONE), "decay": WEIGHT_DECAY},
    "ContractiveAutoencoder": {"decay": WEIGHT_DECAY},
    "PixelCNN": {
        "channels": Argument(2, integer(1)),
        "hidden": Argument(2, integer(1)),
        "y": Argument(LABELS, CODE_KIND),
    },
    "WaveNet": {
        "map_shape": Argument((1, 4), integers(1, count=2)),
        "channels": Argument(2, integer(1)),
        "dilations": Argument((1, 2), integers(1)),
        "hidden": Argument(2, integer(1)),
        "y": Argument(LABELS, CODE_KIND),
    },
}
# The squared error of huge images is beyond float32.
VQVAES = ("VQVAE", "VQVAE1d", "VQVAE2", "VideoVQVAE", "VQGAN")
AUTOENCODERS = ("Autoencoder", "SparseAutoencoder", "ContractiveAutoencoder")
OVERFLOWS: dict[tuple[str, str], tuple[type[Exception], ...]] = {
    (m, n): (FloatingPointError,) for m in AUTOENCODERS for n in ("score_samples", "score", "fit_transform")
}
OVERFLOWS |= {("VQVAE1d", name): (FloatingPointError,) for name in ("score_samples", "score", "fit_transform", "bound")}
NAMES = (
    *("VAE", "ConditionalVAE", "IWAE", "BetaTCVAE", "VAEGAN", *AUTOENCODERS),
    *(*VQVAES, "PixelCNN", "WaveNet"),
)
CLASSES: dict[str, type] = {name: getattr(models, name) for name in NAMES}
DATA = {
    **dict.fromkeys(CLASSES, (IMAGES, IMAGE_KIND)),
    "PixelCNN": (MAPS, MAP_KIND),
    "WaveNet": (SEQUENCES, MAP_KIND),
    "VQVAE1d": (WAVES, IMAGE_KIND),
    "VideoVQVAE": (CLIPS, IMAGE_KIND),
}
CONDITIONAL = ("ConditionalVAE", "PixelCNN", "VQVAE1d", "WaveNet")


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
VERBS |= {"VAEGAN": VERBS["VAE"], "VQGAN": VERBS["VQVAE"]}
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
