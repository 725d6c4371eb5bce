"""Measure how the training of the conv VAE scales with ranks and threads, beside DistributedDataParallel.

    python -m benchmarks.scaling               about 5 minutes; writes benchmarks/SCALING.md, results/scaling.json, .png
    python -m benchmarks.scaling --quick       under 1.5 minutes; writes to runs/scaling/, as does any --out FOLDER

All contenders are started once; then, in each round and in a new order, each makes steps for a fraction of a second
while all others sleep. Ratios are those of one round, so that a disturbance of the machine affects both sides of them.
It needs an mpiexec and mpi4py for several ranks, and PyTorch for its part; what does not start is left out, and named.
The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import backends
from benchmarks.timing import SETTLE
from minivae.models import VAE
from minivae.training.checkpoint import atomic_write

from . import page
from .contenders import Contender, Team

HERE = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contender")
    parser.add_argument("--seconds", type=float, default=0.35, help="of a turn")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.1 s")
    parser.add_argument("--out", type=Path, help="folder of SCALING.md and results/")
    args = parser.parse_args()
    rounds, seconds = (3, 0.1) if args.quick else (args.rounds, args.seconds)
    out = args.out or (Path("runs/scaling") if args.quick else HERE)
    report: dict[str, Any] = {"machine": backends.machine() | {"cores": len(os.sched_getaffinity(0))}}
    report["machine"].pop("left out")
    report["weights"] = sum(p.size for p in VAE(arch="conv").parameters())
    with tempfile.TemporaryDirectory() as scratch:
        report |= measure(page.CONTENDERS, rounds, seconds, Path(scratch))
    (out / "results").mkdir(parents=True, exist_ok=True)
    text = json.dumps(report) + "\n"
    atomic_write(out / "results" / "scaling.json", lambda file: file.write(text.encode()))
    plotted = page.draw(report, out / "results" / "scaling.png")
    written = page.markdown(report, plotted)
    atomic_write(out / "SCALING.md", lambda file: file.write(written.encode()))
    print(written)


def measure(contenders: list[Contender], rounds: int, seconds: float, scratch: Path) -> dict[str, Any]:
    """Start the contenders and time them in turns. Return the seconds of a step and of its parts, by round."""
    teams: list[Team] = []
    missing: dict[str, str] = {}
    try:
        for contender in contenders:
            try:
                teams.append(Team(contender, scratch))
            except (OSError, RuntimeError) as error:
                missing[contender.name] = str(error)
                print(f"left out: {contender.name}: {error}", file=sys.stderr)
        steps = {team: max(2, round(seconds / team.turn(3)[0])) for team in teams}
        times: dict[str, list[float]] = {team.contender.name: [] for team in teams}
        parts: dict[str, list[dict[str, float]]] = {name: [] for name in times}
        order = random.Random(0)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            for team in order.sample(teams, len(teams)):
                time.sleep(SETTLE)
                whole, its_parts = team.turn(steps[team])
                times[team.contender.name].append(whole)
                parts[team.contender.name].append(its_parts)
    finally:
        for team in teams:
            team.end()
    return {"seconds": times, "parts": {k: v for k, v in parts.items() if any(v)}, "left out": missing}


if __name__ == "__main__":
    main()
