"""What is compared, and the page about it: tables, ratios, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import model
from .contenders import OWN, Contender, ddp, own

Report = dict[str, Any]
MODEL_BATCHES = (32, 64, 128, 256)  # of the line a + b B
RANKS = (1, 2, 4, 8, 16, 32, 64)  # of the model


class Ratio(NamedTuple):
    """How many times the step of `slow` takes that of `fast`. aim: the least wanted; if `most`, the most allowed."""

    text: str
    slow: Contender
    fast: Contender
    aim: float | None = None
    most: bool = False


STRONG = "Strong scaling, batch 128: times as fast as 1 rank x 1 thread"
WEAK = "Weak scaling: step of 1 rank / step of 2 ranks with twice the batch (1 is perfect)"
RATIOS = {
    STRONG: [
        Ratio("2 ranks, 4 shards; against 4 shards", own(shards=4), own(2, shards=4), 1.7),
        Ratio("2 ranks, 2 shards; against no shards", own(), own(2, shards=2)),
        Ratio("2 ranks, 4 shards; against no shards", own(), own(2, shards=4)),
        Ratio("2 ranks, 4 shards, by messages; against 4 shards", own(shards=4), own(2, shards=4, way="messages")),
        Ratio("2 ranks, 2 shards, by messages; against no shards", own(), own(2, shards=2, way="messages")),
        Ratio("2 threads, no shards; against no shards", own(), own(1, 2)),
        Ratio("2 threads, 4 shards; against 4 shards", own(shards=4), own(1, 2, shards=4)),
        Ratio("DistributedDataParallel, 2 ranks; against it with 1 rank", ddp(), ddp(2)),
        Ratio("DistributedDataParallel, 2 ranks; against PyTorch alone", ddp(way="alone"), ddp(2)),
        Ratio("PyTorch alone, 2 threads; against 1 thread", ddp(way="alone"), ddp(1, 2, way="alone")),
    ],
    "What the fixed shards cost: step with 4 shards / step with as many shards as ranks": [
        Ratio("1 rank", own(shards=4), own(), 1.1, True),
        Ratio("1 rank x 2 threads", own(1, 2, shards=4), own(1, 2), 1.1, True),
        Ratio("2 ranks", own(2, shards=4), own(2, shards=2), 1.1, True),
        Ratio("2 ranks, by messages", own(2, shards=4, way="messages"), own(2, shards=2, way="messages"), 1.1, True),
    ],
    WEAK: [
        Ratio("64 images a rank, 4 shards", own(batch=64, shards=4), own(2, shards=4)),
        Ratio("128 images a rank, 4 shards", own(shards=4), own(2, batch=256, shards=4)),
        Ratio("64 images a rank, as many shards as ranks", own(batch=64), own(2, shards=2)),
        Ratio("128 images a rank, as many shards as ranks", own(), own(2, batch=256, shards=2)),
        Ratio("DistributedDataParallel, 64 images a rank", ddp(batch=64), ddp(2)),
        Ratio("DistributedDataParallel, 128 images a rank", ddp(), ddp(2, batch=256)),
    ],
    "Sending while computing, 2 ranks, 4 shards, by messages: blocking step / overlapping step (above 1 it pays)": [
        Ratio("the first shard's gradient", own(2, shards=4, way="blocking"), own(2, shards=4, way="shard")),
        Ratio("two buckets", own(2, shards=4, way="blocking"), own(2, shards=4, way="buckets")),
    ],
    "minivae and PyTorch, batch 128: PyTorch's step / minivae's": [
        Ratio("1 rank x 1 thread", ddp(way="alone"), own()),
        Ratio("1 rank x 1 thread; DistributedDataParallel, 4 shards", ddp(), own(shards=4)),
        Ratio("2 ranks; DistributedDataParallel, 4 shards", ddp(2), own(2, shards=4)),
    ],
}
PARTS = own(2, shards=4, way="parts")
CONTENDERS = list(
    dict.fromkeys(
        [c for ratios in RATIOS.values() for r in ratios for c in (r.slow, r.fast)]
        + [PARTS]
        + [own(batch=batch) for batch in MODEL_BATCHES]
    )
)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The median and the quartiles."""
    median, low, high = map(float, np.percentile(values, (50, 25, 75)))
    return median, low, high


