"""Which term of the VQ-VAE's loss moves what: the real gradients of a tiny model, term by term."""

from __future__ import annotations

from typing import Any

import numpy as np

import minivae as mv
from minivae.random import Generator

from .sheet import BLUE, FAINT, GREEN, GREY, ORANGE, SMALL, STRONG, Sheet

SIZE = (6.4, 3.7)
TERMS = {"nll": BLUE, "codebook": GREEN, "commitment": ORANGE}
PARTS = ("encoder", "codebook", "decoder")


def find() -> dict[str, Any]:
    """The norm of the gradient of each term of equation 3 by the parameters of each part of a model.

    The quantiser's loss is the codebook term plus `commitment` times the commitment term. So at commitment 0 its
    gradient is that of the codebook term, and the difference of the gradients at 1 and 0 is that of the other.
    """
    model = mv.models.VQVAE((1, 8, 8), codes=4, channels=8, residual_blocks=1, update="gradient", random_state=0)
    model = model.to(dtype=np.float64)
    x = Generator(0).uniform((8, 1, 8, 8), np.float64)
    none, one = _gradients(model, x, 0.0, "vq"), _gradients(model, x, 1.0, "vq")
    found = {
        "nll": _gradients(model, x, 0.0, "nll"),
        "codebook": none,
        "commitment": {name: one[name] - none[name] for name in one},
    }
    return {term: {part: _norm(gradients, part) for part in PARTS} for term, gradients in found.items()}


def _gradients(model: mv.models.VQVAE, x: np.ndarray, commitment: float, term: str) -> dict[str, np.ndarray]:
    """The gradient of one term by every parameter, zeros where none arrives."""
    model.quantizer.commitment = commitment
    parameters = dict(model.named_parameters())
    for p in parameters.values():
        p.grad = None
    getattr(model.loss(x), term).backward()
    return {name: np.zeros(p.shape) if p.grad is None else p.grad for name, p in parameters.items()}


def _norm(gradients: dict[str, np.ndarray], part: str) -> float:
    mine = [g for name, g in gradients.items() if part in name.split(".")]
    return float(np.sqrt(sum((g**2).sum() for g in mine)))


def draw(sheet: Sheet, found: dict[str, Any]) -> None:
    """The way forwards, the ways of the gradients below it, and the norms as a table."""
    places = {"x": 0.2, "encoder": 0.75, "z": 2.0, "codebook": 2.6, "z_q": 4.0, "decoder": 4.6, "nll": 5.9}
    widths = {"encoder": 0.95, "codebook": 1.1, "decoder": 0.95}
    y = 2.95
    for name, x in places.items():
        if name in widths:
            words = {"codebook": "nearest code"}.get(name, name)
            sheet.box((x, y - 0.2), (widths[name], 0.4), words, GREY, size=SMALL + 0.5)
        else:
            sheet.text((x + 0.1, y), name, align="center")
    for start, end in ((0.42, 0.75), (1.7, 1.97), (2.24, 2.6), (3.7, 3.92), (4.3, 4.6), (5.55, 5.8)):
        sheet.arrow((start, y), (end, y))
    blue, green, orange = (STRONG[colour] for colour in TERMS.values())
    sheet.arrow((5.95, y - 0.28), (4.12, y - 0.28), blue)
    sheet.arrow((4.08, y - 0.28), (2.12, y - 0.28), blue, -0.2)
    sheet.arrow((2.08, y - 0.28), (0.8, y - 0.28), blue)
    sheet.text((3.12, y - 0.62), "straight through: the gradient at z_q is given to z", SMALL, blue, "center")
    sheet.arrow((2.1, y + 0.18), (3.15, y + 0.2), green, -0.45)
    sheet.text((3.65, y + 0.5), "codebook term: pulls e to z", SMALL, green)
    sheet.arrow((2.1, y + 0.18), (1.2, y + 0.2), orange, 0.45)
    sheet.text((0.2, y + 0.5), "commitment: pulls z to e", SMALL, orange)
    _table(sheet, found)


def _table(sheet: Sheet, found: dict[str, Any]) -> None:
    """The norms; a zero is hatched, as it is exact."""
    loss = {"nll": "-log p(x | z_q)", "codebook": "||sg[z] - e||$^2$", "commitment": "||z - sg[e]||$^2$"}
    top, left = 1.65, 2.0
    for j, part in enumerate(PARTS):
        sheet.text((left + 1.35 * j + 0.65, top + 0.16), part, SMALL + 0.5, align="center")
    sheet.text((0.2, top + 0.16), "gradient of", SMALL, FAINT)
    for i, (term, colour) in enumerate(TERMS.items()):
        y = top - 0.34 * (i + 1)
        sheet.text((0.2, y + 0.17), loss[term], SMALL + 0.5, STRONG[colour])
        for j, part in enumerate(PARTS):
            norm = found[term][part]
            words, fill = (f"{norm:.2g}", colour) if norm else ("0", "white")
            sheet.box((left + 1.35 * j, y), (1.3, 0.34), words, fill, edge=FAINT, size=SMALL + 0.5)
    sheet.text(
        (0.2, 0.3),
        "Norms of the gradients by each part's parameters, of a model with 4 codes; 0 is exactly 0.",
        SMALL,
        FAINT,
    )
