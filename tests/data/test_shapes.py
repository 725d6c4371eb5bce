"""The generated shapes: their factors are measured on the images, without using the code that drew them."""

import numpy as np
import pytest

import minivae as mv
from minivae.data import shapes


def test_the_factors_are_in_the_picture():
    """The centroid and the area of the white pixels are those that the factors state."""
    table = shapes.factors(300, seed=1)
    images = shapes.render(table, 64)[:, 0].astype(np.float64)
    centres = (np.arange(64) + 0.5) / 64
    mass = images.sum((1, 2))
    x, y = (images.sum(1) * centres).sum(1) / mass, (images.sum(2) * centres).sum(1) / mass
    np.testing.assert_allclose(x, table[:, 3], atol=0.1 / 64)  # a tenth of a pixel
    np.testing.assert_allclose(y, table[:, 4], atol=0.1 / 64)
    area = mass / 64**2 / table[:, 1] ** 2
    heart = 0.75**2 * (4 + np.pi)  # a square of side 1.5 and two half discs of radius 0.75
    expected = np.array([2 * 2, np.pi * 1.3 * 0.8, heart])[table[:, 0].astype(int)]
    np.testing.assert_allclose(area, expected, rtol=0.02)


def test_the_axis_of_an_ellipse_turns_with_its_rotation():
    table = np.array([[1, 0.15, angle, 0.5, 0.5] for angle in np.linspace(0, 3, 13)])
    images = shapes.render(table, 64)[:, 0]
    offset = (np.arange(64) + 0.5) / 64 - 0.5
    xx, yy = (images.sum(1) * offset**2).sum(1), (images.sum(2) * offset**2).sum(1)
    xy = (images * offset[:, None] * offset).sum((1, 2))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    np.testing.assert_allclose(np.cos(2 * (angle - table[:, 2])), 1, atol=1e-3)


def test_the_tip_of_a_heart_turns_clockwise_with_its_rotation():
    """The tip is the point farthest from the centroid; at rotation 0 it points down, to rows of higher index."""
    angles = np.linspace(0, 2 * np.pi, 13)[:-1]
    images = shapes.render(np.array([[2, 0.15, angle, 0.5, 0.5] for angle in angles]), 128)[:, 0]
    offset = (np.arange(128) + 0.5) / 128 - 0.5
    for image, angle in zip(images, angles, strict=True):
        i, j = np.unravel_index(np.argmax((image > 0.5) * np.hypot(offset, offset[:, None])), image.shape)
        tip = np.arctan2(offset[i], offset[j])
        assert np.cos(tip - (np.pi / 2 + angle)) > 0.99


def test_edges_are_a_pixel_wide():
    """The number of grey pixels is about the circumference, times |cos| + |sin| of the direction of the edge."""
    image = shapes.render(np.array([[1, 0.18, 0.4, 0.5, 0.5]]), 64)[0, 0]
    grey = ((image > 0) & (image < 1)).sum()
    a, b = 1.3 * 0.18 * 64, 0.8 * 0.18 * 64
    circumference = np.pi * (3 * (a + b) - np.sqrt((3 * a + b) * (a + 3 * b)))  # Ramanujan 1914
    assert 0.9 * circumference < grey < 1.5 * circumference


def test_a_square_turned_by_a_right_angle_is_itself():
    table = np.array([[0, 0.15, 0.3, 0.5, 0.5], [0, 0.15, 0.3 + np.pi / 2, 0.5, 0.5]])
    images = shapes.render(table)
    np.testing.assert_allclose(images[0], images[1], atol=1e-5)


def test_shifting_by_a_pixel_shifts_the_image():
    table = np.array([[2, 0.15, 0.7, 0.5, 0.5], [2, 0.15, 0.7, 0.5 + 1 / 64, 0.5]])
    images = shapes.render(table, 64)[:, 0]
    np.testing.assert_allclose(images[0][:, :-1], images[1][:, 1:], atol=1e-5)


def test_the_data_set_is_deterministic_and_never_touches_the_border():
    a, b = mv.datasets.load("shapes"), mv.datasets.load("shapes")
    np.testing.assert_array_equal(a.x_train, b.x_train)
    np.testing.assert_array_equal(shapes.render(a.factors_test[:5], 32), a.x_test[:5])
    np.testing.assert_array_equal(a.y_train, a.factors_train[:, 0])
    assert (a.class_names, a.factor_names) == (("square", "ellipse", "heart"), shapes.FACTORS)
    everything = np.concatenate([a.x_train, a.x_test])
    assert everything[:, :, [0, -1]].max() == everything[..., [0, -1]].max() == 0


def test_the_factors_cover_their_ranges_independently():
    table = shapes.factors(5000)
    low, high = [0, 0.1, 0, 0.3, 0.3], [2, 0.18, 2 * np.pi, 0.7, 0.7]
    np.testing.assert_allclose(table.min(0), low, atol=0.01)
    np.testing.assert_allclose(table.max(0), high, atol=0.01)
    assert np.abs(np.corrcoef(table.T) - np.eye(5)).max() < 0.06  # 4 standard deviations


def test_a_smaller_set_is_the_beginning_of_a_larger_one():
    few, table = shapes.generate(7, 16)
    many, _ = shapes.generate(40, 16)
    np.testing.assert_array_equal(few, many[:7])
    np.testing.assert_array_equal(table, shapes.factors(40)[:7])


def test_the_size_can_be_asked_for():
    data = mv.datasets.load("shapes", image_shape=(1, 16, 16))
    assert (data.x_train.shape, data.x_test.shape) == ((4000, 1, 16, 16), (1000, 1, 16, 16))
    with pytest.raises(ValueError, match=r"\(1, S, S\), got \(3, 16, 16\)"):
        mv.datasets.load("shapes", image_shape=(3, 16, 16))


def test_bad_factors():
    with pytest.raises(ValueError, match=r"\(N, 5\)"):
        shapes.render(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="shape must be 0"):
        shapes.render(np.full((1, 5), 3.0))
    with pytest.raises(ValueError, match="size"):
        shapes.render(shapes.factors(1), size=4)
