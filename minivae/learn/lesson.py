"""Reads the file of a lesson and runs it.

A lesson is a Python file in cells. One that begins with `# %% [markdown]` is text, in comments; one that begins with
`# %%` is code. The lines `# > ...` at the end of a code cell are what it prints: a promise to the reader, which the
tests compare with what it does print. (Three dots alone promise nothing, as of times.) All cells of a lesson share
their names, as in a notebook.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "lessons"
MARK, TEXT, OUTPUT = "# %%", "[markdown]", "# >"


@dataclass(frozen=True)
class Cell:
    """A part of a lesson. source: of the text without '# ', of the code without what it prints; line: where it begins.

    promised: the lines that the code is to print, none for text.
    """

    is_text: bool
    source: str
    line: int
    promised: tuple[str, ...] = ()

    def run(self, names: dict[str, Any], file: Path) -> str:
        """Execute a cell of code among `names`, which it may change; return what it printed."""
        code = compile("\n" * self.line + self.source, str(file), "exec")  # its line numbers are those of the file
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(code, names)
        return printed.getvalue()


@dataclass(frozen=True)
class Lesson:
    """number: from 1. title: its first line without 'Lesson N: '."""

    number: int
    title: str
    path: Path
    cells: tuple[Cell, ...]

    def run(self) -> Iterator[tuple[Cell, str]]:
        """Run the lesson, and yield each cell with what it printed; nothing for text."""
        names: dict[str, Any] = {"__name__": "__main__"}
        for cell in self.cells:
            yield cell, "" if cell.is_text else cell.run(names, self.path)


def lessons() -> list[Lesson]:
    """Read all lessons, in order."""
    return [read(path) for path in sorted(FOLDER.glob("lesson_*.py"))]


def lesson(number: int) -> Lesson:
    """Read one lesson. Raise ValueError for a number that none has."""
    known = {read.number: read for read in lessons()}
    if number not in known:
        raise ValueError(f"there are lessons {min(known)} to {max(known)}, got {number}")
    return known[number]


def read(path: Path) -> Lesson:
    """Read the lesson in a file, whose name is lesson_NN_words.py."""
    cells = tuple(_cells(path.read_text(encoding="utf-8")))
    title = cells[0].source.splitlines()[0].removeprefix("# ")
    number, _, title = title.removeprefix("Lesson ").partition(": ")
    return Lesson(int(number), title, path, cells)


def _cells(source: str) -> Iterator[Cell]:
    """Cut the source of a lesson into its cells; what stands above the first is for editors and linters."""
    lines = source.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith(MARK)]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        body = lines[start + 1 : end]
        if TEXT in lines[start]:
            yield Cell(True, "\n".join(line[2:] for line in body).strip(), start + 1)
        else:
            printed = tuple(line.removeprefix(OUTPUT)[1:] for line in body if line.startswith(OUTPUT))
            code = "\n".join(line for line in body if not line.startswith(OUTPUT)).rstrip()
            yield Cell(False, code, start + 1, printed)


def wrapped(text: str, width: int) -> str:
    """Break the lines of Markdown text; headings, tables and what is indented stay as they are."""
    return "\n\n".join(_paragraph(block, width) for block in re.split(r"\n\s*\n", text))


def _paragraph(block: str, width: int) -> str:
    if block.startswith(("#", "| ", "    ", "```")):
        return block
    items = re.split(r"\n(?=[*-] |\d+\. )", block)  # of a list; a paragraph is one item
    return "\n".join(_item(" ".join(item.split()), width) for item in items)


def _item(text: str, width: int) -> str:
    mark = re.match(r"[*-] |\d+\. |", text)
    indent = " " * len(mark[0]) if mark else ""
    return textwrap.fill(text, width, break_long_words=False, subsequent_indent=indent)


def barred(code: str, width: int) -> list[str]:
    """Put a bar before each line of code. A line that is too long is broken at a space; what goes on is indented by 8
    and has a colon in place of the bar."""
    lines = []
    for line in code.splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + 8)
        parts = textwrap.wrap(
            line, max(width - 4, 20), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        lines += [f"  {':' if i else '|'} {part}".rstrip() for i, part in enumerate(parts or [""])]
    return lines
