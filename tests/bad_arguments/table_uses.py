"""mv.uses, mv.datasets and, as far as it goes without a GPU, mv.cuda."""

from __future__ import annotations

import sys
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from minivae import cuda, datasets, models, nn, optim, uses

from .judge import Argument, Made, Row, method
from .kinds import (
    ALL,
    ANYTHING,
    BOOL_ARRAY,
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
    instance,
    integer,
    integers,
    number,
)
from .model_settings import EXTENDED, LATENT_KIND
from .table_models import codes, new, prior

RNG = np.random.default_rng(3)
IMAGES = RNG.uniform(0.1, 0.9, (12, 1, 3, 3)).astype(np.float32)
CLEAN = np.clip(IMAGES + 0.1, 0, 1)
CLASSES = np.arange(12) % 3
SCORES = RNG.normal(size=12)
POSITIVE = CLASSES == 0
ROWS = RNG.normal(size=(12, 4)).astype(np.float32)
PICTURES = RNG.uniform(0.1, 0.9, (12, 1, 8, 8)).astype(np.float32)
GPU_IS_MISSING = (RuntimeError,)  # of a call that is right

PLAIN = {"tensors": False, "not_finite": "refused"}
NUMBERS = array("images", (*ALL, "float16", EXTENDED[-1]), scalars=False, same=False, **PLAIN)
FLOATS = array("images", ("float32", "float64"), scalars=False, **PLAIN)
ANY_FLOATS = array("images", EXTENDED, scalars=False, **PLAIN)
MATRIX = array("features", tuple(d for d in (*ALL, "float16", EXTENDED[-1]) if d != "bool"), scalars=False, **PLAIN)
FINITE = replace(NUMBERS, takes=())
LABELS = array("labels", ("bool", *INDEX_ARRAY.dtypes), tensors=False, strings="either")
HAS_METHOD = Kind("object with a method", lambda value: REFUSED)
seed = Argument(1, SEED)
WAVES = RNG.uniform(-0.5, 0.5, (2, 512)).astype(np.float32)
VOICES, SPEAKERS = RNG.uniform(-0.5, 0.5, (4, 512)).astype(np.float32), np.array([0, 1, 0, 1])
EACH_SAMPLE = array("samples", EXTENDED, tensors=False, not_finite="refused")
SOUNDS = array("waveforms", EXTENDED, scalars=False, tensors=False, not_finite="refused")


class Model:
    """Has every method that a use asks of a model."""

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        return x * np.float32(0.9)

    def transform(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1)[:, :2]

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        return -np.abs(x).reshape(len(x), -1).sum(1)


def pca() -> uses.PCA:
    return uses.PCA(IMAGES, 2)


def regression() -> uses.LogisticRegression:
    return uses.LogisticRegression(ROWS, CLASSES, 0.1)


def judge(*arguments: Any) -> uses.WholenessJudge:
    with patch.object(sys.modules["minivae.uses.wholeness"], "EPOCHS", 1):
        return uses.WholenessJudge(*(arguments or (PICTURES, CLASSES)))


def dataset() -> datasets.Dataset:
    return datasets.Dataset("toy", IMAGES, IMAGES, CLASSES, CLASSES, ("a", "b", "c"))


def _batches(*arguments: Any) -> Any:
    return list(datasets.Batches(*arguments))


def _restored(state: Any) -> Any:
    batches = datasets.Batches(IMAGES, 5)
    batches.load_state_dict(state)
    return list(batches)


def _quick_probe(*arguments: Any) -> Any:
    with patch.object(sys.modules["minivae.uses.probe"], "STEPS", 2):
        return uses.probe(*arguments)


def _packed(*arguments: Any) -> np.ndarray:
    return np.frombuffer(uses.pack_codes(*arguments), np.uint8)


def _sizes(*arguments: Any) -> list[int]:
    return [row.bytes for row in uses.image_formats(*arguments)]


def _strings(value: Any) -> Any:
    right = value is None or (isinstance(value, tuple) and all(isinstance(v, str) for v in value))
    return EITHER if right else REFUSED


