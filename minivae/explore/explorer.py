"""What a model answers to the page: each method takes and returns what JSON can hold.

An "image" below is what the model is for: an image (C, H, W), a clip (T, C, H, W) or a sound (1, 1, T). wire.py says
how it travels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minivae.data import Dataset
from minivae.kernels import checks
from minivae.models.autoencoder import LEVEL
from minivae.random import fork
from minivae.uses import PCA

from .code_maps import CodeMaps
from .wire import Wire

SHOWN = 1000  # test images on the plane
MOST_LATENTS = 64  # latents that are decoded by one request
ELBO_SAMPLES = 16  # of z, for the nats of one image
SEED = 0  # of these samples: the same image has the same nats

Answer = dict[str, Any]


class Explorer:
    """It answers for one model. Wrong requests raise TypeError or ValueError with one sentence.

    model: with encode() and decode(). data: its test images are shown. prior: of its codes, or None. unit: of
    -score_samples() of a model without nats. name: of the run. temperature: of the prior, at first.

    Raises ValueError for images and frames that are neither grey nor of three colours.
    """

    def __init__(
        self, model: Any, data: Dataset, prior: Any = None, unit: str = "", name: str = "", temperature: float = 1.0
    ) -> None:
        _check_model(model)
        self.model, self.prior, self.unit, self.name, self.temperature = model, prior, unit, name, temperature
        self.sample_rate, self.frame_rate = getattr(model, "sample_rate", None), data.frame_rate
        self.wire = Wire(*data.value_range, sound=self.sample_rate is not None)
        self.x = model.check_images(data.x_test[:SHOWN])
        if not len(self.x):
            raise ValueError(f"explore shows test images, and {data.name!r} has none")
        self.y = None if data.y_test is None else data.y_test[:SHOWN]
        self.maps = CodeMaps(model) if hasattr(model, "code_cost") else None
        self.class_names = data.class_names
        self.classes = model.classes if model.conditional else getattr(prior, "classes", None)
        if self.maps is None:
            given = (model.check_labels(self.y, len(self.x)),) if model.conditional else ()
            self.latents = np.asarray(model.encode(self.x, *given), np.float64)  # (N, D)
        else:
            self.codes = self.maps.split(model.encode(self.x))  # (N, h, w) for each level
            self.usual = self.maps.usual(self.codes)

    # ---- what the page asks first ----

    def describe(self) -> Answer:
        """Say what the model offers: image_shape (C, H, W) of an image or a frame, frames and frame_rate of a clip,
        sample_rate of a sound, latents or maps, classes, prior, noise, and how many test images."""
        kind = getattr(self.model, "corruption", None)
        noise = None
        if kind is not None:
            noise = {"kind": kind, "level": LEVEL if self.model.level is None else self.model.level}
        about = {
            "model": type(self.model).__name__,
            "name": self.name,
            "image_shape": [int(n) for n in self.model.image_shape[-3:]],
            "frames": int(self.model.image_shape[0]) if len(self.model.image_shape) == 4 else None,
            "frame_rate": self.frame_rate,
            "sample_rate": self.sample_rate,
            "images": len(self.x),
            "classes": self._class_names(),
            "noise": noise,
            "range": [self.wire.low, self.wire.high],
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
        numbers = zip(maps.levels, maps.books, self.usual, strict=True)
        levels = [{**level._asdict(), "book": book, "usual": k} for level, book, k in numbers]
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
        """Return, for each codebook, its name, how often the test images use each code, and pictures of the codes.

        For a model with classes they are those of class 0.
        """
        maps, books = self._code_maps(), []
        voice = (0,) if self.model.conditional else ()
        for book, (name, levels) in enumerate(maps.shelf()):
            codes = np.concatenate([self.codes[level].ravel() for level in levels])
            counts = np.bincount(codes, minlength=maps.levels[levels[0]].codes)
            pictures = maps.pictures(book, self.codes, lambda k: self.model.decode(k, *voice))
            size = pictures.shape[2:]
            books.append({"name": name, "counts": counts.tolist(), "images": self.wire.text(pictures), "size": size})
        return {"books": books}

    # ---- what the page asks again and again ----

    def image(self, request: Answer) -> Answer:
        """{index} -> the pixels and the label of a test image."""
        _check_names(request, "index")
        index = self._index(request)
        label = None if self.y is None else int(self.y[index])
        return {"images": self.wire.text(self.x[index : index + 1]), "label": label}

    def decode(self, request: Answer) -> Answer:
        """{latents: rows of numbers (n, D), label} or {codes: maps, label} -> images."""
        if self.maps is not None:
            _check_names(request, "codes", "label")
            codes = self.maps.checked(request.get("codes"))
            return {"images": self.wire.text(self.model.decode(codes, *self._labels(request, 1)))}
        _check_names(request, "latents", "label")
        z = self.model.check_latents(checks.array("latents", request.get("latents"), "iuf"))
        if not 1 <= len(z) <= MOST_LATENTS:
            raise ValueError(f"latents must be of 1 to {MOST_LATENTS} images, got {len(z)}")
        return {"images": self.wire.text(self.model.decode(z, *self._labels(request, len(z))))}

    def encode(self, request: Answer) -> Answer:
        """{images: the pixels of one image, or index: of a test image, label} -> its latents or codes, its
        reconstruction and its numbers. A clip and a sound have no pixels here, only an index."""
        _check_names(request, "images", "index", "label")
        x = self._given(request)
        y = self._labels(request, 1)
        if self.maps is None:
            z = self.model.encode(x, *y)
            images = self.wire.text(self.model.decode(z, *y))
            return {"latents": z.tolist(), "images": images, "numbers": self._numbers(x, *y)}
        codes = self.model.encode(x)
        images = self.wire.text(self.model.decode(codes, *y))
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
        image = self.model.decode(self.model.check_codes(maps.join(drawn)), *self._labels(request, 1))
        emit({"codes": [k[0].tolist() for k in drawn], "images": self.wire.text(image)})

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
        own = {} if label is None or not self.model.conditional else {"y": np.array([label])}
        nll = -float(self.model.score_samples(x, **own)[0]) - float(self.model.code_cost(codes)[0])
        y = None if label is None or self.prior is None or self.prior.classes is None else np.array([label])
        cost = float(self.model.code_cost(codes, self.prior, y)[0])
        by = "uniform prior" if self.prior is None else "trained prior"
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

    def _given(self, request: Answer) -> np.ndarray:
        """Return the image (1, *image_shape) that a request gives or names."""
        if "index" in request:
            if "images" in request:
                raise ValueError("a request gives images or an index, got both")
            index = self._index(request)
            return self.x[index : index + 1]
        if self.sample_rate is not None or self.frame_rate is not None:
            raise ValueError("a test sound or clip is named by its index, got none")
        shape = tuple(int(n) for n in self.model.image_shape)
        return self.model.check_images(self.wire.image(request.get("images"), shape))

    def _index(self, request: Answer) -> int:
        return checks.integer("index", request.get("index"), 0, len(self.x) - 1)


def _check_names(request: Answer, *names: str) -> None:
    """Raise ValueError for a request with anything else in it."""
    if unknown := sorted(request.keys() - set(names)):
        raise ValueError(f"a request takes {', '.join(names)}, got {unknown[0]!r}")


def _check_model(model: Any) -> None:
    channels = model.image_shape[-3]
    if channels not in (1, 3):
        kind = type(model).__name__
        raise ValueError(f"explore shows images of 1 or 3 channels, and those of the {kind} have {channels}")
    checks.offers("model", model, "encode", "decode")
