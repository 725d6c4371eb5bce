"""Entropy coding turns the codes of images into bytes, about as few as the prior's nats say.

    range_coder.py    symbols and their probabilities -> bytes; explains arithmetic coding
    functions.py      exp, tanh and sigmoid as tables of integers
    exact.py          a PixelCNN whose probabilities are the same bits on every machine
    maps.py           many maps of codes at once, position by position

uses/code_files.py puts the bytes into a file with a header.
"""

from .exact import ExactPixelCNN
from .maps import Uniform, decode_maps, encode_maps
from .range_coder import RangeDecoder, RangeEncoder

__all__ = ["ExactPixelCNN", "RangeDecoder", "RangeEncoder", "Uniform", "decode_maps", "encode_maps"]
