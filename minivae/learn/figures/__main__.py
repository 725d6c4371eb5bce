"""`python -m minivae.learn.figures [FOLDER]` draws the figures of the README files below a folder: this checkout."""

from __future__ import annotations

import sys
from pathlib import Path

from . import PICTURES, save

CHECKOUT = Path(__file__).parents[3]


def main(root: Path) -> None:
    """Draw all pictures below `root` and say where they are."""
    for picture in PICTURES:
        save(picture, root)
        print(root / picture.path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else CHECKOUT)
