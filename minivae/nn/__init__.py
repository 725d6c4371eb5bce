"""Neural networks: the layers, the Module that they are built on, and what models are made of.

module.py       Module, Parameter and Buffer: the tree of layers and its state
layers.py       the layers             containers.py   Sequential and ModuleList
conv1d.py       convolutions of signals, plain, causal and transposed
init.py         initial weights        networks.py     encoders and decoders that the models share
likelihoods.py  what a decoder's output means, nats and bits per dimension
mu_law.py       the likelihood of 8-bit mu-law sounds      categorical.py  draws by logits
quantizers/     what makes codes of latents: of the VQ-VAE, residual and finite scalar ones
"""

from .containers import ModuleList, Sequential
from .conv1d import CausalConv1d, Conv1d, ConvTranspose1d
from .layers import (
    GELU,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Embedding,
    Flatten,
    GroupNorm,
    LeakyReLU,
    Linear,
    MaxPool2d,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
    Unflatten,
    Upsample,
)
from .module import Buffer, Module, Parameter
from .quantizers import FiniteScalarQuantizer, Quantized, Quantizer, ResidualVectorQuantizer, VectorQuantizer

__all__ = [
    "GELU",
    "BatchNorm2d",
    "Buffer",
    "CausalConv1d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "Dropout",
    "Embedding",
    "FiniteScalarQuantizer",
    "Flatten",
    "GroupNorm",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "Parameter",
    "Quantized",
    "Quantizer",
    "ReLU",
    "ResidualVectorQuantizer",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "Unflatten",
    "Upsample",
    "VectorQuantizer",
]
