"""`minivae compress RUN IN OUT` makes one small file of many images, `minivae decompress RUN IN OUT` opens it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from math import ceil, isfinite, log, log2, prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from minivae import data as datasets
from minivae import uses
from minivae.data import shards
from minivae.data.files import load_array, load_png_folder
from minivae.models import VQVAE, PixelCNN, VideoVQVAE, VQVAE1d
from minivae.training.checkpoint import atomic_write
from minivae.uses.code_files import HEADER
from minivae.uses.image_formats import as_bytes, sheet, write_png

from . import options
from .runs import Run
from .text import print_table

NATS_PER_BYTE = 8 * log(2)
Row = tuple[str, int, float | None]


def add_commands(commands: Any) -> None:
    text = "write images as the codes of a VQ-VAE, entropy-coded under its prior, into one small file"
    compress = options.add_command(commands, "compress", _compress, text)
    options.run(compress)
    source = f"images: {', '.join(datasets.names())} (their test images), a .npy or .npz file, or a folder of PNGs "
    source += "or .npy files"
    compress.add_argument("source", metavar="IN", help=source)
    compress.add_argument("out", type=Path, metavar="OUT", help="file to write")
    options.flag(compress, "--compare", "show what PNG, JPEG and WebP make of the same images")
    options.device(compress)

    text = "reconstruct the images of a file that `minivae compress` made"
    decompress = options.add_command(commands, "decompress", _decompress, text)
    options.run(decompress)
    decompress.add_argument("source", type=Path, metavar="IN", help="file that `minivae compress` made with this run")
    out = "file to write: a .npy with all images, or a .png with one image or a sheet of them"
    decompress.add_argument("out", type=_file(".npy", ".png"), metavar="OUT", help=out)
    decompress.add_argument("--codes", type=_file(".npy"), help=".npy file to write the codes to (default: none)")
    options.device(decompress)


def _file(*suffixes: str) -> Callable[[str], Path]:
    """Return the type of an argument that is the name of a file with one of these suffixes."""

    def path(text: str) -> Path:
        if Path(text).suffix not in suffixes:
            raise argparse.ArgumentTypeError(f"must be the name of a {' or a '.join(suffixes)}, got {text!r}")
        return Path(text)

    return path


def _compress(args: argparse.Namespace) -> None:
    run, model = _open(args)
    _check_distinct(Path(args.source), args.out)
    x, y = _images(run, args.source)
    x = model.check_images(x)
    prior = run.prior()
    codes = model.encode(x)
    if prior is not None and prior.classes is not None and y is None:
        y = _cheapest_labels(model, codes, prior)
    y = None if prior is None else prior.check_labels(y, len(x))
    data = uses.pack_codes(model, codes, prior, y)
    rows = _sizes(model, x, codes, None if prior is None else len(data), args.compare)
    atomic_write(args.out, lambda file: file.write(data))
    print(f"wrote {len(x):,} images as codes to {args.out}")
    print()
    _print(rows, x, len(data))
    nats = float(model.code_cost(codes, prior, y).sum())
    if prior is not None and prior.classes is not None:
        nats += len(x) * log(prior.classes)  # labels are coded uniformly
    _print_cost(len(data) - HEADER, nats, "uniform" if prior is None else "PixelCNN", labelled=y is not None)
    if prior is None:
        print(f"there is no prior; `minivae train prior {run.folder}` trains one, which makes files smaller")


def _cheapest_labels(model: VQVAE, codes: np.ndarray, prior: PixelCNN) -> np.ndarray:
    """Labels (N,) for images that have none: for each the class under which its codes (N, h, w) cost least."""
    costs = [model.code_cost(codes, prior, np.full(len(codes), label)) for label in range(prior.classes or 0)]
    return np.argmin(costs, axis=0)


def _print_cost(payload: int, nats: float, prior: str, labelled: bool) -> None:
    """Print the bytes of the payload beside the nats of codes and labels."""
    what, ideal = "codes and labels" if labelled else "codes", nats / NATS_PER_BYTE
    excess = f" ({payload / ideal - 1:+.3%})" if ideal else ""  # there is none with a single code
    print(
        f"{HEADER} bytes are header, {payload:,} {what}; their {nats:,.1f} nats under the {prior} prior are "
        f"{ideal:,.1f} bytes{excess}"
    )


def _images(run: Run, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return images to compress and their labels: the test images of a data set, else all of a folder or file."""
    path = Path(name)
    if name in datasets.names() or not path.exists():
        data = run.data(name)
        return data.x_test, data.y_test
    if path.is_dir() and not shards.is_folder(path):
        return load_png_folder(path)[0]
    load = shards.load if path.is_dir() else load_array
    part, test = load(path, run.model.image_shape)
    x, y = test or part
    return x[:], y  # all images are in memory, as their codes become one file


