"""The codes of one image as a list of maps (h, w), whatever the model: one map of a VQ-VAE with one codebook, a map for
each stage of a residual quantiser, the top and the bottom map of a VQ-VAE-2, a map for each frame of a clip, and one
map of one row of a sound."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from minivae.kernels import checks

MOST_PICTURES = 512  # of codes in a codebook that are drawn
OnCode = Callable[[int, int, int, int], object]  # of map, row, column, code


class Level(NamedTuple):
    """One map of codes: its name, its shape (h, w), and the number of values of a code."""

    name: str
    shape: tuple[int, int]
    codes: int


class CodeMaps:
    """It converts between the codes of a model and lists of maps.

    levels: what the maps are. books: which codebook each of them has its codes from; the frames of a clip share one.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.two_levels, self.framed = model, hasattr(model, "top_shape"), hasattr(model, "frame_map")
        if self.two_levels:
            top = Level("top", tuple(model.top_shape), model.top_codes)
            self.levels = [top, Level("bottom", tuple(model.code_shape), model.codes)]
        else:
            *several, h, w = model.code_shape
            kind = "frame" if self.framed else "stage"
            names = [f"{kind} {s + 1}" for s in range(several[0])] if several else ["codes"]
            self.levels = [Level(name, (h, w), model.quantizer.codes) for name in names]
        self.stacked = not self.two_levels and len(model.code_shape) == 3
        self.books = [0 if self.framed else index for index in range(len(self.levels))]

    def shelf(self) -> list[tuple[str, list[int]]]:
        """Return the name of each codebook and the levels whose codes are from it."""
        if self.framed:
            return [("all frames", list(range(len(self.levels))))]
        return [(level.name, [index]) for index, level in enumerate(self.levels)]

    def split(self, codes: Any) -> list[np.ndarray]:
        """Return the codes of N images, as encode() gives them, as one array (N, h, w) for each level."""
        if self.two_levels:
            return list(codes)
        return list(codes.swapaxes(0, 1)) if self.stacked else [codes]

    def join(self, maps: list[np.ndarray]) -> Any:
        """Return what split() has made of codes as decode() takes them."""
        if self.two_levels:
            return tuple(maps)
        return np.stack(maps, axis=1) if self.stacked else maps[0]

    def checked(self, maps: Any) -> Any:
        """Return the codes of one image, a list of maps of lists, as decode() takes them.

        Raises TypeError and ValueError for anything else, and for codes that the model does not have.
        """
        if not isinstance(maps, list) or len(maps) != len(self.levels):
            raise ValueError(f"codes must be a list of {len(self.levels)} maps, got {checks.shown(maps)}")
        arrays = [checks.array(level.name, k, "iu")[None] for k, level in zip(maps, self.levels, strict=True)]
        if wrong := [a.shape[1:] for a, level in zip(arrays, self.levels, strict=True) if a.shape[1:] != level.shape]:
            raise ValueError(f"maps must have shapes {[level.shape for level in self.levels]}, got {wrong[0]}")
        return self.model.check_codes(self.join(arrays))

    def draw(self, prior: Any, temperature: float, y: np.ndarray | None, on_code: OnCode) -> list[np.ndarray]:
        """Draw the codes of one image from the prior, and call on_code for each of them when it is drawn.

        y: its label (1,), or None. Returns maps (1, h, w), one for each level.
        """

        def report(level: int) -> Callable[[int, int, np.ndarray], None]:
            def on_position(i: int, j: int, values: np.ndarray) -> None:
                for stage, code in enumerate(values[0].tolist()):
                    on_code(level + stage, i, j, code)

            return on_position

        if self.framed:
            return self.split(prior.sample(1, temperature, y, on_position=lambda t, *of: report(t)(*of)))
        if not self.two_levels:
            return self.split(prior.sample(1, temperature, y, on_position=report(0)))
        top = prior.top.sample(1, temperature, y, on_position=report(0))
        return [top, prior.bottom.sample(1, temperature, prior.context(top, y), on_position=report(1))]

    def usual(self, maps: list[np.ndarray]) -> list[int]:
        """Return the code of each level that is used most in maps of images (N, h, w)."""
        return [int(np.bincount(k.ravel()).argmax()) for k in maps]

    def pictures(self, book: int, maps: list[np.ndarray], decode: Callable[[Any], np.ndarray]) -> np.ndarray:
        """Return what each code of a codebook looks like (K, C, h', w'): the middle of the image that decode() makes of
        this code everywhere and, from other codebooks, the usual codes of the middle of images with these maps.

        The middle has the size of two codes, and K is at most MOST_PICTURES. Of a clip it is that of the last frame.
        """
        levels = self.shelf()[book][1]
        K = min(self.levels[levels[0]].codes, MOST_PICTURES)
        middle = self.usual([k[:, k.shape[1] // 2, k.shape[2] // 2] for k in maps])
        filled = [np.full((K, *of.shape), k) for of, k in zip(self.levels, middle, strict=True)]
        for level in levels:
            filled[level][...] = np.arange(K)[:, None, None]
        images = decode(self.join(filled))
        images = images[:, -1] if self.framed else images  # (K, C, H, W)
        (H, W), (h, w) = images.shape[2:], self.levels[levels[0]].shape
        height, width = min(H, 2 * ceil(H / h)), min(W, 2 * ceil(W / w))
        top, left = (H - height) // 2, (W - width) // 2
        return images[:, :, top : top + height, left : left + width]
