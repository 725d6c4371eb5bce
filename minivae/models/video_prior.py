"""The prior of a VQ-VAE of video: a PixelCNN over the codes of a frame, given those of the frames before it.

    log P(k) = sum over t of log P(k_t | k_t-1, ..., k_t-M),        M = `history`.

The maps before are the context of the PixelCNN (pixelcnn_context.py): it sees all of each of them, and of the map k_t
what is drawn already. With M = 2 it sees where a thing was and, by the two places, which way it moves and how fast;
with M = 1 the direction is lost but for what the codes themselves say of it. A start symbol, the number K after the
codes 0, ..., K - 1, fills the maps before the first frame. For example with K = 64 the contexts of frames 1, 2, 3 are

    t = 1: (64, 64)        t = 2: (k_1, 64)        t = 3: (k_2, k_1)        the map before comes first.

**Motion.** Where a thing moves by whole places of the map, k_t is k_t-1 but for a displacement. Convolutions need
filters of their own for each displacement and each code to say this. So the network also moves k_t-1 by a
displacement that it predicts, and what it moved is the default of the logits (pixelcnn_motion.py). At an edge of the
frame two maps may not say which way it goes on: a thing that stood for a frame was thrown back, or stands still. A
third map before tells, hence history = 3 by default.

**The first frame** has nothing to copy and costs most. In a clip that is cut from a longer video any frame may be the
first, so the prior is trained on some of the others as first frames too (training_examples()).

One network serves all frames, so a clip can be continued for as long as one likes; what is P at frame t does not depend
on t, as soon as M frames are known. With values[m] = K + 1 for each map no probability is lost to the start symbol: it
stands in contexts only and is never drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minivae.kernels import checks

from .pixelcnn import PixelCNN

OnFramePosition = Callable[[int, int, int, np.ndarray], object]
MOST_FRAMES = 10_000  # of a clip that is drawn


class VideoPrior:
    """A PixelCNN of frames as the prior of clips of `frames` frames.

    frame: a PixelCNN over maps (h, w) whose context are maps of the same size with one value more. Raises TypeError for
    something else, ValueError for a PixelCNN with another context and for frames < 1.
    """

    classes: int | None = None  # it knows no labels

    def __init__(self, frame: PixelCNN, frames: int) -> None:
        if not isinstance(frame, PixelCNN):
            raise TypeError(f"frame must be a PixelCNN, got {checks.shown(frame)}")
        if frame.context_shape is None or frame.context_values is None:
            raise ValueError("the prior of a frame needs the maps before it as its context, got one without a context")
        found = tuple(frame.context_shape), tuple(frame.context_values)
        wanted = tuple(frame.map_shape), (frame.values + 1,) * len(found[1])
        if found != wanted:
            raise ValueError(f"the context of a frame must have shape and values {wanted}, got {found}")
        self.frame, self.frames = frame, checks.integer("frames", frames, 1, most=MOST_FRAMES)

    @classmethod
    def of(cls, model: Any, history: int = 3, motion: int = 1, **settings: Any) -> VideoPrior:
        """Return a prior to be trained on the codes of a VideoVQVAE.

        history: M, how many maps before a frame it is given. motion: by how many places, at most, it moves the map
        before; 0 for no such part. settings: of the PixelCNN, such as channels and layers. Raises what PixelCNN()
        raises, TypeError for a model of something else, ValueError for history < 1.
        """
        checks.offers("model", model, "check_clips")
        known = (model.codes + 1,) * checks.integer("history", history, 1, most=MOST_FRAMES)
        context = {"context_shape": model.frame_map, "context_values": known, "context_motion": motion}
        common = {"codebook_digest": model.codebook_digest, **context, **settings}
        return cls(PixelCNN(model.frame_map, model.codes, **common), model.frames)

    @property
    def history(self) -> int:
        """M."""
        assert self.frame.context_values is not None
        return len(self.frame.context_values)

    @property
    def codebook_digest(self) -> str | None:
        """VideoVQVAE.codebook_digest of the model whose codes these are."""
        return self.frame.codebook_digest

    def check_codes(self, codes: Any) -> np.ndarray:
        """Return codes (N, T, h, w) of any T as int64. Raise TypeError unless they are integers, ValueError for other
        shapes and values."""
        codes = checks.array("codes", codes, "iu")
        if codes.ndim != 4 or not codes.shape[1]:
            raise ValueError(f"codes of clips must have shape (N, T, h, w), got {codes.shape}")
        maps = self.frame.check_images(codes.reshape(-1, *codes.shape[2:]))
        return maps.reshape(codes.shape)

    def examples(self, codes: Any) -> tuple[np.ndarray, np.ndarray]:
        """Codes (N, T, h, w) -> all maps (N T, h, w) and the context of each (N T, M, h, w), which is what the PixelCNN
        learns from. Raises what check_codes() raises."""
        codes = self.check_codes(codes)
        N, T, h, w = codes.shape
        padded = np.pad(codes, [(0, 0), (self.history, 0), (0, 0), (0, 0)], constant_values=self.frame.values)
        before = [padded[:, self.history - m : self.history - m + T] for m in range(1, self.history + 1)]  # t - m
        return codes.reshape(N * T, h, w), np.stack(before, axis=2).reshape(N * T, self.history, h, w)

    def training_examples(self, codes: Any) -> tuple[np.ndarray, np.ndarray]:
        """examples(), and the maps of the frames 3, 5, 7, ... once more, as frames with which a clip begins."""
        maps, context = self.examples(codes)
        begun = self.check_codes(codes)[:, 2::2].reshape(-1, *maps.shape[1:])
        start = np.full((len(begun), *context.shape[1:]), self.frame.values)
        return np.concatenate([maps, begun]), np.concatenate([context, start])

    def fit(self, codes: Any, y: Any = None, **options: Any) -> VideoPrior:
        """Train on training_examples() of codes (N, T, h, w); options: of Estimator.fit. y is ignored.

        Raises what that raises, ValueError for no clips.
        """
        maps, context = self.training_examples(codes)
        if not len(maps):
            raise ValueError(f"there are no clips to learn from, got codes of shape {np.shape(codes)}")
        self.frame.fit(maps, context, **options)
        return self

    def score_frames(self, codes: Any) -> np.ndarray:
        """Return log P(k_t | the maps before) of each frame of codes (N, T, h, w), in nats (N, T)."""
        codes = self.check_codes(codes)
        return self.frame.score_samples(*self.examples(codes)).reshape(codes.shape[:2])

    def score_samples(self, codes: Any, y: Any = None) -> np.ndarray:
        """Return log P of codes (N, T, h, w), in nats (N,): the sum of score_frames(). ValueError for labels y."""
        _check_no_labels(y)
        return self.score_frames(codes).sum(axis=1)

    def sample(
        self, n: int = 1, temperature: float = 1.0, y: Any = None, on_position: OnFramePosition | None = None
    ) -> np.ndarray:
        """Draw the codes of n clips (n, frames, h, w).

        on_position: a function that is called as on_position(t, i, j, values) when the values (n, 1) at (i, j) of frame
        t are drawn, for as many clips at a time as PixelCNN.sample() says. Raises ValueError for n < 1, for labels y,
        and as PixelCNN.sample() does.
        """
        _check_no_labels(y)
        if on_position is not None:
            checks.function("on_position", on_position)
        start = np.empty((checks.integer("n", n, 1), 0, *map(int, self.frame.map_shape)), np.int64)
        return self._continued(start, self.frames, temperature, on_position)

    def continue_codes(self, codes: Any, count: int = 1, temperature: float = 1.0) -> np.ndarray:
        """Return codes (N, T, h, w) and `count` maps more, drawn one after the other: (N, T + count, h, w).

        Raises what check_codes() and PixelCNN.sample() raise, ValueError for no clips and count < 1.
        """
        codes = self.check_codes(codes)
        if not len(codes):
            raise ValueError(f"there are no clips to continue, got codes of shape {codes.shape}")
        return self._continued(codes, checks.integer("count", count, 1, most=MOST_FRAMES), temperature)

    def _continued(
        self, codes: np.ndarray, count: int, temperature: float, on_position: OnFramePosition | None = None
    ) -> np.ndarray:
        checks.elements("codes", (len(codes), codes.shape[1] + count, *map(int, self.frame.map_shape)))
        start = np.full((len(codes), self.history, *codes.shape[2:]), self.frame.values)
        known = np.concatenate([start, codes], axis=1)
        for t in range(count):
            context = known[:, : -self.history - 1 : -1]  # the map before comes first
            of_frame = None if on_position is None else partial(on_position, t)
            drawn = self.frame.sample(len(known), temperature, np.ascontiguousarray(context), of_frame)
            known = np.concatenate([known, drawn[:, None]], axis=1)
        return known[:, self.history :]


def _check_no_labels(y: Any) -> None:
    if y is not None:
        raise ValueError(f"the prior of a video knows no labels y, got {checks.shown(y)}")
