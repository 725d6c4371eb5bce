"""The bookkeeping of a pass over data: the means of what a loss has, and how fast they came."""

from __future__ import annotations

import time
from math import isfinite
from typing import Any

from minivae.kernels import backend_of


class Averages:
    """It keeps running means of the fields of a loss, each batch weighted by its number of examples.

    The losses of `lag` steps are fetched together, so that the host does not wait for a GPU after every step; `means`
    has those that were fetched. A value that is not finite raises a FloatingPointError that says `where` it came up.
    """

    def __init__(self, where: str, lag: int = 1) -> None:
        self.where, self.lag = where, lag
        self.count = 0  # of examples
        self._sums: dict[str, float] = {}
        self._fetched = 0  # of the examples
        self._pending: list[tuple[Any, int]] = []
        self._start = time.perf_counter()

    def add(self, result: Any, examples: int) -> None:
        """Add the loss of a batch of so many examples."""
        self._pending.append((result, examples))
        self.count += examples
        if len(self._pending) >= self.lag:
            self.fetch()

    def fetch(self) -> None:
        """Copy the losses that are pending to the host, all at once."""
        if not self._pending:
            return
        names = self._pending[0][0]._fields
        scalars = [tensor.data.reshape(1) for result, _ in self._pending for tensor in result]
        kernels = backend_of(scalars[0])
        rows = kernels.to_host(kernels.xp.concatenate(scalars)).reshape(-1, len(names)).tolist()
        for (_, examples), values in zip(self._pending, rows, strict=True):
            for name, value in zip(names, values, strict=True):
                if not isfinite(value):
                    raise FloatingPointError(f"the {name} became {value} in {self.where}")
                self._sums[name] = self._sums.get(name, 0.0) + value * examples
            self._fetched += examples
        self._pending = []

    def means(self) -> dict[str, float]:
        """Return the mean of each field."""
        return {name: value / self._fetched for name, value in self._sums.items()}

    def speed(self) -> dict[str, float]:
        """Return the seconds since this object was made, and the examples per second."""
        seconds = time.perf_counter() - self._start
        return {"seconds": seconds, "images_per_second": self.count / seconds}
