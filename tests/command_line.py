"""Helpers for the tests of the command line: run a command and check what it did."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np

from minivae.cli import main
from minivae.models import load

# Options that train a model on small images in a second.
QUICK = {
    "ae": ["--epochs", "2", "--batch-size", "16", "--latent-dim", "4"],
    "dae": ["--epochs", "2", "--batch-size", "16", "--latent-dim", "4"],
    "sae": ["--epochs", "2", "--batch-size", "16", "--latent-dim", "12"],
    "cae": ["--epochs", "2", "--batch-size", "16", "--latent-dim", "12"],
    "vae": ["--epochs", "2", "--batch-size", "16", "--arch", "dense", "--latent-dim", "4"],
    "cvae": ["--epochs", "2", "--batch-size", "16", "--latent-dim", "4", "--hidden", "20"],
    "vqvae": ["--epochs", "2", "--batch-size", "16", "--codes", "6", "--code-dim", "3", "--channels", "4"],
    "vqvae2": [
        *("--epochs", "2", "--batch-size", "16", "--codes", "6", "--top-codes", "5"),
        *("--code-dim", "3", "--channels", "4", "--stride", "2"),
    ],
    "vqvae1d": ["--epochs", "2", "--batch-size", "8", "--codes", "6", "--code-dim", "3", "--channels", "4"],
    "vaegan": [
        *("--epochs", "2", "--batch-size", "16", "--arch", "dense", "--latent-dim", "4"),
        *("--discriminator-start", "1", "--discriminator-channels", "4", "4"),
    ],
    "vqgan": [
        *("--epochs", "2", "--batch-size", "16", "--codes", "6", "--code-dim", "3", "--channels", "4"),
        *("--discriminator-start", "1", "--discriminator-channels", "4", "4"),
    ],
    "vqvae-video": ["--epochs", "2", "--batch-size", "8", "--codes", "6", "--code-dim", "3", "--channels", "4"],
    "prior": ["--epochs", "2", "--batch-size", "16", "--channels", "4", "--layers", "2"],
}


def minivae_command(*args: Any) -> CompletedProcess[str]:
    """Run `minivae ARGS` in this process: exit code and output. An uncaught exception is raised."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(arg) for arg in args])
        except SystemExit as exit_:  # of argparse
            code = exit_.code
    return CompletedProcess(args, code, out.getvalue(), err.getvalue())


def minivae_process(*args: Any, **options: Any) -> subprocess.Popen[str]:
    """Run `minivae ARGS` in a process of its own, as a user does."""
    command = [sys.executable, "-m", "minivae", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def succeeded(*args: Any) -> CompletedProcess[str]:
    result = minivae_command(*args)
    assert result.returncode == 0, result.stderr
    return result


def refused(result: CompletedProcess[str], *words: str) -> None:
    """Check that the command was refused with one line on stderr, no traceback and exit code 2."""
    assert result.returncode == 2, (result.returncode, result.stderr)
    assert "error:" in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


def is_picture(path: Path) -> bool:
    """Whether the file is a PNG in which something is drawn."""
    from matplotlib.image import imread

    image = imread(path)
    assert min(image.shape[:2]) > 40
    assert image[..., :3].std() > 0.01
    return True


def table(text: str, first: str = "data") -> list[dict[str, str]]:
    """The rows of a printed table whose header begins with `first`; at least two spaces separate the columns."""
    lines = [line.split("  ") for line in text.splitlines()]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    start = next(i for i, row in enumerate(rows) if row[:1] == [first])
    header, body = rows[start], []
    for row in rows[start + 2 :]:
        if len(row) != len(header):
            break
        body.append(dict(zip(header, row, strict=True)))
    return body


def run_until(done: Path, *args: Any) -> str:
    """Start a training as a user does, press Ctrl-C once the file `done` exists, and return exit code and stderr."""
    process = minivae_process(*args)
    deadline = time.monotonic() + 120
    while not done.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    return err


def same_models(a: Path, b: Path) -> None:
    """Whether the models in two files are equal bit by bit."""
    first, second = load(a).state_dict(), load(b).state_dict()
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