def _rates(value: Any) -> Any:
    """None and positive integers, which are kept as they are."""
    return REFUSED if (integer(1) | NONE).meaning(value) is REFUSED else EITHER


def _names(value: Any) -> Any:
    """Names of data sets, and files that are not there."""
    return EITHER if isinstance(value, (str, Path)) else REFUSED


model = Argument(Model(), HAS_METHOD)
x, y = Argument(IMAGES, FLOATS), Argument(CLEAN, FLOATS)
labels = Argument(CLASSES, LABELS)
X_FIELD, Y_FIELD, TABLE_FIELD = (
    replace(array(name, dtypes, scalars=False, tensors=False), takes=(("same", "either"), ("list", "refused")))
    for name, dtypes in (("x", EXTENDED), ("y", INDEX_ARRAY.dtypes), ("factors", EXTENDED))
)
state = datasets.Batches(IMAGES, 5).state_dict()
BAD_STATES = {f"{name} = {value}": {**state, name: value} for name in state for value in (-1, 1.5, None, "a", 10**12)}
linear = nn.Linear(2, 2)
vqvae = new("VQVAE")
vqvae_argument, prior_argument = Argument(vqvae, instance(models.VQVAE)), Argument(prior(), instance(models.PixelCNN))
packed = uses.pack_codes(vqvae, codes.valid, prior())

