"""The command line: `minivae train vae`, `minivae sample RUN`, `minivae reconstruct RUN`, `minivae info`.

A run is a folder: model.npz (the model), checkpoint.npz (all that training needs to go on), config.json, metrics.jsonl
(a line per epoch) and pictures. Whatever the user can get wrong ends in one line on stderr and exit code 2; Ctrl-C ends
in 130.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from minivae import __version__, figures, manual_seed, models
from minivae import data as datasets
from minivae.data import Dataset
from minivae.training import evaluate
from minivae.training.checkpoint import atomic_write
from minivae.training.progress import progress_for

SHEET = 64  # images on a sheet of samples
PAIRS = 20  # images on a sheet of reconstructions


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        args.command(args)
    except KeyboardInterrupt:
        print("minivae: interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError, MemoryError, RuntimeError) as error:
        print(f"minivae: error: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="minivae", description="Autoencoders you can read.")
    parser.add_argument("--version", action="version", version=f"minivae {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a model", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    train.set_defaults(command=_train)
    train.add_argument("model", choices=["vae"], help="which model")
    train.add_argument(
        "--data", default="fashion-mini", help=f"one of {', '.join(datasets.names())}, or a file or folder"
    )
    train.add_argument("--arch", choices=["conv", "dense"], default="conv", help="encoder and decoder")
    train.add_argument("--likelihood", choices=["bernoulli", "gaussian"], default="bernoulli", help="of a pixel")
    train.add_argument("--latent-dim", type=int, default=16, help="number of latents")
    train.add_argument("--beta", type=float, default=1.0, help="weight of the KL term")
    train.add_argument("--epochs", type=int, default=15, help="passes over the training images")
    train.add_argument("--batch-size", type=int, default=128, help="images per step")
    train.add_argument(
        "--lr", type=float, default=2e-3, help="first learning rate of Adam; it falls to 0 along a cosine"
    )
    train.add_argument("--seed", type=int, default=0, help="of weights, noise and order")
    train.add_argument("--device", default="cpu", help="where to compute")
    train.add_argument("--out", type=Path, default=Path("runs/vae"), help="folder of the run")
    train.add_argument("--force", action="store_true", help="overwrite a run that is there")
    train.add_argument("--resume", action="store_true", help="go on with a run that was interrupted")

    sample = commands.add_parser("sample", help="draw new images from a trained model")
    sample.set_defaults(command=_sample)
    _run_options(sample, SHEET, "samples.png")
    sample.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")

    reconstruct = commands.add_parser("reconstruct", help="show images beside what the model makes of them")
    reconstruct.set_defaults(command=_reconstruct)
    _run_options(reconstruct, PAIRS, "reconstructions.png")
    reconstruct.add_argument("--data", help="data set, file or folder (default: the one of the run)")

    info = commands.add_parser("info", help="versions, BLAS and its threads, GPU")
    info.set_defaults(command=_info)
    return parser


def _run_options(parser: argparse.ArgumentParser, count: int, name: str) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run, or a model file")
    parser.add_argument("-n", type=int, default=count, help=f"how many images (default: {count})")
    parser.add_argument("--out", type=Path, help=f"PNG to write (default: {name} in the run's folder)")


# ---- train ----


def _train(args: argparse.Namespace) -> None:
    options = {k: v for k, v in vars(args).items() if k not in ("command", "out", "force", "resume", "model")}
    _prepare(args.out, options, args.force, args.resume)
    manual_seed(args.seed)
    data = datasets.load(args.data)
    model = models.VAE(
        data.x_train.shape[1:],
        latent_dim=args.latent_dim,
        arch=args.arch,
        likelihood=args.likelihood,
        beta=args.beta,
    )
    x_train, x_test = model.check_images(data.x_train), model.check_images(data.x_test)
    print(f"{args.model} with {model.num_parameters():,} parameters on {data.name}: ", end="")
    print(f"{len(x_train):,} training and {len(x_test):,} test images {x_train.shape[1:]}", flush=True)
    _write_json(args.out / "config.json", {"model": args.model, **options, "versions": _versions()})
    metrics = args.out / "metrics.jsonl"
    if not args.resume:
        metrics.write_text("")

    def after_epoch(record: dict[str, Any]) -> None:
        model.save(args.out / "model.npz")
        with metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")

    start = time.perf_counter()
    try:
        model.fit(
            x_train,
            epochs=args.epochs,
            batch_size=args.batch_size,
            lr=args.lr,
            validation=x_test,
            device=args.device,
            progress=progress_for(sys.stderr),
            checkpoint=args.out / "checkpoint.npz",
            resume=args.resume,
            on_epoch=after_epoch,
        )
    except KeyboardInterrupt:
        done = len(model.history)
        kept = (
            f"{args.out / 'model.npz'} is that of epoch {done}; --resume goes on from there"
            if done
            else "nothing to keep"
        )
        print(f"\ninterrupted in epoch {done + 1}: {kept}", file=sys.stderr)
        raise
    _report(model, x_train, x_test, time.perf_counter() - start)
    _pictures(args.out, model, data, x_test)


def _prepare(out: Path, options: dict[str, Any], force: bool, resume: bool) -> None:
    """Make the folder of a new run, or see that a run can go on; raises before any work is done."""
    if resume:
        config = json.loads((out / "config.json").read_text()) if (out / "config.json").is_file() else None
        if config is None or not (out / "checkpoint.npz").is_file():
            raise ValueError(f"{str(out)!r} holds no run to resume")
        if changed := sorted(k for k, v in options.items() if config.get(k) != v):
            raise ValueError(
                "resume with the options of the run: "
                + ", ".join(f"--{k.replace('_', '-')} was {config.get(k)}, not {options[k]}" for k in changed)
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())) and not force:
        raise ValueError(f"{str(out)!r} is not empty; --force overwrites it, --resume goes on with it")
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise PermissionError(f"the folder {str(out)!r} is not writable")


def _report(model: models.VAE, x_train: np.ndarray, x_test: np.ndarray, seconds: float) -> None:
    """The final table."""
    rows = []
    for name, x in (("train", x_train), ("test", x_test)):
        terms = evaluate(model, x)
        nats = terms["nll"] + terms["kl"]
        rows.append(
            [name, f"{-nats:.2f}", f"{terms['nll']:.2f}", f"{terms['kl']:.2f}", f"{model.bits_per_dim(nats):.4f}"]
        )
    print()
    print_table(["data", "ELBO", "nll", "kl", "bits/dim"], rows)
    speed = np.mean([record["images_per_second"] for record in model.history])
    print(f"ELBO, nll and kl in nats per image; {seconds:.1f} s, {speed:,.0f} images/s in training")


def _pictures(out: Path, model: models.VAE, data: Dataset, x_test: np.ndarray) -> None:
    figures.save_training(out / "training.png", model.history)
    figures.save_reconstructions(out / "reconstructions.png", x_test[:PAIRS], model.reconstruct(x_test[:PAIRS]))
    figures.save_sheet(out / "samples.png", model.sample(SHEET), 8, "samples from the prior")
    figures.save_latent(out / "latent.png", model.encode(x_test), data.y_test, data.class_names)
    print(f"model, metrics and pictures are in {out}/")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """First column to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * w for w in widths], *rows]:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells))


