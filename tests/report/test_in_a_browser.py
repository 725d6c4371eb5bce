"""The page of a real run in a real browser: wide, as on a phone, and printed."""

from __future__ import annotations

from typing import Any

import pytest
from browser import chromium
from command_line import QUICK, succeeded
from strategies import numbers


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A VAE of 60 images of 8 x 8."""
    np = pytest.importorskip("numpy")
    folder = tmp_path_factory.mktemp("run")
    x = numbers(80, 8, 8, low=0, high=1, dtype=np.float32)
    np.savez(folder / "images.npz", x_train=x[:60], x_test=x[60:])
    out = folder / "vae"
    succeeded("train", "vae", "--data", folder / "images.npz", "--out", out, *QUICK["vae"])
    return out


def test_it_is_whole_on_a_desk_on_a_phone_and_on_paper(run: Any) -> None:
    count = len(list(run.glob("*.png")))
    with chromium() as opened:
        for width in (1280, 390):
            tab = opened.new_page(viewport={"width": width, "height": 800}, java_script_enabled=True)
            asked: list[str] = []
            tab.on("request", lambda request, asked=asked: asked.append(request.url))
            tab.goto((run / "report.html").as_uri())
            loaded = "[...document.images].filter(image => image.complete && image.naturalWidth > 0).length"
            assert tab.evaluate(loaded) == count
            assert tab.evaluate("document.documentElement.scrollWidth") <= width  # nothing is cut off at the side
            small = "Math.min(...[...document.querySelectorAll('p, td, th, figcaption, pre')].map("
            assert tab.evaluate(small + "e => parseFloat(getComputedStyle(e).fontSize)))") >= 12
            assert [url for url in asked if not url.startswith("data:")] == [(run / "report.html").as_uri()]
            tab.close()
        tab = opened.new_page(viewport={"width": 680, "height": 1000})
        tab.goto((run / "report.html").as_uri())
        tab.emulate_media(media="print")
        rules = "[...document.querySelectorAll('figure')].map(e => getComputedStyle(e).breakInside)"
        assert set(tab.evaluate(rules)) == {"avoid"}
        tallest = tab.evaluate("Math.max(...[...document.images].map(e => e.getBoundingClientRect().height))")
        assert tallest <= 21 / 2.54 * 96 + 1  # CSS pixels of 21 cm: less than a page
        assert tab.evaluate("document.documentElement.scrollWidth") <= 680
        assert tab.pdf(format="A4").startswith(b"%PDF")
