"""A process of a contender of minivae: it trains as fit() does, and sleeps between its turns.

python -m benchmarks.scaling.train_minivae CONTENDER PORT        (or under mpiexec; the driver starts it)
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

import minivae as mv
from benchmarks.cases import images
from minivae.data.batches import Batches
from minivae.kernels.contract import Array
from minivae.models import VAE
from minivae.training import team as teams
from minivae.training.loop import Trainer

from .contenders import Contender, Ended, Turns

IMAGES = 2**14  # in an epoch


class Model(VAE):
    """The default convolutional VAE, whose steps wait for their turn."""

    turns: Turns

    def before_step(self, step: int, steps: int) -> None:
        super().before_step(step, steps)
        self.turns.before_step()


def main() -> None:
    contender, turns = Contender(*json.loads(sys.argv[1])), Turns(int(sys.argv[2]))
    mv.manual_seed(0)
    model = Model(arch="conv")
    model.turns = turns
    with suppress(Ended):
        trainer(contender, model).run(10**6)


def trainer(contender: Contender, model: Model) -> Trainer:
    """The Trainer of a contender."""
    batches, optimizer = Batches(images(IMAGES, (1, 28, 28)), contender.batch), mv.optim.Adam(model.parameters(), 1e-3)
    if contender.way in ("blocking", "shard", "buckets"):
        from .exchange import EXCHANGES

        return EXCHANGES[contender.way](model, optimizer, batches, shards=contender.shards)
    made = Trainer(model, optimizer, batches, shards=contender.shards)
    if contender.way == "messages":
        from minivae.training.mpi import MpiWorld

        made.team = teams.Team(MpiWorld(shared=False), contender.shards)
    elif contender.way == "parts":
        _watch(made, model.turns.parts)
    return made


def _watch(made: Trainer, parts: dict[str, float]) -> None:
    """Measure the parts of each step, by clocks around the functions that do them."""
    team, world = made.team, made.team.world
    parts.update(dict.fromkeys(("forward and backward", "waiting", "sum of the ranks", "adding up", "optimiser"), 0.0))
    total = world.sum

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            start = time.perf_counter()
            result = function(*args)
            parts[name] += time.perf_counter() - start
            return result

        return call

    wait, add = timed("waiting", world.comm.Barrier), timed("sum of the ranks", total)  # type: ignore[attr-defined]

    def summed(array: Array) -> Array:
        if np.size(array) < 1000:  # the loss
            return total(array)
        wait()
        return add(array)

    def add_up(gradients: Sequence[Any]) -> None:
        before = parts["waiting"] + parts["sum of the ranks"]
        all_of_it(gradients)
        parts["adding up"] -= parts["waiting"] + parts["sum of the ranks"] - before

    all_of_it = timed("adding up", team.add_up)
    for owner, name, function in (
        (world, "sum", summed),
        (team, "each", timed("forward and backward", team.each)),
        (team, "add_up", add_up),
        (made.optimizer, "step", timed("optimiser", made.optimizer.step)),
    ):
        setattr(owner, name, function)


if __name__ == "__main__":
    main()
