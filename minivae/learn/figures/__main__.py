"""`python -m minivae.learn.figures [FOLDER]` draws the figures of the README files below a folder, a checkout."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from . import PICTURES, save

if __name__ == "__main__":
    parser = ArgumentParser(prog="python -m minivae.learn.figures", description="draw the figures of the README files")
    parser.add_argument("folder", nargs="?", type=Path, default=".", help="a checkout (default: this folder)")
    folder = parser.parse_args().folder
    for picture in PICTURES:
        save(picture, folder)
        print(folder / picture.path)
