"""The figures beside the README files of the floors, made from the code itself.

`python -m minivae.learn.figures`, in a checkout, draws all of them. A figure has two halves: one runs minivae's own
code and returns what it found, numbers and names alone; the other draws them. What was found is also written into the
PNG, as JSON in its text field `Description`, so that a test can compare a picture with what the code does today.

    backward.png         minivae/learn/       the backward pass of c = a * (a + a), node by node         engine.py
    im2col.png           kernels/reference/   the patches of a 4 x 4 image as a matrix                    convolution.py
    phases.png           kernels/reference/   the phases of a 4 x 4 kernel with stride 2                  convolution.py
    tile.png             kernels/cuda/        one thread block's tile, round by round                     block.py
    gradient_flow.png    minivae/models/      which term of the VQ-VAE's loss moves what                  quantised.py
    stacks.png           minivae/models/      what one masked stack and the two of a PixelCNN see         stacks.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minivae.figures import DPI
from minivae.training.checkpoint import atomic_write

from . import block, convolution, engine, quantised, stacks
from .sheet import UNIT, Sheet

COLOURS = 128


class Picture(NamedTuple):
    """One figure. path: in a checkout. size: width and height, see sheet.py. find() returns what draw() draws."""

    path: str
    size: tuple[float, float]
    find: Callable[[], dict[str, Any]]
    draw: Callable[[Sheet, dict[str, Any]], None]


PICTURES = (
    Picture("minivae/learn/pictures/backward.png", engine.SIZE, engine.find, engine.draw),
    Picture("kernels/reference/pictures/im2col.png", convolution.IM2COL, convolution.find_im2col, convolution.im2col),
    Picture("kernels/reference/pictures/phases.png", convolution.PHASES, convolution.find_phases, convolution.phases),
    Picture("kernels/cuda/pictures/tile.png", block.SIZE, block.find, block.draw),
    Picture("minivae/models/pictures/gradient_flow.png", quantised.SIZE, quantised.find, quantised.draw),
    Picture("minivae/models/pictures/stacks.png", stacks.SIZE, stacks.find, stacks.draw),
)


def save(picture: Picture, root: str | Path) -> Sheet:
    """Draw a picture below the folder `root`, and return its sheet. Raises ImportError without matplotlib, OSError.

    The PNG has a palette of 128 colours, which makes it a third as large as it would be otherwise.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from PIL import Image, PngImagePlugin
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'minivae[cli]'") from error
    found = picture.find()
    sheet = Sheet(Figure(figsize=(picture.size[0] * UNIT, picture.size[1] * UNIT), dpi=DPI))
    picture.draw(sheet, found)
    canvas = FigureCanvasAgg(sheet.figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(COLOURS)
    text = PngImagePlugin.PngInfo()
    text.add_text("Description", json.dumps(found))
    path = Path(root) / picture.path
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, lambda file: image.save(file, format="png", optimize=True, pnginfo=text))
    return sheet
