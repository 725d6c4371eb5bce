"""Files of codes: images as the codes of a VQ-VAE, entropy-coded under its PixelCNN prior.

Such a file is a header and a payload, the output of coding.encode_maps(). Numbers are little-endian.

    offset  bytes
         0      8  89 6D 76 63 0D 0A 1A 0A: a byte above 127, "mvc", and line ends that a transfer as text would change
         8      1  version, 1
         9      1  prior: 0 uniform, 1 PixelCNN, evaluated as coding/exact.py says
        10     12  images: channels, height, width
        22      8  map of codes: height, width
        30      4  K, the number of codes
        34      4  number of classes that the prior is conditional on; 0 for none
        38      4  number of images
        42     16  digest of the model
        58     16  digest of the prior; zeros for the uniform one
        74      4  length of the payload
        78      4  CRC-32 of the payload
        82      4  CRC-32 of the codes, as 32-bit numbers, and after them the labels
        86      4  CRC-32 of the 86 bytes before

A digest is the first 16 bytes of the SHA-256 of all weights: codes mean something only to the model that made them.
A CRC-32 finds every change of up to 32 bits in a row, and all but one in 4 billion of the others. The CRC of the codes
keeps the promise of exact.py on the machine that decodes: it gets the codes that were encoded, or refuses the file.
(CRCs and digests guard against accidents; they are no signature.)
"""

from __future__ import annotations

from struct import Struct
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from minivae.coding import ExactPixelCNN, Uniform, decode_maps, encode_maps
from minivae.kernels import checks
from minivae.models import VQVAE, PixelCNN
from minivae.training.checkpoint import digest

MAGIC = b"\x89mvc\r\n\x1a\n"
VERSION = 1
FIELDS = Struct("<8sBB3I2I3I16s16s3I")
CRC = Struct("<I")
HEADER = FIELDS.size + CRC.size  # bytes
NO_PRIOR = bytes(16)


class Unpacked(NamedTuple):
    """codes: (N, h, w), int64. labels: (N,), int64, of a file under a conditional prior, else None."""

    codes: np.ndarray
    labels: np.ndarray | None


class Header(NamedTuple):
    """They are the fields of the header behind magic and version, in the order of the file."""

    prior: int
    channels: int
    height: int
    width: int
    map_height: int
    map_width: int
    codes: int
    classes: int
    images: int
    model_digest: bytes
    prior_digest: bytes
    length: int
    payload_crc: int
    codes_crc: int


def pack_codes(model: VQVAE, codes: np.ndarray, prior: PixelCNN | None = None, y: Any = None) -> bytes:
    """Turn codes (N, h, w) of images, as model.encode() gives them, into the bytes of a file.

    prior: the PixelCNN of the model's codes; without it each code takes log2 K bits. y: labels (N,), which a
    conditional prior needs and which travel in the file.

    Raises TypeError for a model that is no VQVAE, a prior that is no PixelCNN, codes or labels that are no integers;
    ValueError for codes and labels of other shapes and ranges, for a prior of other codes, and for one whose weights
    are too large to be evaluated exactly (see coding/exact.py).
    """
    distribution = _distribution(model, prior)
    codes = model.check_codes(codes)
    if distribution.classes is None and y is not None:
        raise ValueError(f"labels y belong to a conditional prior, and there is none, got {checks.shown(y)}")
    labels = None if prior is None else prior.check_labels(y, len(codes))
    payload = encode_maps(distribution, codes, labels)
    crcs = len(payload), crc32(payload), _codes_crc(codes, labels)
    digests = _digest(model), NO_PRIOR if prior is None else _digest(prior)
    start = FIELDS.pack(MAGIC, VERSION, *_described(model, distribution), len(codes), *digests, *crcs)
    return start + CRC.pack(crc32(start)) + payload


