"""A sheet of paper to draw on: boxes, grids of numbers, arrows and words. (0, 0) is the lower left corner.

A unit is 1/6.4 of the width of a picture of 800 pixels, and sizes of words are in points for a width of 6.4 inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minivae.figures import DPI

INK, FAINT, PAPER = "#1a1a1a", "#8a8a8a", "#ffffff"
BLUE, ORANGE, GREEN, PURPLE, GREY = "#bcd7f2", "#fbd3a0", "#c4e6c0", "#dccbf0", "#eeeeee"
STRONG = {BLUE: "#1f5f9e", ORANGE: "#b35c00", GREEN: "#2b7a26", PURPLE: "#6a3fa0", GREY: "#666666"}
SMALL, NORMAL = 8.5, 10.0
UNIT = 800 / 6.4 / DPI  # inches

Point = tuple[float, float]


class Sheet:
    """What is drawn on a figure. texts: every text on it, for those who look whether two overlap."""

    def __init__(self, figure: Any) -> None:
        self.figure = figure
        self.width, self.height = (float(side) / UNIT for side in figure.get_size_inches())
        self.axes = figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, self.width), ylim=(0, self.height))
        self.axes.axis("off")
        self.texts: list[Any] = []

    def text(
        self, at: Point, words: str, size: float = NORMAL, color: str = INK, align: str = "left", **kw: Any
    ) -> None:
        """Words whose first line begins, ends or is centred (align) at a point; vertically centred there."""
        options = {"va": "center", "ha": align, "fontsize": size * UNIT, "color": color, "linespacing": 1.35, **kw}
        self.texts.append(self.axes.text(*at, words, **options))

    def box(self, at: Point, sides: Point, words: str = "", fill: str = PAPER, **kw: Any) -> None:
        """A rectangle with its lower left corner at a point, and words in its middle."""
        edge = kw.pop("edge", INK)
        width = kw.pop("line", 0.9)
        self.axes.add_patch(_patches().Rectangle(at, *sides, facecolor=fill, edgecolor=edge, linewidth=width * UNIT))
        if words:
            self.text((at[0] + sides[0] / 2, at[1] + sides[1] / 2), words, align="center", **kw)

    def frame(self, at: Point, sides: Point, color: str, width: float = 2.2) -> None:
        """A thick empty rectangle around what is there."""
        frame = _patches().Rectangle(at, *sides, facecolor="none", edgecolor=color, linewidth=width * UNIT, zorder=5)
        self.axes.add_patch(frame)

    def grid(
        self,
        at: Point,
        rows: Sequence[Sequence[Any]],
        fills: Any = None,
        cell: Point = (0.3, 0.3),
        size: float = SMALL,
    ) -> None:
        """Numbers in cells, the first row on top, the upper left corner at a point. fills(i, j): a cell's colour."""
        for i, row in enumerate(rows):
            for j, value in enumerate(row):
                corner = at[0] + j * cell[0], at[1] - (i + 1) * cell[1]
                fill = fills(i, j) if fills else PAPER
                self.box(corner, cell, f"{value}", fill, size=size, edge=FAINT, line=0.6)

    def arrow(self, start: Point, end: Point, color: str = INK, bend: float = 0.0, width: float = 1.3) -> None:
        """An arrow from point to point; bend: how far it bows, as a part of its length."""
        arrow = _patches().FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=9, color=color, linewidth=width * UNIT, shrinkA=0, shrinkB=0,
            connectionstyle=f"arc3,rad={bend}",
        )  # fmt: skip
        self.axes.add_patch(arrow)


def _patches() -> Any:
    """matplotlib's shapes; a Sheet has a figure, so that matplotlib is there."""
    from matplotlib import patches

    return patches
