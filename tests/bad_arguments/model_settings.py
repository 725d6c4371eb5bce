"""What an argument of a model's constructor, fit or verbs may be: by its name, as it means the same in all models.

A new parameter needs a line in SETTINGS, and one in OWN where one model differs.
"""

from __future__ import annotations

import numpy as np

from minivae import optim

from .judge import Argument
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
    "wave_channels": Argument(2, integer(1)),
    "wave_dilations": Argument((1,), SIZES),
    "wave_hidden": Argument(2, integer(1)),
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
    "context_motion": Argument(0, integer(0, 0)),  # without a context, as here, there is no other
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
    "shards": Argument(1, integer(1) | NONE),
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
    "WaveNetVQVAE": {
        "image_shape": Argument((1, 1, 4), integers(1, count=3)),
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
        "encoder_blocks": Argument(1, integer(0, 1000)),
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
