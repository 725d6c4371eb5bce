"""What models with codes have in common: a prior over the codes, trained after the model, and the bound it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from minivae.autograd import Tensor
from minivae.kernels import checks
from minivae.nn.likelihoods import LIKELIHOODS

from .base import LikelihoodCodec

MOST_BLOCKS = 1000


class Prior(Protocol):
    """A distribution P over the codes of images, such as a PixelCNN over maps of them.

    If it has an attribute codebook_digest that is not None, this must equal that of the model.
    """

    def sample(self, n: int, temperature: float = 1.0, y: Any = None) -> Any:
        """The codes of n images as the model's decode() takes them; y: labels, for a conditional prior."""

    def score_samples(self, codes: Any, y: Any = None) -> np.ndarray:
        """log P of the codes of each image in nats, (N,)."""


class CodeModel(LikelihoodCodec):
    """A LikelihoodCodec whose codes k(x) are integers.

    A subclass defines encode(), decode(), check_codes(), codebook_digest, _uniform_cost() and _coded_nll().
    """

    likelihoods: Sequence[str] = sorted(LIKELIHOODS)  # that the parameter `likelihood` may name

    @property
    def codebook_digest(self) -> str:
        """SHA-256 of all codebooks in hexadecimal. A prior keeps it, so that it is not used with other codes."""
        raise NotImplementedError(f"{type(self).__name__} does not define codebook_digest")

    def check_codes(self, codes: Any) -> Any:
        """Codes as int64, or an error as decode() says."""
        raise NotImplementedError(f"{type(self).__name__} does not define check_codes()")

    def _uniform_cost(self, codes: Any) -> np.ndarray:
        """-log P of codes under the uniform prior, (N,)."""
        raise NotImplementedError(f"{type(self).__name__} does not define _uniform_cost()")

    def _coded_nll(self, x: Tensor) -> Tensor:
        """-log p(x | k(x)) of images (N, C, H, W), in nats (N,)."""
        raise NotImplementedError(f"{type(self).__name__} does not define _coded_nll()")

    def decode(self, z: Any, *, pixels: bool = False) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} does not define decode()")

    def sample(self, n: int, prior: Prior, temperature: float = 1.0, y: Any = None, pixels: bool = False) -> np.ndarray:
        """n images (n, C, H, W): the decoder's means for codes drawn from the prior.

        temperature: of the prior, below 1 for likelier codes. y: labels, for a conditional prior. pixels: draw the
        pixels too, from p(x | codes). Raises ValueError for n < 1, for a prior over the codes of another codebook, and
        for maps of another size.
        """
        checks.elements("an array of samples", (checks.integer("n", n, 1), *self.image_shape))
        self._check_prior(prior, "sample")
        codes = self.check_codes(prior.sample(n, temperature=temperature, **label_argument(y)))
        return self.decode(codes, pixels=pixels)

    def code_cost(self, codes: Any, prior: Prior | None = None, y: Any = None) -> np.ndarray:
        """-log P of the codes of images, in nats (N,); without a prior it is the uniform one's.

        Raises TypeError and ValueError for codes as decode() does, ValueError for a prior over the codes of another
        codebook and for labels y without a prior.
        """
        codes = self.check_codes(codes)
        if self._uniform(prior, y):
            return self._uniform_cost(codes)
        assert prior is not None
        self._check_prior(prior, "score_samples")
        return -np.asarray(prior.score_samples(codes, **label_argument(y)), np.float64)

    def score_samples(self, x: np.ndarray, prior: Prior | None = None, y: Any = None) -> np.ndarray:
        """The lower bound of log p(x) of images (N, C, H, W), in nats (N,): -nll - code_cost of their codes.

        Raises what encode() and code_cost() raise.
        """
        return -self._nll(x) - self.code_cost(self.encode(x), prior, y)

    def _nll(self, x: np.ndarray) -> np.ndarray:
        """-log p(x | k(x)) of images (N, C, H, W), in nats (N,)."""
        return self.batched(self._coded_nll, self.check_images(x)).astype(np.float64)

    def _uniform(self, prior: Any, y: Any) -> bool:
        """Whether there is no prior; ValueError if there are labels all the same."""
        if prior is None and y is not None:
            raise ValueError(f"labels y belong to a conditional prior, and there is no prior, got {checks.shown(y)}")
        return prior is None

    def _check_prior(self, prior: Any, method: str) -> None:
        """TypeError for what has no such method, ValueError for a prior over the codes of another codebook."""
        checks.offers("prior", prior, method)
        digest = getattr(prior, "codebook_digest", None)
        if digest is not None and digest != self.codebook_digest:
            raise ValueError(
                f"the prior was trained on the codes of another codebook ({digest[:12]}), not of this one "
                f"({self.codebook_digest[:12]})"
            )


def check_networks(sizes: Mapping[str, Any], residual_blocks: Any, likelihood: Any, likelihoods: Sequence[str]) -> None:
    """TypeError or ValueError for sizes of codebooks and layers (by name) below 1, and what else VQVAE() refuses."""
    for name, size in sizes.items():
        checks.integer(name, size, 1)
    checks.integer("residual_blocks", residual_blocks, 0, most=MOST_BLOCKS)
    checks.choice("likelihood", likelihood, likelihoods)


def check_multiples(image_shape: Sequence[int], stride: int) -> None:
    """ValueError unless H and W are multiples of the strides of the encoder and the decoder."""
    for name, size in zip(("height", "width"), image_shape[1:], strict=True):
        if size % stride:
            below, above = size // stride * stride, (size // stride + 1) * stride
            nearest = f"{below} and {above}" if below else f"{above}"
            raise ValueError(f"image_shape: the {name} must be a multiple of {stride}, got {size}; nearest: {nearest}")


def label_argument(y: Any) -> dict[str, Any]:
    """y as a keyword argument, which is left out for a prior that knows no labels."""
    return {} if y is None else {"y": y}
