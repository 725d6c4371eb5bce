"""Prints tables, the same way in every command."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

Numbers = dict[str, Any]  # what stands in a table, for results.json


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose words are aligned to the left and whose numbers to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    left = [not _is_number(cell) for cell in rows[0]]
    for row in [header, ["-" * w for w in widths], *rows]:
        cells = (c.ljust(w) if words else c.rjust(w) for c, w, words in zip(row, widths, left, strict=True))
        print("  ".join(cells).rstrip())


@contextmanager
def kept() -> Iterator[io.StringIO]:
    """Give a text that holds, besides being printed, all that is printed in the with block."""
    with redirect_stdout(_Copy(sys.stdout)) as text:
        yield text


class _Copy(io.StringIO):
    """A text, each write to which goes to `out` too."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self.out = out

    def write(self, text: str) -> int:
        self.out.write(text)
        return super().write(text)

    def flush(self) -> None:
        self.out.flush()


def _is_number(cell: str) -> bool:
    return cell.lstrip("+-")[:1].isdigit()


def fixed(*numbers: float) -> list[str]:
    """Format numbers with two decimals."""
    return [f"{number:.2f}" for number in numbers]


def print_columns(cells: Sequence[str], columns: int = 16) -> None:
    """Print short cells in lines of `columns` columns of equal width."""
    width = max(map(len, cells))
    for start in range(0, len(cells), columns):
        print("  ".join(cell.rjust(width) for cell in cells[start : start + columns]))
