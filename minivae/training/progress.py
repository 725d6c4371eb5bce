"""What a training shows while it runs: a progress bar on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TextIO


class Progress(Protocol):
    """The loop tells it of every step and epoch. metrics: averages over the epoch so far, and the speed."""

    def start_epoch(self, epoch: int, epochs: int, steps: int) -> None: ...

    def step(self, metrics: Mapping[str, float]) -> None: ...

    def end_epoch(self, record: Mapping[str, Any]) -> None: ...


class Silent:
    """It shows nothing."""

    def start_epoch(self, epoch: int, epochs: int, steps: int) -> None:
        pass

    def step(self, metrics: Mapping[str, float]) -> None:
        pass

    def end_epoch(self, record: Mapping[str, Any]) -> None:
        pass


class Lines(Silent):
    """It prints a line after each epoch, on a terminal one that is not wider than the terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.epochs = 0

    def start_epoch(self, epoch: int, epochs: int, steps: int) -> None:
        self.epochs = epochs

    def end_epoch(self, record: Mapping[str, Any]) -> None:
        parts = [f"epoch {record['epoch']}/{self.epochs}", *describe(record)]
        print(fitting(parts, width_of(self.stream)), file=self.stream, flush=True)


class Bar(Lines):
    """It draws a tqdm bar behind the averages so far. When the epoch is done, the line of Lines takes its place."""

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
    """Make a Bar where the stream is a terminal and tqdm is installed, else Lines. stream: stderr unless given."""
    stream = stream or sys.stderr
    if stream.isatty():
        try:
            return Bar(stream)
        except ImportError:
            pass
    return Lines(stream)


def describe(record: Mapping[str, Any]) -> list[str]:
    """Write the numbers of a record as text: ['loss 240.10', 'nll 225.90', 'kl 14.20', '3,120 images/s']."""
    skip = ("epoch", "seconds", "images_per_second", "lr")
    parts = [f"{k} {v:.2f}" for k, v in record.items() if k not in skip]
    if "images_per_second" in record:
        parts.append(f"{record['images_per_second']:,.0f} images/s")
    return parts


def fitting(parts: Sequence[str], columns: int | None) -> str:
    """Join the parts to a line of at most so many columns; None stands for any number of them.

    Where not all fit, the first two stay in any case. The loss of the validation data comes next, and then as many of
    the others as fit, in their order.
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
    """Return how many columns a line on this terminal may have without being wrapped, or None if it is unknown."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except OSError:
        return None
    return columns - 1 if columns > 0 else None
