"""Pictures of bars, and a judge of them."""

from functools import cache

import numpy as np

from minivae.uses import WholenessJudge

SIZE = 16


def pictures(n, seed=0):
    """Images (n, 1, 16, 16) of bars: upright ones in class 0, level ones in class 1, at random places."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = np.zeros((n, 1, SIZE, SIZE), np.float32)
    for image, label in zip(x, y, strict=True):
        start, width = rng.integers(2, 10), rng.integers(3, 5)
        image[0, :, start : start + width] = rng.uniform(0.5, 1)
        if label:
            image[0] = image[0].T.copy()
    return x, y


@cache
def judge(seed=0):
    return WholenessJudge(*pictures(600), seed)
