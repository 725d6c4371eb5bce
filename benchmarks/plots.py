"""Plots of the results. matplotlib (extra `bench`) is imported when a plot is drawn."""

from __future__ import annotations

import cProfile
import pstats
from pathlib import Path
from typing import Any

import numpy as np

from . import cases
from .report import best, growth_points
from .steps import own_step

PARTS = {  # the parts of a training step, and the files whose time counts as theirs
    "convolutions": ("native/conv.py", "native/plans.py", "ops/conv.py"),
    "bias and ReLU": ("native/activation.py",),
    "dense products": ("native/matrix.py", "minivae/ops/linear.py"),
    "likelihood and noise": ("native/likelihood.py", "native/random.py"),
    "quantisation": ("native/quantize.py", "minivae/nn/quantizers/vector.py"),
    "optimiser": ("native/optim.py", "minivae/optim.py"),
    "other operations": ("minivae/ops/", "native/norm.py", "native/resample.py"),
    "engine": ("minivae/autograd/",),
}


def draw(folder: Path, report: dict[str, Any]) -> list[str]:
    """Draw every plot for which there are results and return the file names. Raises ImportError without matplotlib."""
    made = []
    plots = {"steps": _steps, "cupy": _cupy, "parts": _parts, "roofline": _roofline, "growth": _growth}
    for name, plot in plots.items():
        figure = plot(report)
        if figure is not None:
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(folder / f"{name}.png", dpi=110)
            made.append(f"{name}.png")
    return made


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("drawing needs matplotlib: pip install 'minivae[bench]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def _steps(report: dict[str, Any]) -> Any:
    """The time of a training step by batch size, in one panel for each model."""
    return _by_batch(report, None)


def _cupy(report: dict[str, Any]) -> Any:
    """The same plot without PyTorch; only where CuPy was measured."""
    records = report["sections"].get("steps", [])
    return _by_batch(report, ("C", "NumPy", "CuPy")) if any("CuPy" in best(r) for r in records) else None


def _by_batch(report: dict[str, Any], columns: tuple[str, ...] | None) -> Any:
    records = [r for r in report["sections"].get("steps", []) if "times" in r]
    if not records:
        return None
    models = list(dict.fromkeys(r["name"].partition(",")[0] for r in records))
    figure = _figure(3.6 * len(models), 3.2)
    for axes, model in zip(np.atleast_1d(figure.subplots(1, len(models))), models, strict=True):
        of_model = {int(r["name"].split()[-1]): best(r) for r in records if r["name"].startswith(f"{model},")}
        for column in columns or dict.fromkeys(c for times in of_model.values() for c in times):
            found = {batch: times[column] for batch, times in of_model.items() if column in times}
            median, low, high = 1e3 * np.array(list(found.values())).T
            axes.errorbar(list(found), median, (median - low, high - median), marker="o", capsize=3, label=column)
        axes.loglog()
        axes.set_title(model, fontsize=10)
        axes.set_xlabel("batch size")
        axes.set_xticks(list(of_model), list(map(str, of_model)))
        axes.xaxis.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("training step, ms")
    figure.axes[0].legend(fontsize=8)
    return figure


def _parts(report: dict[str, Any]) -> Any:
    """The share of each part in a training step in C; see step_shares()."""
    if not report["sections"].get("steps"):
        return None
    figure = _figure(7.2, 2.6)
    axes = figure.subplots()
    shares = {name: step_shares(case) for name, case in cases.MODELS.items()}
    left = np.zeros(len(shares))
    for part in (*PARTS, "rest"):
        widths = np.array([100 * share[part] for share in shares.values()])
        axes.barh(list(shares), widths, left=left, label=part)
        left += widths
    axes.invert_yaxis()
    axes.set_xlabel("share of a training step in C, %, batch 128, under Python's profiler")
    axes.legend(fontsize=7, ncols=1, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def step_shares(case: cases.Model, batch: int = 128) -> dict[str, float]:
    """The fractions of the time of a training step that the PARTS and the rest take; they sum to 1.

    The profiler measures the time of each function, and the function's file tells to which part it belongs.
    """
    step = own_step(case, cases.images(batch, case.image_shape), "cpu")
    step()
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(5):
        step()
    profile.disable()
    shares = dict.fromkeys((*PARTS, "rest"), 0.0)
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (file, _, _), (_, _, own, _, callers) in stats.items():
        places = [(file, own)]
        if callers and not _part(file):  # such as a function of NumPy: its time counts as its callers'
            places = [(caller[0], times[2]) for caller, times in callers.items()]
        for place, seconds in places:
            shares[_part(place) or "rest"] += seconds
    total = sum(shares.values())
    return {part: seconds / total for part, seconds in shares.items()}


def _part(file: str) -> str | None:
    """The part that a file belongs to, or None."""
    path = file.replace("\\", "/")
    return next((name for name, files in PARTS.items() if any(f in path for f in files)), None)


def _roofline(report: dict[str, Any]) -> Any:
    """A roofline plot: flop/s by flop per byte, with the limits that a product and a copy reach on this machine."""
    records = [r for s in ("gemm", "conv") for r in report["sections"].get(s, []) if r.get("flops") and r.get("bytes")]
    if not records or "ceilings" not in report:
        return None
    compute, bandwidth = report["ceilings"]["flop/s"], report["ceilings"]["byte/s"]
    figure = _figure(6.2, 4.0)
    axes = figure.subplots()
    intensity = np.logspace(-1, 3, 100)
    label = f"ceilings: {compute / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.1f} GB/s"
    axes.loglog(intensity, np.minimum(compute, intensity * bandwidth) / 1e9, color="black", label=label)
    for column, marker in (("C", "o"), ("NumPy", "."), ("PyTorch", "x")):
        points = [
            (r["flops"] / r["bytes"], r["flops"] / best(r)[column][0] / 1e9) for r in records if column in best(r)
        ]
        if points:
            axes.loglog(*zip(*points, strict=True), marker, markersize=5, alpha=0.8, label=column)
    axes.set_xlabel("flop per byte of the operands")
    axes.set_ylabel("GFLOP/s")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def _growth(report: dict[str, Any]) -> Any:
    """The time and the peak memory of a training step by the number of pixels in a batch."""
    sections = {"times": report["sections"].get("growth", []), "MiB": report["sections"].get("memory", [])}
    found = {key: growth_points(records, key) for key, records in sections.items()}
    found = {key: series for key, series in found.items() if series}
    if not found:
        return None
    figure = _figure(4.4 * len(found), 3.4)
    for axes, (key, series) in zip(np.atleast_1d(figure.subplots(1, len(found))), found.items(), strict=True):
        for name, points in series.items():
            pixels, values = np.array(points).T
            axes.loglog(pixels, values * (1e3 if key == "times" else 1), marker="o", label=f"by {name}")
        axes.set_xlabel("pixels in a batch")
        axes.set_ylabel("step of the conv VAE, ms" if key == "times" else "peak memory of its steps, MiB")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure
