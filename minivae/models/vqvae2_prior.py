"""The prior of a VQ-VAE-2: a PixelCNN over top maps, and one over bottom maps with the top map as its context.

    log P(top, bottom) = log P(top) + log P(bottom | top)

Sampling goes down: a top map is drawn, then a bottom map given it, then the decoder makes the image of both. The two
PixelCNNs share nothing but the codes and are trained one after the other, or at the same time on two machines.

With classes, the top prior is conditional on the label, and the bottom prior has the label as a second map of its
context, with the same value everywhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from minivae.kernels import checks

from .pixelcnn import PixelCNN


class Codes(NamedTuple):
    """The codes of N images: top (N, h', w') and bottom (N, h, w), integers."""

    top: np.ndarray
    bottom: np.ndarray


class LevelPrior(Protocol):
    """A prior over pairs of maps that says what each of them costs."""

    def sample(self, n: int, temperature: float = 1.0, y: Any = None) -> Codes:
        """The codes of n images."""

    def score_levels(self, codes: Codes, y: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """log P(top) and log P(bottom | top) in nats, (N,) each."""


class VQVAE2Prior:
    """Two PixelCNNs as one prior. Raises TypeError for others, ValueError for two that do not belong together."""

    def __init__(self, top: PixelCNN, bottom: PixelCNN) -> None:
        for name, part in (("top", top), ("bottom", bottom)):
            if not isinstance(part, PixelCNN):
                raise TypeError(f"{name} must be a PixelCNN, got {checks.shown(part)}")
        if top.context_values is not None:
            raise ValueError(f"the prior of the top has no context, got context_values={top.context_values}")
        wanted = _context_of(top)
        if bottom.context_shape is None or bottom.context_values is None:
            raise ValueError("the prior of the bottom needs the top map as its context, got one without a context")
        found = {"context_shape": tuple(bottom.context_shape), "context_values": tuple(bottom.context_values)}
        if found != wanted:
            raise ValueError(f"the prior of the bottom must have {wanted} for this top, got {found}")
        if top.codebook_digest != bottom.codebook_digest:
            raise ValueError(
                f"top and bottom must be of one codebook_digest, got {top.codebook_digest} and {bottom.codebook_digest}"
            )
        self.top, self.bottom = top, bottom

    @classmethod
    def of(cls, model: Any, classes: int | None = None, **settings: Any) -> VQVAE2Prior:
        """A prior to be trained on the codes of a VQVAE2.

        classes: the number of labels, or None. settings: of both PixelCNNs, such as channels and layers. Raises what
        PixelCNN() raises, TypeError for a model without the two levels.
        """
        checks.offers("model", model, "level_costs")
        common = {"codebook_digest": model.codebook_digest, **settings}
        top = PixelCNN(model.top_shape, model.top_codes, classes=classes, **common)
        return cls(top, PixelCNN(model.code_shape, model.codes, **_context_of(top), **common))

    @property
    def classes(self) -> int | None:
        """The number of labels, None if the prior is not conditional on them."""
        return self.top.classes

    @property
    def codebook_digest(self) -> str | None:
        """VQVAE2.codebook_digest of the model whose codes these are."""
        return self.top.codebook_digest

    def fit(self, codes: Any, y: Any = None, **options: Any) -> VQVAE2Prior:
        """Train both on codes (top, bottom), with labels y (N,) if the prior has classes; options: of Estimator.fit.

        Raises what that raises.
        """
        top, bottom = check_pair(codes)
        self.top.fit(top, y, **options)
        self.bottom.fit(bottom, self.context(top, y), **options)
        return self

    def context(self, top: np.ndarray, y: Any = None) -> np.ndarray:
        """What the prior of the bottom is given: top maps (N, h', w'), labels y (N,) -> (N, M, h', w'), M = 1 or 2.

        Raises TypeError and ValueError for maps and labels as PixelCNN.score_samples() does.
        """
        top = self.top.check_images(top)
        if self.top.classes is None:
            return top[:, None]
        labels = self.top.check_labels(y, len(top))
        assert labels is not None
        return np.stack([top, np.broadcast_to(labels[:, None, None], top.shape)], axis=1)

    def sample(self, n: int = 1, temperature: float = 1.0, y: Any = None) -> Codes:
        """The codes of n images. temperature, y: as for PixelCNN.sample(), y one label or an array (n,) of them."""
        if y is not None and np.ndim(y) == 0:
            y = np.full(checks.integer("n", n, 1), y)
        top = self.top.sample(n, temperature, y)
        return Codes(top, self.bottom.sample(n, temperature, self.context(top, y)))

    def score_levels(self, codes: Any, y: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """log P(top) and log P(bottom | top) of codes (top, bottom), in nats, (N,) each; y: labels (N,).

        Raises what PixelCNN.score_samples() raises.
        """
        top, bottom = check_pair(codes)
        of_top = self.top.score_samples(top, y)
        return of_top, self.bottom.score_samples(bottom, self.context(top, y))

    def score_samples(self, codes: Any, y: Any = None) -> np.ndarray:
        """log P(top, bottom) in nats, (N,): the sum of score_levels()."""
        top, bottom = self.score_levels(codes, y)
        return top + bottom


def check_pair(codes: Any) -> tuple[Any, Any]:
    """codes as they are, (top, bottom); TypeError if they are no pair."""
    if not isinstance(codes, (tuple, list)) or len(codes) != 2:
        raise TypeError(f"codes must be a pair (top, bottom) of arrays of integers, got {checks.shown(codes)}")
    top, bottom = codes
    return top, bottom


def _context_of(top: PixelCNN) -> dict[str, Any]:
    """The settings of the bottom's context that belong to a prior of the top."""
    labels = () if top.classes is None else (top.classes,)
    return {"context_shape": tuple(top.map_shape), "context_values": (top.values, *labels)}