# ---- trained models ----


def _load_run(run: Path) -> tuple[models.VAE, Path]:
    """The model of a run, and the folder it lies in."""
    path = run / "model.npz" if run.is_dir() else run
    model = models.load(path)
    assert isinstance(model, models.VAE)
    return model, path.parent


def _sample(args: argparse.Namespace) -> None:
    model, folder = _load_run(args.run)
    manual_seed(args.seed)
    out = args.out or folder / "samples.png"
    figures.save_sheet(out, model.sample(args.n), _columns(args.n), "samples from the prior")
    print(f"wrote {out}")


def _reconstruct(args: argparse.Namespace) -> None:
    model, folder = _load_run(args.run)
    if args.n < 1:
        raise ValueError(f"-n must be at least 1, got {args.n}")
    name = args.data
    if name is None:
        config = folder / "config.json"
        if not config.is_file():
            raise ValueError(f"there is no {config}; say with --data which images to reconstruct")
        name = json.loads(config.read_text())["data"]
    x = model.check_images(datasets.load(name).x_test[: args.n])
    out = args.out or folder / "reconstructions.png"
    figures.save_reconstructions(out, x, model.reconstruct(x), min(10, len(x)))
    print(f"wrote {out}")


def _columns(count: int) -> int:
    return min(count, max(1, round(count**0.5)))


# ---- info ----


def _info(args: argparse.Namespace) -> None:
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    rows = [
        ["minivae", __version__],
        ["Python", f"{platform.python_version()} on {platform.machine()}"],
        ["NumPy", np.__version__],
        ["BLAS", f"{blas.get('name')} {blas.get('version')}, {_blas_threads()}"],
        *_gpu(),
    ]
    for name, value in rows:
        print(f"{name:8} {value}")


def _blas_threads() -> str:
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
        limits = [f"{n}={os.environ[n]}" for n in names if n in os.environ]
        return ", ".join(limits) or f"up to {os.cpu_count()} threads"
    np.ones((2, 2)) @ np.ones((2, 2))
    threads = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return f"{max(threads, default=1)} threads"


def _gpu() -> list[list[str]]:
    try:
        import cupy
    except ImportError:
        return [["CuPy", "not installed"]]
    rows = [["CuPy", cupy.__version__]]
    if not cupy.cuda.is_available():
        return [*rows, ["GPU", "none found"]]
    for i in range(cupy.cuda.runtime.getDeviceCount()):
        rows.append(["GPU", cupy.cuda.runtime.getDeviceProperties(i)["name"].decode()])
    return rows


def _versions() -> dict[str, str]:
    names = ("numpy", "cupy-cuda12x", "cupy-cuda13x")
    installed = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"] in names}
    return {"minivae": __version__, "python": platform.python_version(), **installed}


def _write_json(path: Path, value: Any) -> None:
    atomic_write(path, lambda file: file.write((json.dumps(value, indent=2) + "\n").encode()))
