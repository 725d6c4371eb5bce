"""Agreement: what all ranks of a team must have in common before they train, and a check that they still have it.

Each rank makes the same steps on its own copy of the model. So all begin with the weights and the noise of rank 0, and
nothing that a step depends on may differ: versions, kernels, model, data, and, in the end, the weights.
"""

from __future__ import annotations

from platform import python_version
from typing import Any
from zlib import crc32

import numpy as np

from minivae.data.batches import Batches
from minivae.kernels import cpu_choice
from minivae.nn.module import Buffer, Module, Parameter
from minivae.random import Generator

from .team import Team
from .world import World


def agree(team: Team, model: Module, batches: Batches, generator: Generator, steps: int) -> None:
    """Give all ranks the weights, the noise and the order of rank 0.

    Raises ValueError if versions, kernels, the model or the data of a rank differ from those of rank 0; it says what.
    """
    world = team.world
    if world.size == 1:
        return
    tensors = _tensors(model)
    _compare(
        world,
        {
            "Python": python_version(),
            "NumPy": np.__version__,
            "kernels": cpu_choice().name,
            "model": type(model).__name__,
            "parameters": {name: tuple(t.shape) for name, t in tensors.items()},
            "batch size": batches.batch_size,
            "number of shards": team.shards,
            "data, by its digest": batches.digest,
            "number of steps done": steps,
        },
    )
    weights, noise, order = world.broadcast(
        (
            {name: tensor.numpy() for name, tensor in tensors.items()},
            generator.state_dict(),
            batches.state_dict(),
        )
    )
    for name, tensor in tensors.items():
        tensor.inplace()[...] = tensor.backend.asarray(weights[name])
    generator.load_state_dict(noise)
    batches.load_state_dict(order)


def check_weights_agree(world: World, model: Module) -> None:
    """Raise RuntimeError if the weights of a rank differ from those of rank 0."""
    if world.size > 1:
        found = {name: crc32(np.ascontiguousarray(t.numpy()).data) for name, t in _tensors(model).items()}
        try:
            _compare(world, found)
        except ValueError as error:
            raise RuntimeError(f"the ranks have drifted apart; are their processors of one kind? {error}") from None


def _tensors(model: Module) -> dict[str, Any]:
    return dict(model.named_tensors((Parameter, Buffer)))


def _compare(world: World, own: dict[str, Any]) -> None:
    """Raise ValueError, on all ranks, for what a rank has that differs from rank 0."""
    first, *others = world.gather(own)
    for rank, found in enumerate(others, 1):
        for name in first.keys() | found.keys():
            if first.get(name) != found.get(name):
                raise ValueError(
                    f"all ranks must have the same {name}: rank {rank} has {found.get(name)!r}, "
                    f"rank 0 has {first.get(name)!r}"
                )
