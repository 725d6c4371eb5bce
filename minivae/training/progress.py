"""What a training run shows: a progress bar on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol, TextIO


class Progress(Protocol):
    """Told of every step and epoch by the loop. Metrics are averages over the epoch so far."""

    def start_epoch(self, epoch: int, epochs: int, steps: int) -> None: ...

    def step(self, metrics: Mapping[str, float]) -> None: ...

    def end_epoch(self, record: Mapping[str, Any]) -> None: ...


class Silent:
    """Shows nothing."""

    def start_epoch(self, epoch: int, epochs: int, steps: int) -> None:
        pass

    def step(self, metrics: Mapping[str, float]) -> None:
        pass

    def end_epoch(self, record: Mapping[str, Any]) -> None:
        pass


class Lines(Silent):
    """One line per epoch."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.epochs = 0

    def start_epoch(self, epoch: int, epochs: int, steps: int) -> None:
        self.epochs = epochs

    def end_epoch(self, record: Mapping[str, Any]) -> None:
        print(f"epoch {record['epoch']}/{self.epochs}  {describe(record)}", file=self.stream, flush=True)


class Bar(Lines):
    """A tqdm bar per epoch; it is replaced by the epoch's line when the epoch is done."""

    def __init__(self, stream: TextIO | None = None) -> None:
        from tqdm import tqdm

        super().__init__(stream)
        self._tqdm: Any = tqdm
        self._bar: Any = None

    def start_epoch(self, epoch: int, epochs: int, steps: int) -> None:
        super().start_epoch(epoch, epochs, steps)
        self._bar = self._tqdm(total=steps, desc=f"epoch {epoch}/{epochs}", unit="batch", leave=False, file=self.stream)

    def step(self, metrics: Mapping[str, float]) -> None:
        self._bar.set_postfix_str(describe(metrics), refresh=False)
        self._bar.update()

    def end_epoch(self, record: Mapping[str, Any]) -> None:
        self._bar.close()
        super().end_epoch(record)


def progress_for(stream: TextIO | None = None) -> Progress:
    """A bar where the stream is a terminal and tqdm is installed, else lines."""
    stream = stream or sys.stderr
    if stream.isatty():
        try:
            return Bar(stream)
        except ImportError:
            pass
    return Lines(stream)


def describe(record: Mapping[str, Any]) -> str:
    """'loss 240.1  nll 225.9  kl 14.2  3,120 images/s', whatever of it the record has."""
    skip = ("epoch", "seconds", "images_per_second", "lr")
    parts = [f"{k} {v:.2f}" for k, v in record.items() if k not in skip]
    if "images_per_second" in record:
        parts.append(f"{record['images_per_second']:,.0f} images/s")
    return "  ".join(parts)
