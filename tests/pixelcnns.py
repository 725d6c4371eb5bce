"""Small PixelCNNs, and maps and labels for them."""

from itertools import product

import numpy as np

import minivae as mv
from minivae.models import PixelCNN

TINY = {"map_shape": (2, 3), "values": 2, "channels": 4, "layers": 2, "first_kernel": 3, "hidden": 6}
SMALL = {"map_shape": (4, 5), "values": 3, "channels": 4, "layers": 3, "first_kernel": 5, "hidden": 6}
CONFIGURATIONS = [
    SMALL,
    {**SMALL, "classes": 3},
    {**SMALL, "map_shape": (5, 3), "layers": 1, "first_kernel": 3},
    {**SMALL, "map_shape": (1, 6), "kernel": 1},
    {**SMALL, "map_shape": (6, 1)},
]


def maps(n, settings, seed=0):
    return np.random.default_rng(seed).integers(0, settings["values"], (n, *settings["map_shape"]))


def labels(n, settings, seed=1):
    return np.random.default_rng(seed).integers(0, settings["classes"], n) if settings.get("classes") else None


def model_of(settings, seed=0, dtype=np.float64):
    """Return a model with weights so large that every influence is far above rounding, and classes that differ."""
    mv.manual_seed(seed)
    model = PixelCNN(**settings).to(dtype=dtype)
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.inplace()[...] += parameter.backend.asarray(rng.normal(0, 0.2, parameter.shape).astype(dtype))
    return model.eval()


def positions(settings):
    return list(product(*map(range, settings["map_shape"])))
