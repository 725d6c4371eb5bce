"""What a model of images answers to the page: each method takes and returns what JSON can hold.

Images travel as base64 of their pixels, a byte for each in the order (N, C, H, W); 0 is the lowest pixel of the data
and 255 the highest, which for most data are 0 and 1.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from collections.abc import Callable
from typing import Any

import numpy as np

from minivae.data import Dataset
from minivae.kernels import checks
from minivae.models.autoencoder import LEVEL
from minivae.random import fork
from minivae.uses import PCA

from .code_maps import CodeMaps

SHOWN = 1000  # test images on the plane
MOST_LATENTS = 64  # latents that are decoded by one request
ELBO_SAMPLES = 16  # of z, for the nats of one image
SEED = 0  # of these samples: the same image has the same nats

Answer = dict[str, Any]


class Explorer:
    """It answers for one model. Wrong requests raise TypeError or ValueError with one sentence.

    model: with encode() and decode(). data: its test images are shown. prior: of its codes, or None. unit: of
    -score_samples() of a model without nats. name: of the run. temperature: of the prior, at first.

    Raises ValueError for models of sounds and video, and for images that are neither grey nor of three colours.
    """

    def __init__(
        self, model: Any, data: Dataset, prior: Any = None, unit: str = "", name: str = "", temperature: float = 1.0
    ) -> None:
        _check_model(model)
        self.model, self.prior, self.unit, self.name, self.temperature = model, prior, unit, name, temperature
        low, high = data.value_range
        self.low, self.high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
        self.x = model.check_images(data.x_test[:SHOWN])
        if not len(self.x):
            raise ValueError(f"explore shows test images, and {data.name!r} has none")
        self.y = None if data.y_test is None else data.y_test[:SHOWN]
        self.maps = CodeMaps(model) if hasattr(model, "code_cost") else None
        self.class_names = data.class_names
        self.classes = model.classes if model.conditional else getattr(prior, "classes", None)
        given = (model.check_labels(self.y, len(self.x)),) if model.conditional else ()
        codes = model.encode(self.x, *given)
        if self.maps is None:
            self.latents = np.asarray(codes, np.float64)  # (N, D)
        else:
            self.codes = self.maps.split(codes)  # (N, h, w) for each level
            self.usual = self.maps.usual(self.codes)

    # ---- what the page asks first ----

    def describe(self) -> Answer:
        """Say what the model offers: image_shape, latents or maps, classes, prior, noise, and how many test images."""
        kind = getattr(self.model, "corruption", None)
        noise = None
        if kind is not None:
            noise = {"kind": kind, "level": LEVEL if self.model.level is None else self.model.level}
        about = {
            "model": type(self.model).__name__,
            "name": self.name,
            "image_shape": [int(n) for n in self.model.image_shape],
            "images": len(self.x),
            "classes": self._class_names(),
            "noise": noise,
            "range": [self.low, self.high],
        }
        return {**about, **(self._of_latents() if self.maps is None else self._of_codes(self.maps))}

    def _class_names(self) -> list[str] | None:
        if self.classes is None:
            return None
        names = self.class_names or ()
        return list(names) if len(names) == self.classes else [str(k) for k in range(self.classes)]

    def _of_latents(self) -> Answer:
        """Describe the latents: their order by variance, and from where to where the test images' codes go."""
        z = self.latents
        low, high = np.quantile(z, 0.005, axis=0), np.quantile(z, 0.995, axis=0)
        known = hasattr(self.model, "posterior")  # then the prior is N(0, I)
        low, high = (np.minimum(low, -3), np.maximum(high, 3)) if known else (low, np.maximum(high, low + 1e-3))
        order = np.argsort(-z.var(axis=0), kind="stable")
        middle = np.zeros(z.shape[1]) if known else z.mean(axis=0)
        numbers = {"low": low, "high": high, "middle": middle, "order": order}
        return {"latents": {**{k: v.tolist() for k, v in numbers.items()}, "normal": known}}

    def _of_codes(self, maps: CodeMaps) -> Answer:
        levels = [{**level._asdict(), "usual": k} for level, k in zip(maps.levels, self.usual, strict=True)]
        return {"maps": levels, "prior": None if self.prior is None else {"temperature": self.temperature}}

    def plane(self) -> Answer:
        """Return the plane of the test images: points (N, 2) = (z - middle) axes^T, axes (2, D), middle (D,), labels.

        The axes are the first two principal ones of the latents; of two latents, the latents themselves. Raises
        ValueError for a model without latents.
        """
        if self.maps is not None:
            raise ValueError(f"a {type(self.model).__name__} has codes and no plane of latents")
        D = self.latents.shape[1]
        axes, middle = np.zeros((2, D)), np.zeros(D)
        if D <= 2:
            axes[:D] = np.eye(D)
        else:
            pca = PCA.at_most(self.latents, 2)
            axes[: len(pca.components)], middle = pca.components, pca.mean
        points = (self.latents - middle) @ axes.T
        labels = None if self.y is None else self.y.tolist()
        names = None if self.class_names is None else list(self.class_names)
        arrays = {"points": points, "axes": axes, "middle": middle}
        return {**{k: v.tolist() for k, v in arrays.items()}, "labels": labels, "names": names}

    def codebook(self) -> Answer:
        """Return, for each map of codes, how often the test images use each code, and pictures of the codes."""
        maps = self._code_maps()
        levels = []
        for index, (level, codes) in enumerate(zip(maps.levels, self.codes, strict=True)):
            pictures = maps.pictures(index, self.codes)
            counts = np.bincount(codes.ravel(), minlength=level.codes)
            levels.append({"counts": counts.tolist(), "images": self._bytes(pictures), "size": pictures.shape[2:]})
        return {"levels": levels}

    # ---- what the page asks again and again ----

    def image(self, request: Answer) -> Answer:
        """{index} -> the pixels and the label of a test image."""
        _check_names(request, "index")
        index = checks.integer("index", request.get("index"), 0, len(self.x) - 1)
        label = None if self.y is None else int(self.y[index])
        return {"images": self._bytes(self.x[index : index + 1]), "label": label}

    def decode(self, request: Answer) -> Answer:
        """{latents: rows of numbers (n, D), label} or {codes: maps} -> images."""
        if self.maps is not None:
            _check_names(request, "codes")
            return {"images": self._bytes(self.model.decode(self.maps.checked(request.get("codes"))))}
        _check_names(request, "latents", "label")
        z = self.model.check_latents(checks.array("latents", request.get("latents"), "iuf"))
        if not 1 <= len(z) <= MOST_LATENTS:
            raise ValueError(f"latents must be of 1 to {MOST_LATENTS} images, got {len(z)}")
        return {"images": self._bytes(self.model.decode(z, *self._labels(request, len(z))))}

    def encode(self, request: Answer) -> Answer:
        """{images: the pixels of one image, label} -> its latents or codes, its reconstruction and its numbers."""
        _check_names(request, "images", "label")
        x = self._pixels(request.get("images"))
        y = self._labels(request, 1)
        codes = self.model.encode(x, *y)
        images = self._bytes(self.model.decode(codes, *y))
        if self.maps is None:
            return {"latents": codes.tolist(), "images": images, "numbers": self._numbers(x, *y)}
        found = [k[0].tolist() for k in self.maps.split(codes)]
        return {"codes": found, "images": images, "numbers": self._cost(x, codes, self._label(request))}

    def sample(self, request: Answer, emit: Callable[[Answer], object]) -> None:
        """{seed, temperature, label}: draw codes from the prior. emit() gets {map, row, column, code} for each of them
        when it is drawn, then all codes and the image. Raises ValueError where there is no prior."""
        _check_names(request, "seed", "temperature", "label")
        maps = self._code_maps()
        if self.prior is None:
            raise ValueError("there is no prior to draw codes from; `minivae train prior RUN` trains one")
        temperature = checks.number("temperature", request.get("temperature", self.temperature), "[0, inf)")
        seed = checks.seed("seed", request.get("seed", 0))
        label = self._label(request)
        y = None if label is None or self.prior.classes is None else np.array([label])

        def on_code(level: int, i: int, j: int, code: int) -> None:
            emit({"map": level, "row": i, "column": j, "code": code})

        with fork(seed):
            drawn = maps.draw(self.prior, temperature, y, on_code)
        image = self.model.decode(self.model.check_codes(maps.join(drawn)))
        emit({"codes": [k[0].tolist() for k in drawn], "images": self._bytes(image)})

    # ---- numbers of one image ----

    def _numbers(self, x: np.ndarray, *y: np.ndarray) -> dict[str, float]:
        """Return ELBO, nll and kl of an image in nats, or in its unit what a model without a posterior pays for it."""
        if not hasattr(self.model, "posterior"):
            return {self.unit: -float(self.model.score_samples(x, *y)[0])}
        with fork(SEED):
            elbo = float(self.model.score_samples(x, *y, samples=ELBO_SAMPLES)[0])
        kl = float(self.model.latent_usage(x, *y).kl.sum())
        return {"ELBO, nats": elbo, "nll, nats": -elbo - kl, "kl, nats": kl}

    def _cost(self, x: np.ndarray, codes: Any, label: int | None) -> dict[str, float]:
        """Return the bound on -log p of an image and its parts in nats: nll, and the cost of its codes."""
        nll = -float(self.model.score_samples(x)[0]) - float(self.model.code_cost(codes)[0])
        y = None if label is None or self.prior is None or self.prior.classes is None else np.array([label])
        cost = float(self.model.code_cost(codes, self.prior, y)[0])
        by = "uniform prior" if self.prior is None else "PixelCNN prior"
        return {"bound on -log p, nats": nll + cost, "nll, nats": nll, f"codes, {by}, nats": cost}

    # ---- what comes in and goes out ----

    def _code_maps(self) -> CodeMaps:
        if self.maps is None:
            raise ValueError(f"a {type(self.model).__name__} has latents and no codes")
        return self.maps

    def _label(self, request: Answer) -> int | None:
        """Return the label of a request, 0 if it has none; None where neither the model nor the prior has classes."""
        if self.classes is None:
            if "label" in request:
                raise ValueError(f"there are no classes here, got label {checks.shown(request['label'])}")
            return None
        return checks.integer("label", request.get("label", 0), 0, self.classes - 1)

    def _labels(self, request: Answer, count: int) -> tuple[np.ndarray, ...]:
        """Return the labels (count,) that a conditional model takes besides images or latents."""
        label = self._label(request)
        return () if not self.model.conditional or label is None else (np.full(count, label),)

    def _bytes(self, images: np.ndarray) -> str:
        unit = np.clip((images.astype(np.float64) - self.low) / (self.high - self.low), 0, 1)
        return b64encode(np.rint(unit * 255).astype(np.uint8).tobytes()).decode()

    def _pixels(self, text: Any) -> np.ndarray:
        """Return the image (1, C, H, W) of base64. Raise ValueError unless it has as many bytes as pixels."""
        shape = tuple(int(n) for n in self.model.image_shape)
        try:
            pixels = np.frombuffer(b64decode(text, validate=True), np.uint8)
        except (TypeError, ValueError, NoBase64):
            raise ValueError(f"images must be base64 of bytes, got {checks.shown(text)}") from None
        if pixels.size != np.prod(shape):
            raise ValueError(f"images must be the {np.prod(shape)} bytes of one image {shape}, got {pixels.size}")
        x = self.low + pixels.reshape(1, *shape) / 255 * (self.high - self.low)
        return self.model.check_images(x.astype(np.float32))


def _check_names(request: Answer, *names: str) -> None:
    """Raise ValueError for a request with anything else in it."""
    if unknown := sorted(request.keys() - set(names)):
        raise ValueError(f"a request takes {', '.join(names)}, got {unknown[0]!r}")


def _check_model(model: Any) -> None:
    kind = type(model).__name__
    if hasattr(model, "sample_rate"):
        raise ValueError(f"explore is for images, and the {kind} is a model of sounds")
    if len(model.image_shape) != 3:
        raise ValueError(f"explore is for images, and the {kind} is a model of clips {tuple(model.image_shape)}")
    if model.image_shape[0] not in (1, 3):
        raise ValueError(
            f"explore shows images of 1 or 3 channels, and those of the {kind} have {model.image_shape[0]}"
        )
    checks.offers("model", model, "encode", "decode")
