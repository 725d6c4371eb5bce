"""Pictures: every function writes a PNG; its content is tested by the arrays that are drawn."""

import struct

import numpy as np
import pytest
import scipy.stats
from strategies import numbers

from minivae import figures


def images(n, C=1, seed=0):
    return numbers(n, C, 5, 4, seed=seed, low=0, high=1, dtype=np.float32)


@pytest.fixture
def drawn(monkeypatch):
    """The arguments (images, columns) of all calls of mosaic()."""
    calls, mosaic = [], figures.mosaic

    def watched(images, columns):
        calls.append((images, columns))
        return mosaic(images, columns)

    monkeypatch.setattr(figures, "mosaic", watched)
    return calls


@pytest.fixture
def figure(monkeypatch):
    """figure() returns the last figure that was written."""
    module = pytest.importorskip("matplotlib.figure")
    written = []
    monkeypatch.setattr(module.Figure, "savefig", lambda self, *_, **__: written.append(self))
    return lambda: written[-1]


def ticks(axis):
    """The labels of an axis by their position."""
    return {place: label.get_text() for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)}


def check_png(path):
    """Check that the file is a PNG of a reasonable size in which something is drawn."""
    image = pytest.importorskip("matplotlib.image")
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:])
    assert 200 < width < 3000
    assert 100 < height < 6000
    pixels = image.imread(path)
    assert pixels.shape[:2] == (height, width)
    assert pixels[:, :, :3].std() > 0.01