def unpack_codes(model: VQVAE, data: bytes, prior: PixelCNN | None = None) -> Unpacked:
    """Return the codes that are in the bytes of a file that pack_codes() made.

    model, prior: those that the file was made with. A file under the uniform prior needs no prior, and ignores one.

    Raises ValueError for data that is no such file or was cut off or changed, for another model or prior, and if the
    decoded codes are not those that were encoded; TypeError for data that is no bytes.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"data must be bytes, got {checks.shown(data)}")
    header, payload = _parted(bytes(data))
    if header.prior and prior is None:
        raise ValueError("it was made with a PixelCNN prior, and the prior given is None")
    distribution = _distribution(model, prior if header.prior else None)
    _check_made_with(header, _digest(model), "model", header.model_digest)
    if header.prior:
        _check_made_with(header, _digest(prior), "prior", header.prior_digest)
    if header[: len(own := _described(model, distribution))] != own:
        raise ValueError("its header does not describe the images and codes of its model")
    checks.elements("codes", (header.images, header.map_height, header.map_width))
    codes, labels = decode_maps(distribution, payload, header.images)
    if _codes_crc(codes, labels) != header.codes_crc:
        raise ValueError(
            "its decoded codes are not those that were encoded; this machine does not compute float64 exactly"
        )
    return Unpacked(codes, labels)


def _distribution(model: VQVAE, prior: PixelCNN | None) -> ExactPixelCNN | Uniform:
    """Return what the codes are coded under. Raise TypeError or ValueError for a model and a prior that do not fit."""
    if not isinstance(model, VQVAE):
        raise TypeError(f"codes belong to a VQVAE, got {checks.shown(model)}")
    if len(model.code_shape) != 2:
        raise ValueError(f"files hold maps (h, w) of codes, and a residual quantiser has {model.code_shape}")
    shape, K = (model.code_shape[0], model.code_shape[1]), model.quantizer.codes
    if prior is None:
        return Uniform(shape, K)
    exact = ExactPixelCNN(prior)
    if prior.codebook_digest not in (None, model.codebook_digest):
        raise ValueError("the prior was trained on the codes of another codebook")
    if (exact.map_shape, exact.values) != (shape, K):
        raise ValueError(
            f"the prior is for maps {exact.map_shape} of {exact.values} codes, the model has maps {shape} of {K}"
        )
    return exact


def _described(model: VQVAE, distribution: ExactPixelCNN | Uniform) -> tuple[int, ...]:
    """Return the fields of the header from `prior` to `classes`."""
    is_prior = int(isinstance(distribution, ExactPixelCNN))
    sizes = map(int, (*model.image_shape, *model.code_shape, model.quantizer.codes))
    return (is_prior, *sizes, distribution.classes or 0)


def _parted(data: bytes) -> tuple[Header, bytes]:
    """Return header and payload. Raise ValueError unless they are whole."""
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise ValueError(f"a file of codes begins with {MAGIC!r}, this one with {data[: len(MAGIC)]!r}")
    if len(data) < HEADER:
        raise ValueError(f"it ends after {len(data)} bytes, in its header of {HEADER}")
    _, version, *fields = FIELDS.unpack_from(data)
    if CRC.unpack_from(data, FIELDS.size)[0] != crc32(data[: FIELDS.size]):
        raise ValueError("its header was changed: it does not have the CRC that was written with it")
    if version != VERSION:
        raise ValueError(f"it has version {version}, and only version {VERSION} is known")
    header, payload = Header(*fields), data[HEADER:]
    if len(payload) != header.length:
        raise ValueError(f"it has {len(payload):,} bytes behind its header, which states {header.length:,}")
    if crc32(payload) != header.payload_crc:
        raise ValueError("its payload was changed: it does not have the CRC that was written with it")
    return header, payload


def _check_made_with(header: Header, own: bytes, name: str, stated: bytes) -> None:
    if stated != own:
        raise ValueError(f"it was made with another {name} ({stated.hex()[:12]}), not with this one ({own.hex()[:12]})")


def _digest(model: Any) -> bytes:
    """Return 16 bytes of the SHA-256 of all weights, with their names, shapes and dtypes, and of the model's class."""
    return bytes.fromhex(digest(model.state_dict(), {"model": type(model).__name__}))[:16]


def _codes_crc(codes: np.ndarray, labels: np.ndarray | None) -> int:
    crc = crc32(codes.astype("<u4").tobytes())
    return crc if labels is None else crc32(labels.astype("<u4").tobytes(), crc)
