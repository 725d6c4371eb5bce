"""The figures beside the README files show what the code does today, and can be read."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minivae.kernels.geometry import conv2d_geometry
from minivae.kernels.reference import conv
from minivae.learn import figures
from minivae.learn.figures import block, convolution, engine, quantised, stacks

ROOT = Path(__file__).parent.parent.parent
MOST_BYTES, WIDTH = 60_000, 800
pytestmark = pytest.mark.cpu_only("the figures are made by the CPU")
everywhere = pytest.mark.parametrize("picture", figures.PICTURES, ids=lambda picture: Path(picture.path).stem)


def numbers_in(path: Path) -> Any:
    with Image.open(path) as image:
        return json.loads(image.text["Description"])


def close(a: Any, b: Any) -> bool:
    """Equal words, whole numbers and structure; other numbers to 1e-6, as elsewhere sums have another order."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    return a == pytest.approx(b, rel=1e-6, abs=0) if isinstance(a, float) and a else a == b


@everywhere
def test_the_committed_picture_has_the_numbers_of_the_code(picture, tmp_path):
    sheet = figures.save(picture, tmp_path)
    made, committed = tmp_path / picture.path, ROOT / picture.path
    assert close(numbers_in(committed), numbers_in(made)), "run python -m minivae.learn.figures, look at it, commit it"
    for path in (made, committed):
        assert path.stat().st_size < MOST_BYTES
        with Image.open(path) as image:
            assert image.width == WIDTH
    assert not overlaps(sheet)


def overlaps(sheet: Any) -> list[tuple[str, str]]:
    """Pairs of texts that touch each other, and texts that leave the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(sheet.figure).get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in sheet.texts if text.get_text()]
    touching = [(a, b) for (a, box), (b, other) in combinations(boxes, 2) if box.overlaps(other)]
    size = sheet.figure.bbox
    outside = [("outside", a) for a, box in boxes if min(box.x0, box.y0) < 0 or box.x1 > size.x1 or box.y1 > size.y1]
    return touching + outside


def test_overlapping_words_are_seen():
    from matplotlib.figure import Figure

    sheet = figures.Sheet(Figure(figsize=(4, 2)))
    sheet.text((1, 1), "one")
    sheet.text((1.1, 1), "two")
    sheet.text((sheet.width, 1), "far")
    assert overlaps(sheet) == [("one", "two"), ("outside", "far")]


def test_other_numbers_are_not_close():
    assert close({"a": [1, 2.0, 0.0]}, {"a": [1, 2.0 + 1e-9, 0.0]})
    for other in ({"a": [1, 2.1, 0.0]}, {"a": [1, 2.0, 1e-9]}, {"a": [1, 2.0]}, {"b": [1, 2.0, 0.0]}):
        assert not close({"a": [1, 2.0, 0.0]}, other)


# ---- what the figures say is so ----


def test_the_gradients_are_those_of_2_a_squared():
    found = engine.find()
    assert [node["name"] for node in found["nodes"]] == ["a", "b", "c"]
    assert [(node["kind"], node["value"]) for node in found["nodes"]] == [("Leaf", 3), ("Add", 6), ("Mul", 18)]
    sent = {step["node"]: step["sent"] for step in found["steps"]}
    assert sent == {"c": [["a", 6], ["b", 3]], "b": [["a", 3], ["a", 3]], "a": []}
    assert [step["dy"] for step in found["steps"]] == [1, 3, 12]  # of c, b and a, dc/da = 4 a


def test_the_product_of_patches_and_weights_is_the_convolution():
    found = convolution.find_im2col()
    x, y = np.array(found["x"]), np.array(found["y"])
    assert np.array_equal(np.array(found["patches"]) @ found["weights"], found["product"])
    assert y.tolist() == np.reshape(found["product"], (3, 3)).tolist()
    tap = [row[convolution.TAP] for row in found["patches"]]
    p, q = divmod(convolution.TAP, 2)
    assert tap == x[p : p + 3, q : q + 3].ravel().tolist()


def test_the_phases_give_every_pixel_of_the_transposed_convolution():
    found = convolution.find_phases()
    rows, w, dy = found["rows"], np.array(found["w"]), np.array(found["dy"])
    by_phase = [[sum(w[p, q] * dy[i, j] for p, i in up for q, j in across) for across in rows] for up in rows]
    scattered = np.zeros((8, 8), int)
    for i, j in np.ndindex(3, 3):
        scattered[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += dy[i, j] * w
    assert by_phase == found["dx"] == scattered[1:-1, 1:-1].tolist()
    taps = [{p for h in range(k, 6, 2) for p, _ in rows[h]} for k in (0, 1)]
    assert taps == [{1, 3}, {0, 2}]
    g = conv2d_geometry((1, 1, 6, 6), (1, 1, 4, 4), 2, 1, 1, 1)
    assert conv.conv2d_input_grad(dy[None, None], w[None, None], None, g)[0, 0].tolist() == by_phase


def test_the_block_computes_its_tile():
    found = block.find()
    A, B = np.array(found["A"]), np.array(found["B"])
    assert found["C"] == (A @ B).tolist()
    rows, columns = slice(0, 2), slice(2, 4)
    for r, moment in enumerate(found["rounds"]):
        ks = slice(2 * r, 2 * r + 2)
        tiles = np.arange(16).reshape(4, 4)[rows, ks], np.arange(16).reshape(4, 4)[ks, columns]
        assert [[int(a), int(b)] for a, b in zip(*(t.ravel() for t in tiles), strict=True)] == moment["loads"]
        so_far = A[rows, : ks.stop] @ B[: ks.stop, columns]
        assert moment["sums"] == so_far.ravel().tolist()


def test_the_gradients_of_the_vqvae_go_where_the_paper_says():
    found = quantised.find()
    moved = {term: {part for part, norm in norms.items() if norm} for term, norms in found.items()}
    assert moved == {"nll": {"encoder", "decoder"}, "codebook": {"codebook"}, "commitment": {"encoder"}}


def test_two_stacks_see_everything_before_and_nothing_after():
    found = stacks.find()
    (i, j), seen = found["at"], {name: np.array(where, bool) for name, where in found["seen"].items()}
    before = np.array([[(h, v) < (i, j) for v in range(stacks.W)] for h in range(stacks.H)])
    assert np.array_equal(seen["left"], before)
    assert np.array_equal(seen["above"], before & (np.arange(stacks.H) < i)[:, None])
    missed = {(h, v) for h, v in np.argwhere(before & ~seen["one masked stack"])}
    triangle = {(h, v) for h in range(i) for v in range(stacks.W) if v - j > i - h}
    assert missed == triangle
    assert not (seen["one masked stack"] & ~before).any()
