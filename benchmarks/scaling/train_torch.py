"""A process of a contender of PyTorch: the same network, batch and optimiser, with DistributedDataParallel over gloo.

python -m benchmarks.scaling.train_torch CONTENDER PORT FILE RANK        (the driver starts it)
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch import distributed, nn

import minivae as mv
from benchmarks.cases import images
from benchmarks.twins import VAETwin, twin

from .contenders import Contender, Ended, Turns
from .train_minivae import IMAGES


class Loss(nn.Module):
    """A network whose result is its loss, as DistributedDataParallel watches the call of a module."""

    def __init__(self, net: VAETwin) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net.loss(x)


def main() -> None:
    contender, turns = Contender(*json.loads(sys.argv[1])), Turns(int(sys.argv[2]))
    file, rank = sys.argv[3], int(sys.argv[4])
    torch.set_num_threads(contender.threads)
    mv.manual_seed(0)
    net: Any = Loss(twin(mv.models.VAE(arch="conv"), channels_last=True))
    if contender.way == "ddp":
        distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=contender.ranks)
        net = nn.parallel.DistributedDataParallel(net)
    net.train()
    try:
        train(net, contender, rank, turns)
    except Ended:
        if contender.way == "ddp":
            distributed.destroy_process_group()


def train(net: Any, contender: Contender, rank: int, turns: Turns) -> None:
    """Train until the driver ends it: epoch after epoch in a new order, each rank with its part of every batch."""
    x = torch.from_numpy(images(IMAGES, (1, 28, 28)))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    generator, part, losses = torch.Generator().manual_seed(0), contender.batch // contender.ranks, 0.0
    while True:
        for batch in torch.randperm(len(x), generator=generator).split(contender.batch):
            turns.before_step()
            optimizer.zero_grad(set_to_none=True)
            loss = net(x[batch[rank * part : (rank + 1) * part]])
            loss.backward()
            optimizer.step()
            losses += loss.item()


if __name__ == "__main__":
    main()
