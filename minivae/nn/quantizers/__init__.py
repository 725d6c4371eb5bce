"""Quantisers, which replace latents by codes: base.py says what they have in common, then there is one file for each.

vector.py          one codebook, as in the VQ-VAE         k_means.py   how a codebook starts
residual.py        a codebook for each of several stages
finite_scalar.py   no codebook: numbers rounded to levels
"""

from .base import Quantized, Quantizer
from .finite_scalar import FiniteScalarQuantizer
from .residual import ResidualVectorQuantizer
from .vector import VectorQuantizer

__all__ = ["FiniteScalarQuantizer", "Quantized", "Quantizer", "ResidualVectorQuantizer", "VectorQuantizer"]
