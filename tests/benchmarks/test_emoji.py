"""The pictures of a font: on white, in a square, and all variants of one on the same side."""

from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import emoji

image = pytest.importorskip("PIL.Image")
SKINS, SEXES = ["", "u1F3FB", "u1F3FF"], ["u1F468", "u1F469", "u1F9D1"]


def font_of(sequences, png):
    """What fontTools makes of a font whose glyphs g0, g1, ... stand for sequences of others."""
    joined = {}
    for k, (first, *rest) in enumerate(sequences):
        joined.setdefault(first, []).append(SimpleNamespace(LigGlyph=f"g{k}", Component=rest))
    table = SimpleNamespace(LookupType=emoji.LIGATURE, ligatures=joined)
    lookups = [SimpleNamespace(SubTable=[table])]
    gsub = SimpleNamespace(table=SimpleNamespace(LookupList=SimpleNamespace(Lookup=lookups)))
    glyphs = {f"g{k}": SimpleNamespace(imageData=png(k)) for k in range(len(sequences))}
    return {"GSUB": gsub, "CBDT": SimpleNamespace(strikeData=[glyphs])}


def png_of(colour, size=(6, 4)):
    file = BytesIO()
    image.new("RGBA", size, colour).save(file, "PNG")
    return file.getvalue()


def test_variants_of_a_picture_are_on_the_same_side():
    """Each of 40 occupations has a colour of its own, and nine variants."""
    parts = [(sex, skin, "u200D", f"u{job}") for job in range(40) for sex in SEXES for skin in SKINS]
    sequences = [tuple(part for part in sequence if part) for sequence in parts]
    sets = emoji.images(font_of(sequences, lambda k: png_of((k // 9, 0, 0, 255))), 6)
    seen = {name: np.unique(x[:, 0, 3, 3]) for name, x in sets.items()}
    assert len(seen["x_train"]) + len(seen["x_test"]) == 40
    assert not np.isin(seen["x_test"], seen["x_train"]).any()
    assert 1 <= len(seen["x_test"]) < 20
    assert sum(map(len, sets.values())) == len(sequences)


def test_a_picture_is_centred_on_white_and_half_transparent_is_half_white():
    found = emoji.picture(png_of((0, 100, 255, 128), (6, 2)), 6)
    assert found.shape == (3, 6, 6)
    assert found.dtype == np.uint8
    assert (found[:, [0, 1, 4, 5]] == 255).all()
    np.testing.assert_allclose(found[:, 2:4], np.array([127, 177, 255])[:, None, None] * np.ones((3, 2, 6)), atol=1)
