"""Networks as a user writes them, images for them, and a model's weights."""

import numpy as np
from strategies import numbers

import minivae as mv
from minivae import nn

SHAPE, D = (1, 4, 4), 2
FIT = {"epochs": 2, "batch_size": 8, "lr": 1e-2}


def images(n=30, seed=0, dtype=np.float32):
    return numbers(n, *SHAPE, seed=seed, low=0, high=1, dtype=dtype)


class Encoder(nn.Module):
    """Written by a user: any Module that makes (N, outputs) of images."""

    def __init__(self, outputs, width=5):
        self.hidden, self.output = nn.Linear(16, width), nn.Linear(width, outputs)

    def forward(self, x):
        return self.output(mv.functional.tanh(self.hidden(mv.functional.flatten(x, 1))))


def decoder(inputs=D, shape=SHAPE):
    return nn.Sequential(nn.Linear(inputs, 6), nn.Tanh(), nn.Linear(6, int(np.prod(shape))), nn.Unflatten(shape))


def weights(module):
    return {name: array.tobytes() for name, array in module.state_dict().items()}
