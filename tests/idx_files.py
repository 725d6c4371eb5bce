"""Write IDX files, which minivae.data.idx reads."""

import struct

import numpy as np


def idx_bytes(array: np.ndarray) -> bytes:
    """The content of an IDX file that holds this array of unsigned bytes."""
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