USES = {
    "PCA": Row(uses.PCA, {"x": x, "dim": Argument(2, integer(1, 9))}),
    "PCA.at_most": Row(uses.PCA.at_most, {"x": x, "dim": Argument(2, integer(1))}),
    "PCA.truncated": method(uses.PCA, "truncated", pca, {"dim": Argument(1, integer(1, 2))}),
    **{
        f"PCA.{name}": method(uses.PCA, name, pca, {"x": Argument(IMAGES, ANY_FLOATS)})
        for name in ("transform", "reconstruct", "score_samples")
    },
    "PCA.inverse_transform": method(
        uses.PCA, "inverse_transform", pca, {"z": Argument(ROWS[:, :2].copy(), LATENT_KIND)}
    ),
    "LogisticRegression": Row(
        uses.LogisticRegression,
        {"x": Argument(ROWS, ANY_FLOATS), "y": labels, "strength": Argument(0.1, number(0))},
    ),
    **{
        f"LogisticRegression.{name}": method(
            uses.LogisticRegression, name, regression, {"x": Argument(ROWS, ANY_FLOATS)}
        )
        for name in ("log_probability", "predict")
    },
    "anomaly_split": Row(
        uses.anomaly_split,
        {
            "data": Argument(dataset(), instance(datasets.Dataset)),
            "normal": Argument((0, 1), integers(0, 2)),
            "validation": Argument(0.3, number(0, 1, "()")),
            "seed": seed,
        },
    ),
    "compression": Row(
        uses.compression,
        {
            "train": Argument(lambda dim: Model(), FUNCTION),
            "x_train": x,
            "x_test": Argument(CLEAN, ANY_FLOATS),
            "dims": Argument((1, 2), integers(1)),
        },
        extra={"train": {"gives None": lambda dim: None, "gives 1.5": lambda dim: 1.5}},
    ),
    "denoising": Row(
        uses.denoising,
        {
            "model": model,
            "x": x,
            "kind": Argument("gaussian", choice("gaussian", "masking", "salt-and-pepper")),
            "level": Argument(0.2, number(0)),
            "seed": seed,
        },
    ),
    "detect_anomalies": Row(
        uses.detect_anomalies,
        {
            "model": model,
            "x_validation": Argument(IMAGES, PASSED_ON),
            "x_test": Argument(IMAGES, PASSED_ON),
            "anomalous": Argument(POSITIVE, BOOL_ARRAY_ONLY := replace(BOOL_ARRAY, tensors=False)),
            "false_alarms": Argument(0.3, number(0, 1, "()")),
        },
    ),
    "pack_codes": Row(
        _packed,
        {
            "model": vqvae_argument,
            "codes": codes,
            "prior": prior_argument._replace(kind=prior_argument.kind | Kind("None", lambda value: EITHER)),
            "y": Argument(None, NONE),
        },
        public=uses.pack_codes,
    ),
    "unpack_codes": Row(
        uses.unpack_codes,
        {"model": vqvae_argument, "data": Argument(packed, instance(bytes)), "prior": prior_argument},
        extra={"data": {"cut": packed[:-1], "longer": packed + b"0", "other": b"\x89PNG" + packed, "empty": b""}},
    ),
    "disentanglement": Row(
        uses.disentanglement,
        {
            "codes": Argument(ROWS, FINITE),
            "factors": Argument(np.column_stack([CLASSES, SCORES]), FINITE),
            "classes": Argument((0,), integers(0, 1, empty=True)),
            "bins": Argument(3, integer(2, 2**16)),
        },
    ),
    "latent_codes": Row(
        uses.latent_codes,
        {
            "model": Argument(new("VAE"), HAS_METHOD),
            "x": Argument(RNG.uniform(size=(3, 1, 4, 4)), ANY_FLOATS),
            "seed": seed,
        },
    ),
    "image_formats": Row(
        _sizes,
        {"x": Argument(IMAGES, ANY_FLOATS), "least_psnr": Argument(20.0, number(0, inf, "[i"))},
        public=uses.image_formats,
    ),
    "probe": Row(
        _quick_probe,
        {
            "model": model,
            "x_train": x,
            "y_train": labels,
            "x_test": Argument(CLEAN, ANY_FLOATS),
            "y_test": labels,
            "labels": Argument((2, None), Kind("counts", lambda value: REFUSED)),
            "repeats": Argument(1, integer(1, 3)),
            "seed": seed,
        },
        public=uses.probe,
        extra={"labels": {str(v): v for v in ((1,), (2.5,), ("a",), (10**12,), (True,), (-1,))}},
    ),
    "WholenessJudge": Row(
        lambda *arguments: judge(*arguments).probabilities(PICTURES),
        {"x": Argument(PICTURES, ANY_FLOATS), "y": labels, "seed": seed},
        public=uses.WholenessJudge,
    ),
    **{
        f"WholenessJudge.{name}": method(uses.WholenessJudge, name, judge, {"x": Argument(PICTURES, ANY_FLOATS)})
        for name in ("probabilities", "features", "judge")
    },
    "sharpness": Row(
        uses.sharpness, {"made": Argument(PICTURES, ANY_FLOATS), "real": Argument(PICTURES[::-1], ANY_FLOATS)}
    ),
    "frechet_distance": Row(uses.frechet_distance, {"a": Argument(ROWS, MATRIX), "b": Argument(ROWS[:5] + 1, MATRIX)}),
    "realism": Row(
        uses.realism,
        {
            "judge": Argument(judge(), HAS_METHOD),
            "made": Argument(PICTURES, ANY_FLOATS),
            "real": Argument(PICTURES[::-1], ANY_FLOATS),
        },
    ),
    "squared_error": Row(uses.squared_error, {"x": Argument(IMAGES, NUMBERS), "y": Argument(CLEAN, NUMBERS)}),
    "psnr": Row(uses.psnr, {"x": Argument(IMAGES, NUMBERS), "y": Argument(CLEAN, NUMBERS)}),
    **{
        name: Row(getattr(uses, name), {"x": Argument(WAVES, SOUNDS), "y": Argument(WAVES * 0.9, SOUNDS)})
        for name in ("segmental_snr", "log_spectral_distance")
    },
    "SpeakerJudge": Row(
        lambda *arguments: uses.SpeakerJudge(*arguments).predict(VOICES),
        {"x": Argument(VOICES, SOUNDS), "y": Argument(SPEAKERS, LABELS)},
        public=uses.SpeakerJudge,
    ),
    "SpeakerJudge.predict": method(
        uses.SpeakerJudge, "predict", lambda: uses.SpeakerJudge(VOICES, SPEAKERS), {"x": Argument(VOICES, SOUNDS)}
    ),
    "nearest_distance": Row(
        uses.nearest_distance, {"x": Argument(VOICES * 0.5, SOUNDS), "among": Argument(VOICES, SOUNDS)}
    ),
    "mu_law": Row(
        uses.mu_law,
        {"x": Argument(WAVES, EACH_SAMPLE), "bits": Argument(8, integer(1, 16))},
    ),
    "mu_law_at": Row(
        uses.mu_law_at, {"x": Argument(WAVES, SOUNDS), "bits_a_sample": Argument(0.5, number(0, np.inf, "()"))}
    ),
    "roc_auc": Row(
        uses.roc_auc,
        {
            "scores": Argument(SCORES, array("scores", (*ALL[1:], "float16", EXTENDED[-1]), tensors=False)),
            "positive": Argument(POSITIVE, BOOL_ARRAY_ONLY),
        },
    ),
}
DATASETS = {
    "Batches": Row(
        _batches,
        {
            "x": Argument(IMAGES, array("x", (*ALL, "float16", EXTENDED[-1]), scalars=False, tensors=False)),
            "batch_size": Argument(5, integer(1)),
            "seed": seed,
            "y": Argument(CLASSES, array("y", (*ALL, "float16", EXTENDED[-1]), scalars=False, tensors=False) | NONE),
            "shuffle": Argument(True, FLAG),
            "drop_last": Argument(True, FLAG),
        },
        public=datasets.Batches,
    ),
    "Batches.order": method(
        datasets.Batches, "order", lambda: datasets.Batches(IMAGES, 5), {"epoch": Argument(1, integer(0))}
    ),
    "Batches.take": method(
        datasets.Batches,
        "take",
        lambda: datasets.Batches(IMAGES, 5),
        {
            "indices": Argument(
                np.array([0, 2, 1]), array("indices", INDEX_ARRAY.dtypes, tensors=False, out_of_range="refused")
            )
        },
    ),
    "Batches.load_state_dict": Row(
        _restored,
        {"state": Argument(state, HAS_METHOD)},
        public=datasets.Batches.load_state_dict,
        extra={
            "state": {
                k: v for k, v in BAD_STATES.items() if not k.startswith("seed = 10") and not k.startswith("epoch = 10")
            }
        },
    ),
    "Dataset": Row(
        datasets.Dataset,
        {
            "name": Argument("toy", Kind("str", lambda value: value if isinstance(value, str) else REFUSED)),
            "x_train": Argument(IMAGES, X_FIELD),
            "x_test": Argument(IMAGES, X_FIELD),
            "y_train": Argument(CLASSES, Y_FIELD | NONE),
            "y_test": Argument(CLASSES, Y_FIELD | NONE),
            "class_names": Argument(("a", "b", "c"), Kind("names", _strings)),
            "factors_train": Argument(ROWS, TABLE_FIELD | NONE),
            "factors_test": Argument(ROWS, TABLE_FIELD | NONE),
            "factor_names": Argument(("a", "b", "c", "d"), Kind("names", _strings)),
            "sample_rate": Argument(8000, Kind("rate", _rates)),
            "frame_rate": Argument(None, NONE),  # of clips, which have another axis: in tests/data/test_videos.py
        },
    ),
    "check_finite": Row(datasets.check_finite, {"x": Argument(IMAGES, FINITE), "name": Argument("x", ANYTHING)}),
    "load": Row(
        datasets.load,
        {
            "name": Argument("shapes", Kind("name", _names)),
            "folder": Argument(None, NONE),  # belongs to data sets that have files
            "image_shape": Argument((1, 8, 8), integers(1, count=3) | NONE),
        },
        errors=(OSError,),
    ),
}
CUDA = {
    "graph": Row(
        cuda.graph,
        {
            "step": Argument(lambda x: x, FUNCTION),
            "model": Argument(linear, instance(nn.Module)),
            "optimizers": Argument(
                Made(lambda: [optim.SGD(linear.parameters(), 0.1)]),
                Kind("optimisers", lambda value: EITHER if isinstance(value, (list, tuple)) and not value else REFUSED),
            ),
        },
        errors=GPU_IS_MISSING,
        refused=True,
    )
}
TABLE = {
    **{f"uses.{name}": row for name, row in USES.items()},
    **{f"datasets.{name}": row for name, row in DATASETS.items()},
    **{f"cuda.{name}": row for name, row in CUDA.items()},
}
