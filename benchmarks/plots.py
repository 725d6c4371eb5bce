"""Pictures of the results. matplotlib (extra `bench`) is imported when one is drawn."""

from __future__ import annotations

import cProfile
import pstats
from pathlib import Path
from typing import Any

import numpy as np

from . import cases
from .report import Record, best
from .steps import own_step
from .timing import Work, measure

PARTS = {
    "convolutions": ("kernels/cpu/conv.py", "kernels/cpu/correlate.py", "kernels/cpu/columns.py"),
    "dense products": ("kernels/cpu/matrix.py",),
    "likelihood and noise": ("kernels/cpu/likelihood.py", "kernels/cpu/random.py"),
    "quantisation": ("kernels/cpu/quantize.py", "minivae/nn/quantizer.py"),
    "optimiser": ("kernels/cpu/optim.py",),
    "element-wise": ("minivae/ops/",),
    "engine": ("minivae/autograd/",),
}


def draw(folder: Path, report: dict[str, Any]) -> list[str]:
    """All plots for which there are results; their files."""
    made = []
    for name, plot in (("steps", _steps), ("parts", _parts), ("roofline", _roofline), ("growth", _growth)):
        figure = plot(report["sections"])
        if figure is not None:
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(folder / f"{name}.png", dpi=110)
            made.append(f"{name}.png")
    return made


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'minivae[bench]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def _steps(sections: dict[str, list[Record]]) -> Any:
    """Time of a training step by batch size, a panel for each model."""
    records = [r for r in sections.get("steps", []) if "times" in r]
    if not records:
        return None
    models = list(dict.fromkeys(r["name"].partition(",")[0] for r in records))
    figure = _figure(3.6 * len(models), 3.2)
    for axes, model in zip(np.atleast_1d(figure.subplots(1, len(models))), models, strict=True):
        of_model = [r for r in records if r["name"].startswith(f"{model},")]
        for column in dict.fromkeys(c for r in of_model for c in best(r)):
            points = [(int(r["name"].split()[-1]), 1e3 * best(r)[column]) for r in of_model if column in best(r)]
            axes.loglog(*zip(*points, strict=True), marker="o", label=column)
        axes.set_title(model, fontsize=10)
        axes.set_xlabel("batch size")
        axes.set_xticks([r_batch for r_batch, _ in points], [str(r_batch) for r_batch, _ in points])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("training step, ms")
    figure.axes[0].legend(fontsize=8)
    return figure


def _parts(sections: dict[str, list[Record]]) -> Any:
    """Where the time of a NumPy step goes, by the files of the profile."""
    if not sections.get("steps"):
        return None
    figure = _figure(7.2, 2.6)
    axes = figure.subplots()
    shares = {name: _profile(case) for name, case in cases.MODELS.items()}
    left = np.zeros(len(shares))
    for part in (*PARTS, "rest"):
        widths = np.array([100 * share[part] for share in shares.values()])
        axes.barh(list(shares), widths, left=left, label=part)
        left += widths
    axes.invert_yaxis()
    axes.set_xlabel("share of a training step on NumPy, %, batch 32")
    axes.legend(fontsize=7, ncols=1, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _profile(case: cases.Model) -> dict[str, float]:
    step = own_step(case, cases.images(32, case.image_shape), "cpu")
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
        if file == "~":  # a built-in function or ufunc: its time goes to its callers
            places = [(caller[0], times[2]) for caller, times in callers.items()]
        for place, seconds in places:
            path = place.replace("\\", "/")
            part = next((name for name, files in PARTS.items() if any(f in path for f in files)), "rest")
            shares[part] += seconds
    total = sum(shares.values())
    return {part: seconds / total for part, seconds in shares.items()}


def ceilings() -> tuple[float, float]:
    """Of this very machine, now: flop/s of a large product, byte/s of a large copy."""
    a, b = (np.random.default_rng(i).random((1024, 1024), dtype=np.float32) for i in range(2))
    source, target = np.zeros(1 << 25, np.float32), np.zeros(1 << 25, np.float32)
    gemm = Work("gemm", {"NumPy": lambda: a @ b}, lambda: None)
    copy = Work("copy", {"NumPy": lambda: np.copyto(target, source)}, lambda: None)
    seconds = [measure(work, 5, 0.05)["NumPy"].median for work in (gemm, copy)]
    return 2 * 1024**3 / seconds[0], 2 * source.nbytes / seconds[1]


def _roofline(sections: dict[str, list[Record]]) -> Any:
    """flop/s against flop per byte, under what a product and a copy reach here."""
    records = [r for s in ("gemm", "conv") for r in sections.get(s, []) if r.get("flops") and r.get("bytes")]
    if not records:
        return None
    compute, bandwidth = ceilings()
    figure = _figure(6.2, 4.0)
    axes = figure.subplots()
    intensity = np.logspace(-1, 3, 100)
    label = f"ceilings: {compute / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.1f} GB/s"
    axes.loglog(intensity, np.minimum(compute, intensity * bandwidth) / 1e9, color="black", label=label)
    for column, marker in (("NumPy", "o"), ("PyTorch", "x")):
        points = [(r["flops"] / r["bytes"], r["flops"] / best(r)[column] / 1e9) for r in records if column in best(r)]
        if points:
            axes.loglog(*zip(*points, strict=True), marker, markersize=5, alpha=0.8, label=column)
    axes.set_xlabel("flop per byte of the operands")
    axes.set_ylabel("GFLOP/s")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def _growth(sections: dict[str, list[Record]]) -> Any:
    """Time of a step against the number of pixels in a batch."""
    records = [r for r in sections.get("growth", []) if "times" in r]
    if not records:
        return None
    figure = _figure(4.6, 3.4)
    axes = figure.subplots()
    for name in ("28x28", "batch 32"):
        points = []
        for record in records:
            if name in record["name"]:
                words = record["name"].replace(",", "").split()
                points.append((int(words[2].split("x")[0]) ** 2 * int(words[4]), 1e3 * best(record)["NumPy"]))
        label = "batch size, 28x28 pixels" if name == "28x28" else "image size, batch 32"
        axes.loglog(*zip(*sorted(points), strict=True), marker="o", label=label)
    axes.set_xlabel("pixels in a batch")
    axes.set_ylabel("step of the conv VAE, ms")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
