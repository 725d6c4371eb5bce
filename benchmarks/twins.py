"""The twins: the models in PyTorch, with the same layers, the same loss, and weights of the same names.

A twin is written as a user of PyTorch would write it: with layers of torch.nn, losses of torch.nn.functional and fused
Adam. It copies the weights of a model. It is timed only after its loss and gradients have been found equal to those of
the model up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from minivae import models
from minivae import nn as ours
from minivae.models.vqvae import ResidualBlock

Net = Any


class Residual(nn.Module):
    """The twin of minivae.models.vqvae.ResidualBlock."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.conv, self.project = layer(block.conv), layer(block.project)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.project(F.relu(self.conv(F.relu(x))))


def layer(module: ours.Module) -> nn.Module:
    """The twin of a layer or of a Sequential; TypeError for a layer that has none."""
    if isinstance(module, ours.Sequential):
        return nn.Sequential(*(layer(child) for _, child in module.named_children()))
    if isinstance(module, ours.Linear):
        return nn.Linear(module.weight.shape[1], module.weight.shape[0], module.bias is not None)
    if isinstance(module, (ours.Conv2d, ours.ConvTranspose2d)):
        m: Any = module
        options = {"stride": m.stride, "padding": m.padding, "dilation": m.dilation, "groups": m.groups}
        if isinstance(module, ours.ConvTranspose2d):
            options["output_padding"] = m.output_padding
        kind = nn.Conv2d if isinstance(module, ours.Conv2d) else nn.ConvTranspose2d
        return kind(m.in_channels, m.out_channels, m.kernel_size, bias=m.bias is not None, **options)
    if isinstance(module, ResidualBlock):
        return Residual(module)
    if isinstance(module, ours.ReLU):
        return nn.ReLU()
    if isinstance(module, ours.Flatten):
        return nn.Flatten()
    if isinstance(module, ours.Unflatten):
        return nn.Unflatten(1, tuple(module.shape))
    raise TypeError(f"no twin for a {type(module).__name__}")


class VAETwin(nn.Module):
    """The twin of minivae.models.VAE with Bernoulli pixels."""

    def __init__(self, model: models.VAE) -> None:
        super().__init__()
        self.encoder, self.decoder = layer(model.encoder), layer(model.decoder)

    def loss(self, x: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        mu, log_var = self.encoder(x).chunk(2, dim=1)
        noise = torch.randn_like(mu) if noise is None else noise
        z = mu + torch.exp(log_var / 2) * noise
        nll = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = -0.5 * torch.sum(1 + log_var - mu**2 - log_var.exp())
        return (nll + kl) / len(x)


class VQVAETwin(nn.Module):
    """The twin of minivae.models.VQVAE with Bernoulli pixels, and a codebook of moving averages without restarts."""

    def __init__(self, model: models.VQVAE) -> None:
        super().__init__()
        self.encoder, self.decoder = layer(model.encoder), layer(model.decoder)
        self.decay, self.commitment, self.eps = model.decay, model.commitment, model.quantizer.eps
        for name in ("codebook", "counts", "sums"):
            self.register_buffer(name, torch.from_numpy(getattr(model.quantizer, name).numpy()))

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        z = self.encoder(x)  # (N, D, h, w)
        rows = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        with torch.no_grad():
            half_norms = self.codebook.pow(2).sum(1) / 2
            index = (half_norms - rows @ self.codebook.T).argmin(1)
            codes = self.codebook[index]
        commitment = self.commitment * (rows - codes).pow(2).sum(1).mean()
        if self.training:
            self._learn(rows.detach(), index)
        quantized = rows + (codes - rows).detach()
        quantized = quantized.reshape(z.shape[0], *z.shape[2:], z.shape[1]).permute(0, 3, 1, 2)
        nll = F.binary_cross_entropy_with_logits(self.decoder(quantized), x, reduction="sum") / len(x)
        return nll + commitment

    @torch.no_grad()
    def _learn(self, rows: torch.Tensor, index: torch.Tensor) -> None:
        one_hot = F.one_hot(index, len(self.counts)).to(rows.dtype)
        self.counts.mul_(self.decay).add_(one_hot.sum(0), alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(one_hot.T @ rows, alpha=1 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + self.eps) / (total + len(self.counts) * self.eps) * total
        self.codebook.copy_(self.sums / smoothed[:, None])


def twin(model: Any, device: str = "cpu", channels_last: bool = False) -> Net:
    """The twin of a model, with a copy of its weights."""
    net = (VAETwin if isinstance(model, models.VAE) else VQVAETwin)(model)
    state = {name: torch.from_numpy(array) for name, array in model.state_dict().items()}
    known = {name for name, _ in net.named_parameters()}
    net.load_state_dict({name: state[name] for name in known}, strict=False)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return net.to(device=device, memory_format=layout)


def check_equal(model: Any, x: np.ndarray, tolerance: float = 2e-4) -> None:
    """Raise ValueError unless the loss and the gradients of the model and of its twin agree on x up to rounding."""
    net = twin(model)
    model.train()
    noise = {}
    if isinstance(model, models.VAE):
        from minivae.kernels import reference
        from minivae.kernels.contract import Noise

        named = Noise(0, 0)
        noise = {"noise": named}
        eps = torch.from_numpy(reference.normal((len(x), model.latent_dim), np.float32, named))
        loss = net.loss(torch.from_numpy(x), eps)
    else:
        loss = net.loss(torch.from_numpy(x))
    loss.backward()
    model.zero_grad()
    result = model.loss(x, **noise)
    result.loss.backward()
    _same("the loss", float(result.loss), loss.item(), tolerance)
    for name, parameter in net.named_parameters():
        mine = dict(model.named_parameters())[name].grad
        _same(name, np.asarray(mine), parameter.grad.numpy(), tolerance)


def _same(name: str, mine: Any, theirs: Any, tolerance: float) -> None:
    error = float(np.abs(mine - theirs).max() / max(1e-12, float(np.abs(theirs).max())))
    if not error <= tolerance:
        raise ValueError(f"{name} differs from PyTorch's by {error:.2g} of its size, at most {tolerance:g} is allowed")


def training_step(net: Net, batch: torch.Tensor, compiled: bool = False) -> Callable[[], torch.Tensor]:
    """A function that does one training step of a twin with fused Adam.

    compiled: the loss goes through torch.compile, on a GPU with CUDA graphs.
    """
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True, capturable=compiled and batch.is_cuda)
    loss_of = torch.compile(net.loss, mode="reduce-overhead" if batch.is_cuda else "default") if compiled else net.loss

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(batch)
        loss.backward()
        optimizer.step()
        return loss

    return step