def _sizes(model: VQVAE, x: np.ndarray, codes: np.ndarray, size: int | None, compare: bool) -> list[Row]:
    """Return ways to write the images x: name, bytes and PSNR (None for pixels outside [0, 1]).

    size: bytes of the file under the prior, None without one. compare: whether other formats are tried too.
    """
    in_range = x.min() >= 0 and x.max() <= 1
    if compare and not in_range:
        raise ValueError("--compare is for images with pixels in [0, 1]")
    quality = uses.psnr(x, as_bytes(model.decode(codes)).transpose(0, 3, 1, 2) / 255) if in_range else None
    rows = [] if size is None else [("codes, PixelCNN prior", size, quality)]
    rows.append(("codes, uniform prior", HEADER + ceil(codes.size * log2(model.quantizer.codes) / 8), quality))
    for row in uses.image_formats(x, quality) if compare and quality is not None else []:
        name = row.format if row.quality is None else f"{row.format} of quality {row.quality}"
        rows.append((f"{name}, {'one sheet' if row.sheet else 'a file each'}", row.bytes, row.psnr))
    return rows


def _print(rows: list[Row], x: np.ndarray, size: int) -> None:
    """Print the table of these ways; size: bytes of the file that was written."""
    pixels = len(x) * prod(x.shape[2:])
    cells = [
        [name, f"{bytes_:,}", f"{bytes_ / len(x):,.1f}", f"{8 * bytes_ / pixels:.3f}", _decibels(psnr)]
        for name, bytes_, psnr in rows
    ]
    print_table(["images as", "bytes", "bytes/image", "bits/pixel", "PSNR"], cells)
    for name, bytes_, _ in rows:
        if name.startswith("PNG"):
            print(f"{bytes_ / size:.1f} times smaller than {name}")


def _decibels(psnr: float | None) -> str:
    if psnr is None:
        return "-"  # pixels outside [0, 1] have no peak
    return f"{psnr:.2f}" if isfinite(psnr) else "lossless"


def _decompress(args: argparse.Namespace) -> None:
    run, model = _open(args)
    for path in [args.out] if args.codes is None else [args.out, args.codes]:
        _check_distinct(args.source, path)
    if args.codes is not None:
        _check_distinct(args.out, args.codes)
    data, prior = args.source.read_bytes(), run.prior()
    try:
        codes, _ = uses.unpack_codes(model, data, prior)
    except ValueError as error:
        raise ValueError(f"{str(args.source)!r}: {error}") from error
    x = model.decode(codes)
    if args.out.suffix == ".png" and x.shape[1] not in (1, 3):
        raise ValueError(f"a PNG is grey or RGB, these images have {x.shape[1]} channels; name a .npy")
    atomic_write(args.out, lambda file: _write_images(file, x, args.out.suffix))
    if args.codes is not None:
        atomic_write(args.codes, lambda file: np.save(file, codes))
    print(f"wrote {len(x):,} images {x.shape[1:]} from {len(data):,} bytes to {args.out}")


def _write_images(file: IO[bytes], x: np.ndarray, suffix: str) -> None:
    """Write images (N, C, H, W) as an array, or as one PNG."""
    if suffix == ".npy":
        np.save(file, x)
    else:
        write_png(file, sheet(as_bytes(x)))


def _open(args: argparse.Namespace) -> tuple[Run, VQVAE]:
    """Open the run. Raise ValueError unless it holds a VQ-VAE, whose codes are integers."""
    run = Run.open(args.run, args.device)
    if not isinstance(run.model, VQVAE) or isinstance(run.model, (VQVAE1d, VideoVQVAE)):
        kind = type(run.model).__name__
        raise ValueError(
            f"{args.parser.command} is for a VQ-VAE of images, whose codes are integers; {str(run.folder)!r} holds "
            f"{kind}"
        )
    return run, run.model


def _check_distinct(source: Path, out: Path) -> None:
    """Raise ValueError for an output that would replace what is read, or another output."""
    if source.resolve() == out.resolve():
        raise ValueError(f"{str(out)!r} cannot be written and read, or written twice, by one command")
