"""The page has all that it is given, loads nothing, runs nothing, and shows tables as they were printed."""

from __future__ import annotations

import contextlib
import io
from base64 import b64decode
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivae.cli.text import print_table
from minivae.report import CAPTIONS, Part, Picture, page
from minivae.report.page import blocks
from minivae.report.pictures import LARGE, MOST

EVIL = "<script>alert('\"&')</script>"
CONFIG = {
    "model": "vae",
    "data": "fashion-mini",
    "seed": 3,
    "versions": {"kernels": "native"},
    "contents": {"x": "abc"},
}
HISTORY = [{"epoch": i, "loss": 100 * 0.5**i + 50, "validation_loss": 100 * 0.5**i + 51} for i in range(12)]


class Elements(HTMLParser):
    """All tags with their attributes, the rows of the tables, and the text; a tag that is not closed is an error."""

    VOID = ("meta", "img")

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows, self.text, self.open = [], [], "", []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data
        if self.open[-1:] and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def part(**more):
    fields = {"name": "model", "config": CONFIG, "results": {"parameters": 12345}, "history": HISTORY, "table": ""}
    return Part(**{**fields, "command": "minivae train vae", **more})


def with_files(**files):
    return Elements(page([part()], [Picture("samples", "model", files)]))


def test_nothing_is_loaded_and_nothing_runs():
    found = Elements(page([part()], [Picture(stem, "model", {f"{stem}.png": b"x"}) for stem in CAPTIONS]))
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "a"})
    for _, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("href", "srcset", "style")]
        assert attributes.get("src", "data:").startswith("data:")
    assert "url(" not in page([part()], [])
    assert "@import" not in page([part()], [])


def test_whatever_comes_from_outside_is_text():
    config = {**CONFIG, "model": EVIL, "data": EVIL, "versions": {EVIL: EVIL}, "contents": {EVIL: EVIL}}
    text = page([part(config=config, table=EVIL, command=EVIL, name=EVIL)], [])
    assert "<script" not in text
    assert "script" not in {tag for tag, _ in Elements(text).tags}
    assert EVIL in Elements(text).text


def test_files_are_in_it_byte_by_byte():
    found = with_files(**{"samples.png": b"\x00png", "samples.gif": b"gif", "samples.wav": b"wav"})
    uris = [attributes["src"] for tag in ("img", "audio") for attributes in found.named(tag)]
    kinds = [uri.partition(";base64,")[0] for uri in uris]
    assert kinds == ["data:image/png", "data:image/gif", "data:audio/wav"]
    assert [b64decode(uri.partition(",")[2]) for uri in uris] == [b"\x00png", b"gif", b"wav"]
    assert len(found.named("figcaption")) == 1
    assert CAPTIONS["samples"][1] in found.text


def test_what_is_too_large_is_named():
    found = with_files(**{"samples.wav": bytes(MOST + 1), "samples.gif": b"gif"})
    assert not found.named("audio")
    assert len(found.named("img")) == 1
    assert "samples.wav is too large" in found.text


def test_a_large_picture_has_fewer_colours_and_looks_the_same():
    image = pytest.importorskip("PIL.Image")
    ramp = np.linspace(0, 255, 600)
    noise = np.random.default_rng(0).integers(0, 6, (600, 600, 3))
    pixels = np.clip(ramp[None, :, None] + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    image.fromarray(pixels).save(file, "PNG")
    assert len(file.getvalue()) > LARGE
    (shown,) = with_files(**{"samples.png": file.getvalue()}).named("img")
    content = b64decode(shown["src"].partition(",")[2])
    assert len(content) < 0.6 * len(file.getvalue())
    seen = np.asarray(image.open(io.BytesIO(content)).convert("RGB"), np.float64)
    assert np.abs(seen - pixels).mean() < 4


def test_the_course_of_each_part_is_named_and_of_which_images_it_is():
    prior = part(name="prior", config={"model": "prior", "validation": 0.1})
    courses = [Picture("training", name, {"training.png": b"x"}) for name in ("model", "prior")]
    text = Elements(page([part(), prior], courses)).text
    assert "Course of the training (model)" in text
    assert "Course of the training (prior)" in text
    assert "on test images" in text
    assert "on validation images" in text


def test_warnings_are_shown_with_the_cure_and_a_good_run_has_none():
    assert "Nothing looks wrong" in page([part()], [])
    text = page([part(results={"active": 0, "kl_per_latent": [0.0] * 4})], [])
    assert "Posterior collapse" in text
    assert "--free-bits" in text
    assert "Nothing looks wrong" not in text


def test_times_are_in_lines_of_their_own():
    def lines(seconds, speed):
        results = {"seconds": seconds, "images_per_second": speed}
        return [line for line in page([part(results=results)], []).splitlines() if 'class="times"' not in line]

    assert lines(3.5, 1000) == lines(999.9, 7)
    assert "3.5 s in training" in page([part(results={"seconds": 3.5, "images_per_second": 1000})], [])


def test_a_run_of_an_older_version_has_a_page():
    """It has noted next to nothing."""
    assert "no table of the model" in page([part(config={}, results={})], [])


# ---- printed tables ----

words = st.text("abcxyz", min_size=1, max_size=6)
numbers = st.integers(-999, 999).map(str)
phrases = st.lists(words, min_size=1, max_size=4).map(" ".join)


@st.composite
def tables(draw):
    """The header and the rows of a table that has no empty cell."""
    columns = draw(st.lists(st.sampled_from([phrases, numbers]), min_size=2, max_size=5))
    header = [draw(phrases) for _ in columns]
    return header, draw(st.lists(st.tuples(*columns).map(list), min_size=1, max_size=4))


@given(st.lists(st.tuples(tables(), phrases), min_size=1, max_size=3))
def test_printed_tables_are_found_again(printed):
    """Cell by cell, with the lines that follow each."""
    with contextlib.redirect_stdout(io.StringIO()) as text:
        for (header, rows), note in printed:
            print_table(header, rows)
            print(f"note: {note}, of all the images that there are in all of the data, and of no others, to be sure")
            print()
    found = Elements("\n".join(blocks(text.getvalue())))
    assert found.rows == [row for (header, rows), _ in printed for row in [header, *rows]]
    for _, note in printed:
        assert f"note: {note}," in found.text