class TestArrays:
    @pytest.mark.parametrize("C", [1, 3])
    def test_a_mosaic_has_each_image_in_its_place(self, C):
        x = images(7, C)
        sheet = figures.mosaic(x, 3)
        sheet = sheet if C == 3 else sheet[:, :, None]
        assert sheet.shape == (3 * 6 - 1, 3 * 5 - 1, C)
        for i in range(7):
            top, left = i // 3 * 6, i % 3 * 5
            np.testing.assert_array_equal(sheet[top : top + 5, left : left + 4], x[i].transpose(1, 2, 0))
        assert (sheet[5::6] == 1).all()
        assert (sheet[:, 4::5] == 1).all()
        assert (sheet[12:, 5:] == 1).all()  # no images there

    def test_a_mosaic_clips(self):
        sheet = figures.mosaic(np.array([-3.0, 0.5, 7.0]).reshape(3, 1, 1, 1), 3)
        np.testing.assert_array_equal(sheet, [[0, 1, 0.5, 1, 1]])

    @pytest.mark.parametrize(("n", "columns"), [(6, 3), (7, 3), (2, 5), (1, 1)])
    def test_interleaved_groups_stand_below_each_other(self, n, columns):
        groups = [images(n, seed=seed) for seed in range(3)]
        order = figures.interleave(groups, columns)
        rows = -(-n // columns)
        assert order.shape == (3 * rows * columns, 1, 5, 4)
        for g, i in np.ndindex(3, n):
            place = (i // columns * 3 + g) * columns + i % columns
            np.testing.assert_array_equal(order[place], groups[g][i])
        assert (order[-1] == 1).all() == (n % columns != 0)

    def test_code_usage_is_sorted_shares_and_their_perplexity(self):
        counts = np.array([1, 0, 6, 3, 0])
        shares, used, perplexity = figures.code_usage(counts)
        np.testing.assert_allclose(shares, [60, 30, 10, 0, 0])
        assert used == 3
        assert perplexity == pytest.approx(np.exp(scipy.stats.entropy(counts / 10)), rel=1e-12)
        assert figures.code_usage(np.full(8, 5))[2] == pytest.approx(8)

    def test_the_principal_plane_keeps_the_largest_variance(self):
        codes = numbers(50, 4) * [0.1, 3.0, 0.2, 2.0]
        plane, share = figures.principal_plane(codes)
        values = np.sort(np.linalg.eigvalsh(np.cov(codes.T)))[::-1]
        np.testing.assert_allclose(plane.var(axis=0, ddof=1), values[:2], rtol=1e-9)
        assert share == pytest.approx(values[:2].sum() / values.sum(), rel=1e-9)

    @pytest.mark.parametrize("C", [2, 5])
    def test_channels_that_are_no_colours_stand_side_by_side(self, C):
        x = images(3, C)
        shown = figures.tiles(x)
        assert shown.shape == (3, 1, 5, C * 4)
        for c in range(C):
            np.testing.assert_array_equal(shown[:, 0, :, 4 * c : 4 * c + 4], x[:, c])
        np.testing.assert_array_equal(figures.mosaic(x, 2), figures.mosaic(shown, 2))

    @pytest.mark.parametrize(("low", "high"), [(0, 255), (-1, 1), (0.2, 0.4), (-3, 0)])
    def test_contrast_reaches_from_the_lowest_to_the_highest_pixel(self, low, high):
        data = np.linspace(low, high, 6).reshape(1, 1, 2, 3)
        shown = figures.contrast(data, data)
        black, white = min(low, 0), max(high, 1)
        np.testing.assert_allclose(shown * (white - black) + black, data, atol=1e-12)
        assert (figures.contrast(data + 1000, data) == 1).all()
        assert (figures.contrast(data - 1000, data) == 0).all()

    @pytest.mark.parametrize("D", [1, 2, 3])
    def test_a_single_code_is_a_point(self, D):
        plane, share = figures.principal_plane(np.ones((1, D)))
        assert plane.shape == (1, 2)
        assert share == 1


class TestSheets:
    def test_reconstructions(self, tmp_path, drawn):
        x, y = images(5), images(5, seed=1)
        figures.save_reconstructions(tmp_path / "a.png", x, y, columns=3)
        np.testing.assert_array_equal(drawn[0][0], figures.interleave([x, y], 3))
        assert drawn[0][1] == 3
        check_png(tmp_path / "a.png")

    def test_interpolation_has_a_path_a_row(self, tmp_path, drawn):
        paths, a, b = images(12).reshape(3, 4, 1, 5, 4), images(3, seed=1), images(3, seed=2)
        figures.save_interpolation(tmp_path / "a.png", a, paths, b)
        rows = drawn[0][0].reshape(3, 6, 1, 5, 4)
        np.testing.assert_array_equal(rows[:, 1:-1], paths)
        np.testing.assert_array_equal(rows[:, 0], a)
        np.testing.assert_array_equal(rows[:, -1], b)
        assert drawn[0][1] == 6
        check_png(tmp_path / "a.png")

    @pytest.mark.parametrize("rows", [None, 2])
    def test_traversal_is_sorted_by_kl(self, tmp_path, drawn, rows):
        grid = images(12).reshape(4, 3, 1, 5, 4)
        kl = np.array([0.1, 2.0, 0.0, 1.0])
        figures.save_traversal(tmp_path / "a.png", grid, (-1, 0, 1), kl, rows)
        expected = grid[[1, 3, 0, 2]][:rows]
        np.testing.assert_array_equal(drawn[0][0], expected.reshape(-1, 1, 5, 4))
        assert drawn[0][1] == 3
        check_png(tmp_path / "a.png")

    def test_the_labels_of_a_traversal_name_its_rows(self, tmp_path, monkeypatch):
        labels = []
        monkeypatch.setattr(figures, "save_sheet", lambda *arguments: labels.extend(arguments[4]))
        figures.save_traversal(tmp_path / "a.png", images(6).reshape(3, 2, 1, 5, 4), (0, 1), np.array([0.5, 0.0, 3.25]))
        assert labels == ["latent 2: 3.25 nats", "latent 0: 0.50 nats", "latent 1: 0.00 nats"]

    def test_the_columns_of_a_traversal_have_their_values(self, tmp_path, figure):
        grid = images(15).reshape(3, 5, 1, 5, 4)
        figures.save_traversal(tmp_path / "a.png", grid, np.linspace(-3, 3, 5).tolist(), np.arange(3.0))
        (axes,) = figure().axes
        names = ["-3", "-1.5", "0", "1.5", "3"]
        assert ticks(axes.xaxis) == {i * 5 + 1.5: name for i, name in enumerate(names)}  # 4 pixels and a gap each

    def test_the_latents_of_a_manifold_have_their_names(self, tmp_path, figure):
        figures.save_manifold(tmp_path / "a.png", images(9))
        (axes,) = figure().axes
        assert axes.get_xlabel().startswith("latent 0,")
        assert axes.get_ylabel().startswith("latent 1,")
        shares = ["0%", "25%", "50%", "75%", "100%"]
        assert [ticks(axes.xaxis)[place] for place in sorted(ticks(axes.xaxis))] == shares
        assert [ticks(axes.yaxis)[place] for place in sorted(ticks(axes.yaxis))] == shares[::-1]  # 100% is on top

    @pytest.mark.parametrize("C", [2, 5])
    def test_any_number_of_channels(self, tmp_path, C):
        x = images(4, C)
        figures.save_reconstructions(tmp_path / "a.png", x, x, 2)
        figures.save_interpolation(tmp_path / "b.png", x[:2], x[None].repeat(2, 0), x[2:])
        figures.save_traversal(tmp_path / "c.png", x.reshape(2, 2, C, 5, 4), (0, 1), np.ones(2))
        figures.save_manifold(tmp_path / "d.png", x)
        figures.save_anomalies(tmp_path / "e.png", x, np.arange(4.0))
        assert len(list(tmp_path.iterdir())) == 5
        check_png(tmp_path / "d.png")

    def test_manifold_is_a_square(self, tmp_path, drawn):
        figures.save_manifold(tmp_path / "a.png", images(9))
        np.testing.assert_array_equal(drawn[0][0], images(9))
        assert drawn[0][1] == 3
        check_png(tmp_path / "a.png")

    @pytest.mark.parametrize("labels", [None, list("abcdefgh")])
    def test_anomalies_begin_with_the_strangest(self, tmp_path, drawn, labels):
        x, scores = images(8), np.array([3.0, 9.0, 1.0, 9.0, 0.0, 7.0, 2.0, 5.0])
        figures.save_anomalies(tmp_path / "a.png", x, scores, columns=2, rows=2, labels=labels)
        shown, columns = drawn[0]
        assert columns == 2
        np.testing.assert_array_equal(shown[:, :, :5], x[[1, 3, 5, 7]])
        assert shown.shape[2] > 5
        assert (shown[:, :, 5:] == 1).all()  # room for the score
        check_png(tmp_path / "a.png")

    def test_fewer_anomalies_than_places(self, tmp_path, drawn):
        figures.save_anomalies(tmp_path / "a.png", images(3, C=3), np.arange(3.0))
        np.testing.assert_array_equal(drawn[0][0][:, :, :5], images(3, C=3)[::-1])
        check_png(tmp_path / "a.png")


class TestPlots:
    def test_curves(self, tmp_path):
        series = {"autoencoder": [15.0, 18, 21], "PCA": [14.0, 16, 19]}
        for log_x in (False, True):
            figures.save_curves(tmp_path / "a.png", [2, 8, 32], series, "dimension", "PSNR in dB", "title", log_x)
            check_png(tmp_path / "a.png")

    def test_code_usage(self, tmp_path):
        figures.save_code_usage(tmp_path / "a.png", np.arange(16))
        check_png(tmp_path / "a.png")

    def test_training(self, tmp_path):
        history = [{"epoch": e, "loss": 3.0 / e, "kl": e, "lr": 0.1, "validation_loss": 4.0 / e} for e in (1, 2, 3)]
        figures.save_training(tmp_path / "a.png", history)
        check_png(tmp_path / "a.png")

    @pytest.mark.parametrize("held_out", ["test", "validation"])
    def test_training_says_which_images_the_curves_are_of(self, tmp_path, figure, held_out):
        figures.save_training(
            tmp_path / "a.png", [{"epoch": 1, "loss": 3.0, "validation_loss": 4.0}], held_out=held_out
        )
        (axes,) = figure().axes
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", held_out]

    def test_units_of_two_levels(self, tmp_path, figure):
        record = {"epoch": 1, "nll": 3.0, "vq_top": 1.0, "perplexity_top": 4.0, "usage_bottom": 1.0}
        figures.save_training(tmp_path / "a.png", [record])
        units = ["nats per image", "squared distance per code", "codes", "share of the codes"]
        assert [axes.get_ylabel() for axes in figure().axes] == units

    @pytest.mark.parametrize("epochs", [1, 2, 30])
    def test_epochs_are_whole(self, tmp_path, figure, epochs):
        figures.save_training(tmp_path / "a.png", [{"epoch": e, "loss": 1 / e} for e in range(1, epochs + 1)])
        (axes,) = figure().axes
        low, high = axes.get_xlim()
        shown = [place for place in axes.xaxis.get_ticklocs() if low <= place <= high]
        assert shown
        assert all(place == round(place) for place in shown)

    def test_each_term_has_its_unit_and_all_fit_on_a_screen(self, tmp_path, figure):
        terms = {"loss": "nats", "nll": "nats", "vq": "squared distance per code", "perplexity": "codes"}
        terms["usage"] = "share of the codes"
        figures.save_training(tmp_path / "a.png", [{"epoch": 1, **dict.fromkeys(terms, 0.5)}], "nats")
        assert {axes.get_title(): axes.get_ylabel() for axes in figure().axes} == terms
        width, height = figure().get_size_inches() * figures.DPI
        assert width <= 1920
        assert height <= 1080

    @pytest.mark.parametrize("classes", [10, 13, 20])
    def test_each_class_has_its_colour(self, tmp_path, figure, classes):
        figures.save_latent(tmp_path / "a.png", numbers(60, 3), np.arange(60) % classes)
        colours = [tuple(points.get_facecolor()[0]) for points in figure().axes[0].collections]
        assert len(set(colours)) == classes

    def test_very_many_classes_have_a_colour_bar(self, tmp_path):
        figures.save_latent(tmp_path / "a.png", numbers(60, 3), np.arange(60))
        check_png(tmp_path / "a.png")

    @pytest.mark.parametrize(("D", "names"), [(1, ("latent 0", "")), (2, ("latent 0", "latent 1"))])
    def test_latents_are_numbered_from_0(self, tmp_path, figure, D, names):
        figures.save_latent(tmp_path / "a.png", numbers(12, D), None)
        (axes,) = figure().axes
        assert (axes.get_xlabel(), axes.get_ylabel()) == names

    @pytest.mark.parametrize("D", [1, 2, 5])
    def test_latent(self, tmp_path, D):
        for labels in (None, np.arange(12) % 3):
            figures.save_latent(tmp_path / "a.png", numbers(12, D), labels, ["bag", "coat", "shirt"])
            check_png(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: figures.save_sheet(p, images(2)[0], 1, ""), r"\(N, C, H, W\).* got \(1, 5, 4\)"),
        (lambda p: figures.save_interpolation(p, images(2), images(6)[None], images(2)), "as many images"),
        (lambda p: figures.save_reconstructions(p, images(2), images(3)), "one shape"),
        (lambda p: figures.save_reconstructions(p, images(2), images(2), columns=0), "columns"),
        (lambda p: figures.save_traversal(p, images(6).reshape(2, 3, 1, 5, 4), (0, 1), np.ones(2)), "values = 2"),
        (lambda p: figures.save_manifold(p, images(8)), "square of images, got 8"),
        (lambda p: figures.save_anomalies(p, images(2), np.ones(3)), "each of 2 images"),
        (lambda p: figures.save_anomalies(p, images(2), np.ones(2), labels=["a"]), "each of 2 images"),
        (lambda p: figures.save_curves(p, [1, 2], {"a": [1]}, "", "", ""), r"2 values.*\{'a': 1\}"),
        (lambda p: figures.save_code_usage(p, np.zeros(4)), "not all of them 0"),
        (lambda p: figures.save_code_usage(p, np.array([3, -1])), ">= 0"),
    ],
)
def test_bad_calls_write_nothing(tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
