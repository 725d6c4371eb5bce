"""What a training run shows: a progress bar on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
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
    """One line per epoch; on a terminal no longer than that is wide."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.epochs = 0

    def start_epoch(self, epoch: int, epochs: int, steps: int) -> None:
        self.epochs = epochs

    def end_epoch(self, record: Mapping[str, Any]) -> None:
        parts = [f"epoch {record['epoch']}/{self.epochs}", *describe(record)]
        print(fitting(parts, width_of(self.stream)), file=self.stream, flush=True)


class Bar(Lines):
    """A tqdm bar per epoch, behind the averages so far; it is replaced by the epoch's line when the epoch is done."""

    FORMAT = "{desc}  {percentage:3.0f}%|{bar}| {remaining}"
    LEAST = 25  # columns for what stands behind {desc}, ten of them for the bar

    def __init__(self, stream: TextIO | None = None) -> None:
        from tqdm import tqdm

        super().__init__(stream)
        self._tqdm: Any = tqdm
        self._bar: Any = None
        self._epoch = ""

    def start_epoch(self, epoch: int, epochs: int, steps: int) -> None:
        super().start_epoch(epoch, epochs, steps)
        self._epoch = f"epoch {epoch}/{epochs}"
        shape: dict[str, Any] = {"bar_format": self.FORMAT, "dynamic_ncols": True, "leave": False}
        self._bar = self._tqdm(total=steps, desc=self._epoch, file=self.stream, **shape)

    def step(self, metrics: Mapping[str, float]) -> None:
        columns = width_of(self.stream)
        parts = [self._epoch, *describe(metrics)]
        self._bar.set_description_str(fitting(parts, columns and columns - self.LEAST), refresh=False)
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


def describe(record: Mapping[str, Any]) -> list[str]:
    """['loss 240.10', 'nll 225.90', 'kl 14.20', '3,120 images/s'], whatever of it the record has."""
    skip = ("epoch", "seconds", "images_per_second", "lr")
    parts = [f"{k} {v:.2f}" for k, v in record.items() if k not in skip]
    if "images_per_second" in record:
        parts.append(f"{record['images_per_second']:,.0f} images/s")
    return parts


def fitting(parts: Sequence[str], columns: int | None) -> str:
    """The parts in a line of at most so many columns, None for any number; the first two stay in any case.

    Where they are too many the loss of the validation data comes next, then as many of the others as fit, in order.
    """
    line = "  ".join(parts)
    if columns is None or len(line) <= columns:
        return line
    line = "  ".join(parts[:2])
    for part in sorted(parts[2:], key=lambda part: not part.startswith("validation_loss")):
        if len(line) + 2 + len(part) > columns:
            break
        line = f"{line}  {part}"
    return line


def width_of(stream: TextIO) -> int | None:
    """How many columns a line on this terminal may have without being wrapped; None where nobody knows."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except OSError:
        return None
    return columns - 1 if columns > 0 else None
