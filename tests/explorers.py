"""Tiny models of all kinds, their Explorers and servers, for the tests of `minivae explore`."""

from __future__ import annotations

import http.client
import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import numpy as np
from strategies import numbers

import minivae as mv
from minivae import models
from minivae.data import Dataset
from minivae.explore import Explorer, PageServer

SHAPE, CLASSES = (1, 8, 8), 3
DENSE = {"arch": "dense", "hidden": (6,), "latent_dim": 4}
CODES = {"codes": 6, "code_dim": 3, "channels": 4, "residual_channels": 3, "residual_blocks": 1}
LATENT = {
    "ae": lambda shape: models.Autoencoder(shape, **DENSE),
    "dae": lambda shape: models.Autoencoder(shape, corruption="gaussian", **DENSE),
    "sae": lambda shape: models.SparseAutoencoder(shape, latent_dim=5),
    "cae": lambda shape: models.ContractiveAutoencoder(shape, latent_dim=5),
    "vae": lambda shape: models.VAE(shape, **DENSE),
    "logistic": lambda shape: models.VAE(shape, likelihood="logistic", **DENSE),
    "iwae": lambda shape: models.IWAE(shape, importance_samples=2, **DENSE),
    "btcvae": lambda shape: models.BetaTCVAE(shape, **DENSE),
    "vaegan": lambda shape: models.VAEGAN(shape, discriminator_channels=(4, 4), **DENSE),
    "cvae": lambda shape: models.ConditionalVAE(shape, CLASSES, **DENSE),
}
CODED = {
    "vq": lambda shape: models.VQVAE(shape, **CODES),
    "rvq": lambda shape: models.VQVAE(shape, quantizer="rvq", stages=2, **CODES),
    "fsq": lambda shape: models.VQVAE(shape, quantizer="fsq", levels=(3, 2), **{**CODES, "codes": 256, "code_dim": 16}),
    "vqgan": lambda shape: models.VQGAN(shape, discriminator_channels=(4, 4), **CODES),
    "vqvae2": lambda shape: models.VQVAE2(shape, top_codes=5, stride=2, **CODES),
}
KINDS = {**LATENT, **CODED}


def data(shape: tuple[int, int, int] = SHAPE, count: int = 12, low: float = 0, high: float = 1) -> Dataset:
    """Return images of 8-bit pixels, scaled to [low, high], and labels."""
    x = np.rint(numbers(2 * count, *shape, low=0, high=255)) / 255
    x = (low + (high - low) * x).astype(np.float32)
    y = np.arange(2 * count) % CLASSES
    return Dataset("tiny", x[:count], x[count:], y[:count], y[count:], ("a", "b", "c"))


def model_of(kind: str, shape: tuple[int, int, int] = SHAPE) -> Any:
    mv.manual_seed(1)
    model = KINDS[kind](shape)
    if kind in CODED:
        model.prepare(data(shape).x_train)
    return model.eval()


def prior_of(model: Any, classes: int | None = None) -> Any:
    """Return a prior with weights so large that each label has codes of its own."""
    settings: dict[str, Any] = {"channels": 4, "layers": 1, "hidden": 4}
    if isinstance(model, models.VQVAE2):
        prior: Any = models.VQVAE2Prior.of(model, classes, **settings)
        parts = [prior.top, prior.bottom]
    else:
        settings |= {"codebook_digest": model.codebook_digest}
        prior = models.PixelCNN(model.code_shape, model.quantizer.codes, classes=classes, **settings)
        parts = [prior]
    rng = np.random.default_rng(0)
    for parameter in (parameter for part in parts for parameter in part.parameters()):
        parameter.inplace()[...] += rng.normal(0, 1, parameter.shape).astype(np.float32)
    return prior


def explorer(kind: str, classes: int | None = None, prior: bool = False) -> Explorer:
    model = model_of(kind)
    return Explorer(model, data(), prior_of(model, classes) if prior else None, "squared error", "runs/tiny", 0.7)


def sounds() -> tuple[Explorer, dict[str, int]]:
    """Return the Explorer of a model of sounds with three voices and a WaveNet, and the label that requests give."""
    mv.manual_seed(1)
    x = numbers(24, 1, 1, 128, low=-1, high=1).astype(np.float32)
    y = np.arange(24) % CLASSES
    sizes = {"codes": 6, "code_dim": 3, "channels": 4, "residual_channels": 3, "strides": (4,), "dilations": (1,)}
    model = models.VQVAE1d((1, 1, 128), 8000, CLASSES, **sizes)
    model.prepare(x[:12])
    settings: dict[str, Any] = {"channels": 4, "dilations": (1, 2), "hidden": 4, "classes": CLASSES}
    prior = models.WaveNet((1, 32), 6, codebook_digest=model.codebook_digest, **settings)
    _enlarge(model.decoder.parameters())
    _enlarge(prior.parameters())
    data = Dataset("tiny", x[:12], x[12:], y[:12], y[12:], ("a", "b", "c"), sample_rate=8000)
    return Explorer(model.eval(), data, prior.eval(), "", "runs/sounds", 0.7), {"label": 2}


def clips() -> tuple[Explorer, dict[str, int]]:
    """Return the Explorer of a model of clips of three frames and a VideoPrior, and no label."""
    mv.manual_seed(1)
    x = numbers(24, 3, 1, 8, 8, low=0, high=1).astype(np.float32)
    sizes = {"codes": 6, "code_dim": 3, "channels": 4, "residual_channels": 3, "blocks": 1}
    model = models.VideoVQVAE((3, 1, 8, 8), **sizes)
    model.prepare(x[:12])
    prior = models.VideoPrior.of(model, history=2, channels=4, layers=1, hidden=4)
    _enlarge(model.decoder.parameters())
    _enlarge(prior.frame.parameters())
    data = Dataset("tiny", x[:12], x[12:], frame_rate=5.0)
    return Explorer(model.eval(), data, prior, "", "runs/clips", 0.7), {}


def _enlarge(parameters: Any) -> None:
    """Make weights so large that each code and label makes a difference."""
    rng = np.random.default_rng(0)
    for parameter in parameters:
        parameter.inplace()[...] += rng.normal(0, 0.5, parameter.shape).astype(np.float32)


def numbers_of(of: Explorer, text: str) -> np.ndarray:
    """Return the numbers of an answer, flat: bytes of pixels, or samples of 16 bits."""
    return np.frombuffer(b64decode(text), np.uint8 if of.sample_rate is None else "<i2")


@contextmanager
def served(of: Explorer) -> Iterator[PageServer]:
    """Serve in a thread."""
    with PageServer(of) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def asked(
    server: PageServer, method: str, path: str, body: Any = None, **headers: str | None
) -> tuple[http.client.HTTPResponse, bytes]:
    """Send one request; a header that is None is left out, and body is sent as JSON unless it is bytes."""
    given: dict[str, str | None] = {"Host": f"127.0.0.1:{server.server_port}"}
    if body is not None:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        given |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in given.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def pixels(text: str, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Return the bytes (N, *shape) of an answer."""
    return np.frombuffer(b64decode(text), np.uint8).reshape(-1, *shape)


def as_bytes(images: np.ndarray, low: float = 0, high: float = 1) -> np.ndarray:
    return np.rint(np.clip((images.astype(np.float64) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def text_of(image: np.ndarray) -> str:
    return b64encode(as_bytes(image).tobytes()).decode()
