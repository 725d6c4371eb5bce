"""Take the pictures of a colour font, emoji, as colour images of 64 x 64 pixels: a data set for the VQ-VAE-2.

    pip install fonttools pillow
    apt-get install fonts-noto-color-emoji     # or --font with another file that holds PNGs (a table CBDT)
    python benchmarks/emoji.py emoji.npz
    minivae train vqvae2 --data emoji.npz --codes 64 --top-codes 64 --channels 48 --batch-size 32 --epochs 9

They are faces, people, animals, food, things, signs and flags, on white. Many are variants of one picture: the same
person in five colours of skin, as a man and as a woman. All variants of a picture are on one side: for training, or
for the test, as one picture of ten is. Nothing of the font is kept but in the file that is written.
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
SKIN = {f"u1F3F{digit}" for digit in "BCDEF"}
SEX = {"uni2640", "uni2642", "u1F468", "u1F469", "u1F9D1"}  # the signs, then man, woman, person
LIGATURE = 4  # the type of a table in GSUB that says which glyph stands for a sequence of others
TEST = 10  # one picture of so many is for the test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help=".npz file to write")
    parser.add_argument("--font", type=Path, default=FONT, help="font with a table CBDT")
    parser.add_argument("--size", type=int, default=64, help="height and width of an image")
    args = parser.parse_args()
    if not args.font.is_file():
        raise SystemExit(f"there is no font {args.font}; install fonts-noto-color-emoji, or name a font with --font")
    from fontTools.ttLib import TTFont

    font = TTFont(args.font)
    if "CBDT" not in font:
        raise SystemExit(f"{args.font} has no table CBDT, so it holds no PNGs")
    sets = images(font, args.size)
    np.savez_compressed(args.out, **sets)
    print(f"{len(sets['x_train']):,} training and {len(sets['x_test']):,} test images are in {args.out}")


def images(font: Any, size: int) -> dict[str, np.ndarray]:
    """x_train and x_test (N, 3, size, size), uint8."""
    sequences = ligatures(font)
    parts: dict[str, list[np.ndarray]] = {"x_train": [], "x_test": []}
    for name, glyph in font["CBDT"].strikeData[0].items():
        held_out = crc32(picture_of(sequences.get(name, (name,))).encode()) % TEST == 0
        parts["x_test" if held_out else "x_train"].append(picture(glyph.imageData, size))
    return {name: np.array(part, np.uint8).reshape(-1, 3, size, size) for name, part in parts.items()}


def ligatures(font: Any) -> dict[str, tuple[str, ...]]:
    """The names of the glyphs that stand for sequences of others, and these sequences."""
    found = {}
    for lookup in font["GSUB"].table.LookupList.Lookup if "GSUB" in font else []:
        for table in lookup.SubTable:
            table = getattr(table, "ExtSubTable", table)
            if table.LookupType == LIGATURE:
                for first, joined in table.ligatures.items():
                    found.update({ligature.LigGlyph: (first, *ligature.Component) for ligature in joined})
    return found


def picture_of(sequence: tuple[str, ...]) -> str:
    """What all variants of a picture have in common: the names of its parts without skin and sex."""
    kept = [name for name in sequence if name not in SKIN and name not in SEX and name != "u200D"]
    return " ".join(kept) or "person"


def picture(png: bytes, size: int) -> np.ndarray:
    """A PNG on white, centred in a square and made smaller: (3, size, size), uint8."""
    from PIL import Image

    with Image.open(BytesIO(png)) as image:
        image = image.convert("RGBA")
    side = max(image.size)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(image, tuple((side - length) // 2 for length in image.size))
    return np.asarray(square.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)).transpose(2, 0, 1)


if __name__ == "__main__":
    main()