def ratio(report: Report, of: Ratio) -> tuple[float, float, float] | None:
    """The median and the quartiles of the ratios of all rounds; None if a side was left out."""
    slow, fast = (report["seconds"].get(c.name) for c in (of.slow, of.fast))
    return quartiles(np.divide(slow, fast)) if slow and fast else None


def markdown(report: Report, plotted: bool) -> str:
    """The text of SCALING.md."""
    machine = report["machine"]
    text = ["# Scaling", "", "`python -m benchmarks.scaling` writes this page. Do not edit it by hand.", ""]
    text += [f"* {name}: {value}" for name, value in machine.items()]
    text += [f"* left out: {name}: {why}" for name, why in report["left out"].items()]
    text += [
        "",
        f"Whole training steps of the default `VAE(arch='conv')`, {report['weights']:,} weights, with Adam, as `fit()`",
        "does them; PyTorch's twin with fused Adam in channels_last. `2x1` is 2 ranks with 1 thread each. Ranks of one",
        "machine sum by shared memory unless it says *messages*. All contenders took turns in the same rounds,",
        "while the others slept; a cell shows the median with the quartiles in brackets, and ratios are medians of",
        "the ratios within a round.",
    ]
    if plotted:
        text += ["", "![scaling](results/scaling.png)"]
    for title, ratios in RATIOS.items():
        text += ["", f"## {title.partition(':')[0]}", "", f"{title}.", "", "| | ratio | aim |", "|---|---|---|"]
        text += [f"| {of.text} | {_ratio(report, of)} |" for of in ratios]
    text += _parts(report) + _model(report) + ["", "## All times", "", "| | step |", "|---|---|"]
    text += [f"| {name} | {_ms(quartiles(values))} |" for name, values in report["seconds"].items()]
    return "\n".join(text) + "\n"


def _ratio(report: Report, of: Ratio) -> str:
    found = ratio(report, of)
    if found is None:
        return "not measured | "
    median, low, high = found
    aim = ""
    if of.aim is not None:
        reached = median <= of.aim if of.most else median >= of.aim
        aim = f"{'at most' if of.most else 'at least'} {of.aim:g}: {'reached' if reached else 'not reached'}"
    return f"{median:.2f} [{low:.2f}, {high:.2f}] | {aim}"


def _ms(spread: tuple[float, float, float]) -> str:
    median, low, high = (1e3 * value for value in spread)
    return f"{median:.2f} ms [{low:.2f}, {high:.2f}]"


def parts(report: Report) -> dict[str, float]:
    """The median seconds of each part of a step of rank 0 of two, {} if they were not measured."""
    rounds = report["parts"].get(PARTS.name, [])
    return {name: float(np.median([of[name] for of in rounds])) for name in (rounds[0] if rounds else {})}


def _parts(report: Report) -> list[str]:
    found = parts(report)
    if not found:
        return []
    whole = float(np.median(report["seconds"][PARTS.name]))
    rows = {**found, "the rest": whole - sum(found.values())}
    text = [
        "",
        "## The parts of a step",
        "",
        "2 ranks, 4 shards, shared memory, as rank 0 sees it. *Adding up* is of its own",
    ]
    text += [
        "two shards; *waiting* is for the other rank at the sum. An overlap could hide the sum of the ranks at most.",
        "",
    ]
    text += ["| part | time | share |", "|---|---|---|"]
    return text + [f"| {name} | {1e3 * s:.2f} ms | {100 * s / whole:.1f}% |" for name, s in rows.items()]


# ---- the model ----


def compute(report: Report) -> model.Compute | None:
    """What the model takes from the measurements; None if they lack something."""
    seconds, found = report["seconds"], parts(report)
    if not found or any(own(batch=b).name not in seconds for b in MODEL_BATCHES):
        return None
    medians = [float(np.median(seconds[own(batch=b).name])) for b in MODEL_BATCHES]
    weights = report["weights"]
    return model.Compute(*model.fit(MODEL_BATCHES, medians), found["sum of the ranks"] / (weights / 2), weights)


