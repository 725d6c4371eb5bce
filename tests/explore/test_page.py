"""The page in a real browser: what is moved and clicked changes the pixels that it should change."""

from pathlib import Path

import numpy as np
import pytest
from browser import chromium
from explorers import as_bytes, clips, data, model_of, prior_of, served, sounds

from minivae.explore import Explorer

# Keep what the page shows of a sample.
SEEN = """void (showDrawn = ((show) => (drawn, undrawn) => {
    (window.seen ??= []).push(drawn);
    return show(drawn, undrawn);
})(showDrawn))"""
KINDS = ("vae", "vqvae2")


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


OTHERS = {"sounds": sounds, "clips": clips}


@pytest.fixture(scope="module")
def servers():
    """servers(kind): the page of a tiny model, opened once, whose codes have a prior."""
    running = {}

    def serve(kind):
        if kind in OTHERS and kind not in running:
            context = served(OTHERS[kind]()[0])
            running[kind] = context.__enter__(), context
        if kind not in running:
            model = model_of(kind)
            for parameter in model.decoder.parameters():
                parameter.inplace()[...] *= 3  # so that a step of a slider is more than a rounding
            prior = prior_of(model) if hasattr(model, "code_cost") else None
            context = served(Explorer(model, data(count=40), prior, "squared error", "runs/tiny", 0.7))
            running[kind] = context.__enter__(), context
        return running[kind][0]

    yield serve
    for _, context in running.values():
        context.__exit__(None, None, None)


@pytest.fixture
def opened(browser, servers):
    """opened(kind, width, height): the page in a window of this size. Errors in the page fail the test."""
    pages, errors = [], []

    def open_page(kind, width=1280, height=800):
        page = browser.new_page(viewport={"width": width, "height": height})
        pages.append(page)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(servers(kind).url)
        page.wait_for_selector("body[data-ready]")
        until(page, "document.querySelector('#numbers').rows.length > 0")
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not errors


def canvas(page, selector):
    """Return the pixels of a canvas as text."""
    return page.locator(selector).first.evaluate("c => c.toDataURL()")


def until(page, true):
    """Wait until an expression of JavaScript, or a function, is true. (Playwright's own way needs eval in the page.)"""
    for _ in range(400):
        if true() if callable(true) else page.evaluate(true):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"{true} has not come true")


def changes(page, selector, before):
    """Wait until a canvas has other pixels than `before`."""
    until(page, lambda: canvas(page, selector) != before)


def at(page, selector, x, y):
    """Return the point of the window at a share (x, y) of an element, which is scrolled into view."""
    element = page.locator(selector).first
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


@pytest.mark.parametrize("kind", ["vae", "dae", "cvae"])
def test_a_slider_changes_the_image(opened, kind):
    page = opened(kind)
    before = canvas(page, "#decoded")
    page.locator("#sliders input").first.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    changes(page, "#decoded", before)


def test_a_click_on_the_plane_decodes_and_a_drag_draws_the_way(opened):
    page = opened("vae")
    page.wait_for_selector("#legend span")
    before, z = canvas(page, "#decoded"), page.evaluate("state.z")
    page.mouse.click(*at(page, "#plane", 0.2, 0.3))
    changes(page, "#decoded", before)
    assert page.evaluate("state.z") != z
    assert page.locator("#path").is_hidden()
    page.mouse.move(*at(page, "#plane", 0.1, 0.1))
    page.mouse.down()
    page.mouse.move(*at(page, "#plane", 0.9, 0.8), steps=4)
    page.mouse.up()
    page.wait_for_selector("#path", state="visible")
    until(page, "document.querySelector('#path').width === 80")
    way = page.eval_on_selector("#path", "c => Array.from(c.getContext('2d').getImageData(0, 0, 80, 8).data)")
    first, *_, last = np.split(np.array(way).reshape(8, 80, 4), 10, axis=1)
    assert (first != last).any()


@pytest.mark.parametrize("kind", ["rvq", "vqvae2"])
def test_a_click_on_a_code_changes_it_and_the_image(opened, kind):
    page = opened(kind)
    page.wait_for_selector("#codebook button")
    old = page.evaluate("state.maps[0][0][0]")
    other = (old + 1) % 5
    page.click(f"#codebook button[data-book='0'][data-code='{other}']")
    before, cells = canvas(page, "#code-image"), canvas(page, "#maps canvas")
    page.mouse.click(*at(page, "#maps canvas", 0.1, 0.1))
    changes(page, "#code-image", before)
    changes(page, "#maps canvas", cells)
    assert page.evaluate("state.maps[0][0][0]") == other
    page.mouse.click(*at(page, "#maps canvas[data-level='1']", 0.1, 0.1))  # a map whose codes are not being put
    assert page.evaluate("state.chosen") == {"book": 1, "code": page.evaluate("state.maps[1][0][0]")}


@pytest.mark.parametrize("kind", ["rvq", "vqvae2"])
def test_the_prior_fills_the_maps(opened, kind):
    page = opened(kind)
    page.evaluate(SEEN)
    page.click("#sample")
    until(page, "Boolean(window.seen?.at(-1).codes)")
    seen = page.evaluate("window.seen")
    assert len(seen) == sum(len(row) for k in seen[-1]["codes"] for row in k) + 1
    assert page.evaluate("state.maps") == seen[-1]["codes"]


