"""What the features of a PixelCNN see: the positions by which their gradient is not 0, found by the backward pass."""

from __future__ import annotations

from typing import Any

import numpy as np

import minivae as mv
from minivae import ops as F
from minivae.autograd import Tensor

from .sheet import BLUE, FAINT, GREEN, NORMAL, ORANGE, PAPER, SMALL, Sheet

SIZE = (6.4, 2.75)
H, W, AT, LAYERS = 6, 9, (4, 4), 5
CELL = 0.2


def find() -> dict[str, Any]:
    """For one stack of masked kernels, and for `above` and `left` of a PixelCNN: which positions (H, W) are seen."""
    prior = mv.models.PixelCNN((H, W), 2, channels=8, layers=LAYERS, first_kernel=3, kernel=3, random_state=0)
    prior = prior.to(dtype=np.float64)
    x = np.ones((1, H, W, 8))
    seen = {"one masked stack": _seen(_masked, np.ones((1, 1, H, W))).any(axis=(0, 1))}
    for k, name in enumerate(("above", "left")):
        seen[name] = _seen(lambda x, k=k: prior._stacks(x, None)[:2][k].sum(axis=3), x).any(axis=(0, 3))
    return {"at": list(AT), "seen": {name: where.astype(int).tolist() for name, where in seen.items()}}


def _masked(x: Tensor) -> Tensor:
    """Five convolutions of 3 x 3 whose weights are 1, or 0 at later positions: mask A, then masks B."""
    for layer in range(LAYERS):
        kernel = np.array([[1, 1, 1], [1, layer > 0, 0], [0, 0, 0]], np.float64)
        x = F.conv2d(x, kernel[None, None], padding=1)
    return F.reshape(x, (1, H, W))


def _seen(features: Any, x: np.ndarray) -> np.ndarray:
    """Where the gradient of features(x) (1, H, W) at the position AT, by x, is not 0."""
    t = Tensor(x, requires_grad=True)
    dy = np.zeros((1, H, W))
    dy[0, AT[0], AT[1]] = 1
    features(t).backward(dy)
    assert t.grad is not None
    return t.grad != 0


def draw(sheet: Sheet, found: dict[str, Any]) -> None:
    """Three maps side by side, with the position X, what it sees, and the earlier positions that it does not see."""
    i, j = found["at"]
    titles = {
        "one masked stack": "one masked stack",
        "above": "`above`, the vertical stack",
        "left": "`left`: the logits",
    }
    for k, (name, seen) in enumerate(found["seen"].items()):
        left, top = 0.2 + 2.1 * k, 2.2

        def fill(h: int, v: int, seen: Any = seen) -> str:
            if (h, v) == (i, j):
                return ORANGE
            return BLUE if seen[h][v] else GREEN if (h, v) < (i, j) else PAPER

        marks = [["X" if (h, v) == (i, j) else "" for v in range(W)] for h in range(H)]
        sheet.grid((left, top), marks, fill, (CELL, CELL))
        sheet.text((left + CELL * W / 2, 2.45), titles[name], SMALL + 0.5, align="center")
    for k, (colour, words) in enumerate(((BLUE, "seen by X"), (GREEN, "earlier, but not seen"), (PAPER, "later"))):
        at = 0.2 + (0.0, 1.3, 3.3)[k]
        sheet.box((at, 0.52), (CELL, CELL), "", colour)
        sheet.text((at + 0.3, 0.62), words, NORMAL - 1)
    blind = sum(found["seen"]["one masked stack"][h][v] == 0 for h in range(i) for v in range(W))
    words = f"Five layers of 3 x 3. One stack misses {blind} earlier values above X; `left` misses none in its reach."
    sheet.text((0.2, 0.25), words, SMALL, FAINT)
