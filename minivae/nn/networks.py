"""The encoders and decoders that the models share, dense and convolutional, for images (C, H, W).

A convolutional encoder halves the image with each layer and a decoder doubles it again. With channels (32, 64), one
dense layer of 256 and 16 outputs, shapes go

    encoder  (N, 1, 28, 28) -> (N, 32, 14, 14) -> (N, 64, 7, 7) -> (N, 3136) -> (N, 256) -> (N, 16)
    decoder  (N, 16) -> (N, 256) -> (N, 3136) -> (N, 64, 7, 7) -> (N, 32, 14, 14) -> (N, 1, 28, 28)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from minivae.kernels.checks import choice, integer, integers

from .containers import Sequential
from .layers import Conv2d, ConvTranspose2d, Flatten, Linear, ReLU, Unflatten
from .module import Module

ImageShape = tuple[int, int, int]


def check_architecture(
    image_shape: Sequence[int],
    latent_dim: int,
    arch: str,
    channels: Sequence[int] | None,
    hidden: Sequence[int] | None,
) -> None:
    """Raise ValueError or TypeError for arguments of which no encoder and decoder can be made."""
    check_image_shape(image_shape)
    integer("latent_dim", latent_dim, 1)
    choice("arch", arch, ("conv", "dense"))
    if hidden is not None:
        integers("hidden", hidden, 1)
    if channels is not None:
        integers("channels", channels, 1)
    if arch == "dense" and channels is not None:
        raise ValueError(f"channels belong to arch='conv', got {channels} for arch='dense'")


def check_image_shape(image_shape: Sequence[int]) -> ImageShape:
    """Return (C, H, W) as ints. ValueError unless they are three ints of at least 1, TypeError for other types."""
    C, H, W = integers("image_shape (C, H, W)", image_shape, 1, count=3)
    return C, H, W


def dense(sizes: Sequence[int]) -> list[Module]:
    """Linear layers of sizes[0] inputs and sizes[1], sizes[2], ... outputs, with a ReLU after each but the last."""
    layers: list[Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [Linear(inputs, outputs), ReLU()]
    return layers[:-1]


def dense_encoder(image_shape: ImageShape, hidden: Sequence[int], outputs: int) -> Sequential:
    """A network (N, C, H, W) -> (N, outputs) of linear layers, with `hidden` units between them."""
    return Sequential(Flatten(), *dense([prod(image_shape), *hidden, outputs]))


def dense_decoder(image_shape: ImageShape, hidden: Sequence[int], inputs: int) -> Sequential:
    """A network (N, inputs) -> (N, C, H, W), the encoder's mirror image: `hidden` is read from its end."""
    return Sequential(*dense([inputs, *reversed(hidden), prod(image_shape)]), Unflatten(image_shape))


def halved(size: int) -> int:
    """The height or width after a 4x4 convolution of stride 2 and padding 1: floor((size + 2 - 4) / 2) + 1."""
    return size // 2


def conv_sizes(image_shape: ImageShape, channels: Sequence[int]) -> list[ImageShape]:
    """The image's shape before and after each strided convolution. ValueError if a length would become 0."""
    shapes = [image_shape]
    for c in channels:
        _, H, W = shapes[-1]
        if min(H, W) < 2:
            raise ValueError(f"images {image_shape} are too small for {len(channels)} convolutions of stride 2")
        shapes.append((c, halved(H), halved(W)))
    return shapes


def conv_encoder(image_shape: ImageShape, channels: Sequence[int], hidden: Sequence[int], outputs: int) -> Sequential:
    """A network (N, C, H, W) -> (N, outputs): 4x4 convolutions that halve the image, then dense layers.

    The kernels are 4 wide because the stride, 2, divides that: each pixel is then seen by equally many windows, and the
    transposed convolutions of the decoder leave no checkerboard (Odena, Dumoulin & Olah 2016).
    """
    shapes = conv_sizes(image_shape, channels)
    layers: list[Module] = []
    for before, after in pairwise(shapes):
        layers += [Conv2d(before[0], after[0], 4, stride=2, padding=1), ReLU()]  # (N, *after)
    return Sequential(*layers, Flatten(), *dense([prod(shapes[-1]), *hidden, outputs]))


def conv_decoder(image_shape: ImageShape, channels: Sequence[int], hidden: Sequence[int], inputs: int) -> Sequential:
    """A network (N, inputs) -> (N, C, H, W), the encoder's mirror image; output_padding restores odd lengths."""
    shapes = conv_sizes(image_shape, channels)
    layers: list[Module] = [*dense([inputs, *reversed(hidden), prod(shapes[-1])]), ReLU(), Unflatten(shapes[-1])]
    for small, large in zip(reversed(shapes[1:]), reversed(shapes[:-1]), strict=True):
        odd = (large[1] - 2 * small[1], large[2] - 2 * small[2])
        layers += [ConvTranspose2d(small[0], large[0], 4, stride=2, padding=1, output_padding=odd), ReLU()]
    return Sequential(*layers[:-1])


CHANNELS = (32, 64)  # of the strided convolutions, unless given


def encoder_for(
    arch: str, image_shape: ImageShape, channels: Sequence[int] | None, hidden: Sequence[int], outputs: int
) -> Sequential:
    """(N, C, H, W) -> (N, outputs), by the architecture's name: 'conv' or 'dense'."""
    if arch == "conv":
        return conv_encoder(image_shape, CHANNELS if channels is None else channels, hidden, outputs)
    return dense_encoder(image_shape, hidden, outputs)


def decoder_for(
    arch: str, image_shape: ImageShape, channels: Sequence[int] | None, hidden: Sequence[int], inputs: int
) -> Sequential:
    """(N, inputs) -> (N, C, H, W): the mirror image of encoder_for()."""
    if arch == "conv":
        return conv_decoder(image_shape, CHANNELS if channels is None else channels, hidden, inputs)
    return dense_decoder(image_shape, hidden, inputs)