def test_a_sound_is_seen_heard_and_changed(opened, tmp_path):
    page = opened("sounds")
    page.wait_for_selector("#codebook button")
    until(page, "shown.get($('code-image')) !== undefined")
    assert page.locator("#brushes").is_hidden()
    page.evaluate("choose(0, (state.maps[0][0][17] + 1) % 6)")
    before = canvas(page, "#code-image")
    page.mouse.click(*at(page, "#maps canvas", 1.5 / 16, 0.75))  # code 17: the second of the second line
    changes(page, "#code-image", before)
    assert page.evaluate("state.maps[0][0][17] === state.chosen.code")
    before, maps = canvas(page, "#code-image"), page.evaluate("state.maps")
    page.select_option("#class", "1")
    changes(page, "#code-image", before)  # another voice says the same codes
    assert page.evaluate("state.maps") == maps
    page.click("#code-image + button")
    until(page, "source !== null && source.buffer.sampleRate === 8000 && source.buffer.length === 128")
    page.evaluate(SEEN)
    page.click("#sample")
    until(page, "Boolean(window.seen?.at(-1).codes)")
    assert len(page.evaluate("window.seen")) == 32 + 1
    page.screenshot(path=tmp_path / "sounds.png", full_page=True)


def test_a_clip_moves_stops_and_is_changed(opened, tmp_path):
    page = opened("clips")
    page.wait_for_selector("#codebook button")
    until(page, "state.frame === 1")
    until(page, "state.frame === 2")
    page.click("#move")
    page.locator("#frame").focus()
    page.keyboard.press("Home")
    until(page, "state.frame === 0")
    assert page.locator("#maps canvas:visible").count() == 1
    page.evaluate("choose(0, (state.maps[0][0][0] + 1) % 6)")
    before, first = canvas(page, "#code-image"), page.evaluate("state.maps[0][0][0]")
    page.mouse.click(*at(page, "#maps canvas", 0.1, 0.1))
    changes(page, "#code-image", before)
    assert page.evaluate("state.maps[0][0][0]") != first
    page.evaluate(SEEN)
    page.click("#sample")
    until(page, "Boolean(window.seen?.at(-1).codes)")
    assert len(page.evaluate("window.seen")) == 3 * 2 * 2 + 1
    page.screenshot(path=tmp_path / "clips.png", full_page=True)


def test_a_brush_changes_input_reconstruction_and_numbers(opened):
    page = opened("dae")
    assert page.locator("#brushes [aria-checked=true]").inner_text() == "noise"
    before, seen, numbers = canvas(page, "#input"), canvas(page, "#reconstruction"), page.inner_text("#numbers")
    page.mouse.move(*at(page, "#input", 0.2, 0.2))
    page.mouse.down()
    page.mouse.move(*at(page, "#input", 0.8, 0.8), steps=4)
    page.mouse.up()
    changes(page, "#input", before)
    changes(page, "#reconstruction", seen)
    until(page, lambda: page.inner_text("#numbers") != numbers)
    page.click("#clear")
    until(page, "state.pixels.every((pixel) => pixel === 0)")


def test_a_file_is_scaled_and_encoded(opened, tmp_path):
    from matplotlib.image import imsave

    picture = np.zeros((40, 20, 3))
    picture[:20] = 1  # the upper half is white
    imsave(tmp_path / "half.png", picture)
    page = opened("vae")
    page.set_input_files("#file", tmp_path / "half.png")
    until(page, "state.pixels.filter((pixel) => pixel > 200).length === 16")
    image = np.array(page.evaluate("Array.from(state.pixels)")).reshape(8, 8)
    np.testing.assert_array_equal(image > 127, np.pad(np.ones((4, 4), bool), ((0, 4), (2, 2))))


def test_a_class_changes_the_image(opened):
    page = opened("cvae")
    before = canvas(page, "#reconstruction")
    label = page.eval_on_selector("#class", "select => select.value")
    page.select_option("#class", str((int(label) + 1) % 3))
    changes(page, "#reconstruction", before)


def test_what_the_server_refuses_is_said(browser, servers):
    page = browser.new_page()
    page.goto(servers("vae").url)
    page.wait_for_selector("body[data-ready]")
    page.wait_for_timeout(500)  # all that the page asks at first is answered
    page.evaluate("state.z = [1]; decodeLatents()")
    page.wait_for_selector("#error:not([hidden])")
    assert "latents must have shape" in page.inner_text("#error")
    page.evaluate("encode()")  # sets the latents, which are then decoded
    until(page, "state.z.length > 1")
    page.wait_for_selector("#error", state="hidden")
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("kind", [*KINDS, *OTHERS])
def test_the_page_fits_the_window(opened, kind, width, tmp_path):
    page = opened(kind, width, 800)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for canvas_ in page.locator("canvas:visible").all():
        box = canvas_.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert Path(tmp_path / "page.png").stat().st_size > 10_000


def test_colours_are_shown_as_they_are(browser):
    images = data((3, 8, 8))
    with served(Explorer(model_of("vae", (3, 8, 8)), images)) as server:
        page = browser.new_page()
        page.goto(server.url)
        until(page, "state.pixels !== null")
        shown = page.eval_on_selector("#input", "c => Array.from(c.getContext('2d').getImageData(0, 0, 8, 8).data)")
        page.close()
    rgb = np.array(shown).reshape(8, 8, 4)[..., :3]
    np.testing.assert_array_equal(rgb, as_bytes(images.x_test[0]).transpose(1, 2, 0))