CURVES = (("batch 128", 128, False), ("batch 2,048", 2048, False), ("128 images a rank", 128, True))


def _model(report: Report) -> list[str]:
    of = compute(report)
    if of is None:
        return []
    text = [
        "",
        "## A model of many machines",
        "",
        "**This is a model and no measurement**: `benchmarks/scaling/model.py`,",
        "",
    ]
    text += ["    T(R) = a + b B / R + 2 (R - 1) (L + 4 P / (R W)) + g P (R - 1) / R", ""]
    text += [
        f"for R ranks of one core of this machine, measured: a = {1e3 * of.fixed:.2f} ms, b = {1e6 * of.image:.0f} us,"
    ]
    text += [f"g = {1e9 * of.addition:.2f} ns for each of P = {of.weights:,} weights. Assumed:"]
    text += [
        "; ".join(f"{n.name} with L = {1e6 * n.latency:g} us, W = {n.bandwidth / 1e9:g} GB/s" for n in model.NETWORKS)
        + "."
    ]
    text += ["Times as fast as one rank; of a batch that grows with the ranks, times as many images a second:", ""]
    text += [f"| | {' | '.join(f'{r} ranks' if r > 1 else '1 rank' for r in RANKS)} |", "|---" * (len(RANKS) + 1) + "|"]
    for network in model.NETWORKS:
        for label, batch, grows in CURVES:
            cells = [f"{gain:.1f}" for gain in gains(of, network, batch, grows)]
            text.append(f"| {network.name}, {label} | {' | '.join(cells)} |")
    return text


def gains(of: model.Compute, network: model.Network, batch: int, grows: bool) -> list[float]:
    """How many times as many images a second R ranks train as one. grows: the batch is that of one rank, times R."""
    one = model.step(1, batch, of, network)
    return [one * (r if grows else 1) / model.step(r, batch * (r if grows else 1), of, network) for r in RANKS]


# ---- the picture ----


def draw(report: Report, path: Path) -> bool:
    """Draw ratios of scaling, and the model. Return whether it was drawn: not without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(15, 3.6), layout="constrained")
    strong, weak, curves = figure.subplots(1, 3)
    _bars(strong, report, STRONG, "measured: times as fast as 1x1, batch 128")
    strong.axvline(1.7, color="black", linewidth=0.8, linestyle=":")
    _bars(weak, report, WEAK, "measured: time of 1 rank / of 2 with twice the batch")
    if (of_here := compute(report)) is not None:
        for network, style in zip(model.NETWORKS, ("--", "-"), strict=True):
            for (label, batch, grows), color in zip(CURVES, ("tab:red", "tab:green", "tab:blue"), strict=True):
                name = f"{label}, {network.name}"
                curves.loglog(RANKS, gains(of_here, network, batch, grows), style, color=color, label=name)
    curves.plot(RANKS, RANKS, color="black", linewidth=0.8, linestyle=":", label="proportional")
    curves.set_xticks(RANKS, map(str, RANKS))
    curves.set_xlabel("ranks, each one core of this machine")
    curves.set_title("a MODEL: times as many images/s", fontsize=9)
    curves.legend(fontsize=6)
    figure.savefig(path, dpi=90)
    return True


def _bars(axes: Any, report: Report, title: str, short: str) -> None:
    """The ratios of a section, minivae's in blue and PyTorch's in orange."""
    ratios = [(of, found) for of in RATIOS[title] if (found := ratio(report, of))]
    for place, (of, (median, low, high)) in enumerate(ratios):
        color = "tab:blue" if of.fast.kind == OWN else "tab:orange"
        axes.barh(place, median, xerr=[[median - low], [high - median]], color=color, alpha=0.8)
    axes.set_yticks(range(len(ratios)), [of.text for of, _ in ratios], fontsize=7)
    axes.invert_yaxis()
    axes.set_title(short, fontsize=9)
