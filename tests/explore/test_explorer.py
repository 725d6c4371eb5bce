"""What the page is told is what the model says, for every kind of model; what is wrong with a request is said."""

import numpy as np
import pytest
from explorers import (
    CODED,
    KINDS,
    LATENT,
    SHAPE,
    as_bytes,
    clips,
    data,
    explorer,
    model_of,
    numbers_of,
    pixels,
    prior_of,
    sounds,
    text_of,
)

from minivae import models
from minivae.explore import Explorer
from minivae.models.autoencoder import LEVEL
from minivae.random import fork


def label_of(of):
    return {"label": 1} if of.model.conditional else {}


def given(of, count):
    return (np.full(count, 1),) if of.model.conditional else ()


class TestLatents:
    @pytest.mark.parametrize("kind", LATENT)
    def test_sliders_show_what_the_model_decodes(self, kind):
        of = explorer(kind)
        z = np.random.default_rng(0).normal(size=(3, of.model.latent_dim))
        found = of.decode({"latents": z.tolist(), **label_of(of)})
        np.testing.assert_array_equal(pixels(found["images"]), as_bytes(of.model.decode(z, *given(of, 3))))

    @pytest.mark.parametrize("kind", LATENT)
    def test_an_image_comes_back_with_its_code_and_its_numbers(self, kind):
        of, x = explorer(kind), data().x_test[2:3]
        found = of.encode({"images": text_of(x), **label_of(of)})
        codes = of.model.encode(x, *given(of, 1))
        np.testing.assert_allclose(found["latents"], codes, rtol=1e-5, atol=1e-6)
        close = pixels(found["images"]).astype(int) - as_bytes(of.model.decode(codes, *given(of, 1)))
        assert abs(close).max() <= 1  # one rounding of x in float32
        if hasattr(of.model, "posterior"):
            elbo, nll, kl = found["numbers"].values()
            assert elbo == pytest.approx(-nll - kl)
            assert kl == pytest.approx(of.model.latent_usage(x, *given(of, 1)).kl.sum(), rel=1e-4)
        else:
            assert found["numbers"] == {"squared error": pytest.approx(-of.model.score_samples(x)[0], rel=1e-4)}

    @pytest.mark.parametrize("latent_dim", [1, 2, 5])
    def test_the_plane_is_that_of_the_principal_axes_and_of_two_latents_the_latents(self, latent_dim):
        model = models.Autoencoder(SHAPE, arch="dense", hidden=(), latent_dim=latent_dim)
        plane = Explorer(model, data()).plane()
        z, points = model.encode(data().x_test).astype(np.float64), np.array(plane["points"])
        axes, middle = np.array(plane["axes"]), np.array(plane["middle"])
        np.testing.assert_allclose(points, (z - middle) @ axes.T, atol=1e-9)
        if latent_dim <= 2:
            np.testing.assert_array_equal(points[:, :latent_dim], z)
        else:
            np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-9)
            largest = np.linalg.eigvalsh(np.cov(z.T, bias=True))[-2:]
            np.testing.assert_allclose(points.var(axis=0), largest[::-1], rtol=1e-6)
        assert plane["labels"] == data().y_test.tolist()

    def test_one_test_image_is_enough(self):
        one = data()
        plane = Explorer(model_of("vae"), type(one)("one", one.x_train, one.x_test[:1])).plane()
        np.testing.assert_allclose(plane["points"], 0, atol=1e-12)

    def test_sliders_begin_with_the_latent_that_varies_most(self):
        of = explorer("ae")
        latents = of.describe()["latents"]
        variances = of.latents.var(axis=0)[latents["order"]]
        assert (np.diff(variances) <= 0).all()
        assert not latents["normal"]
        assert explorer("vae").describe()["latents"]["normal"]

    def test_pixels_of_another_range_are_shown_in_it(self):
        images = data(low=-2, high=3)
        of = Explorer(model_of("ae"), images)
        low, high = images.value_range
        found = pixels(of.image({"index": 0})["images"])
        np.testing.assert_array_equal(found, as_bytes(images.x_test[:1], low, high))

    def test_a_denoising_autoencoder_says_its_noise(self):
        model = models.Autoencoder(SHAPE, corruption="masking", level=0.0, arch="dense", latent_dim=2)
        assert Explorer(model, data()).describe()["noise"] == {"kind": "masking", "level": 0.0}
        assert explorer("dae").describe()["noise"] == {"kind": "gaussian", "level": LEVEL}
        assert explorer("ae").describe()["noise"] is None


class TestCodes:
    @pytest.mark.parametrize("kind", CODED)
    def test_a_map_is_decoded_as_the_model_does(self, kind):
        of, x = explorer(kind), data().x_test[:1]
        found = of.encode({"images": text_of(x)})
        shown = [(level["name"], np.shape(k)) for level, k in zip(of.describe()["maps"], found["codes"], strict=True)]
        assert shown == [(level.name, level.shape) for level in of.maps.levels]
        again = of.decode({"codes": found["codes"]})
        assert again["images"] == found["images"]
        np.testing.assert_array_equal(pixels(again["images"]), as_bytes(of.model.reconstruct(x)))

    @pytest.mark.parametrize("kind", CODED)
    def test_each_code_is_counted_and_drawn(self, kind):
        of = explorer(kind)
        book = of.codebook()["books"]
        for level, codes, found in zip(of.maps.levels, of.codes, book, strict=True):
            assert found["counts"] == [int((codes == k).sum()) for k in range(level.codes)]
            assert len(pixels(found["images"], (1, *found["size"]))) == level.codes

    @pytest.mark.parametrize("classes", [None, 3])
    @pytest.mark.parametrize("kind", CODED)
    def test_numbers_are_the_bound_under_the_prior(self, kind, classes):
        of, x = explorer(kind, classes, prior=True), data().x_test[:1]
        label = {} if classes is None else {"label": 2}
        bound, nll, cost = of.encode({"images": text_of(x), **label})["numbers"].values()
        y = None if classes is None else np.array([2])
        assert bound == pytest.approx(-of.model.score_samples(x, of.prior, y)[0], rel=1e-5)
        assert bound == pytest.approx(nll + cost)

    @pytest.mark.parametrize("classes", [None, 3])
    @pytest.mark.parametrize("kind", CODED)
    def test_a_sample_comes_code_by_code_and_is_that_of_the_prior(self, kind, classes):
        of, lines = explorer(kind, classes, prior=True), []
        label = {} if classes is None else {"label": 2}
        of.sample({"seed": 5, "temperature": 0.5, **label}, lines.append)
        *codes, end = lines
        with fork(5):
            expected = of.prior.sample(1, 0.5, None if classes is None else np.array([2]))
        expected = [k[0] for k in of.maps.split(expected)]
        assert len(codes) == sum(k.size for k in expected)
        for level, k in enumerate(expected):
            own = [line for line in codes if line["map"] == level]
            assert [(line["row"], line["column"]) for line in own] == list(np.ndindex(k.shape))  # raster order
            assert [line["code"] for line in own] == k.ravel().tolist()
            np.testing.assert_array_equal(end["codes"][level], k)
        assert end["images"] == of.decode({"codes": end["codes"]})["images"]


@pytest.mark.parametrize("make", [sounds, clips])
class TestSoundsAndClips:
    def test_a_test_segment_comes_back_with_its_codes_and_its_bound(self, make):
        of, label = make()
        x, y = of.x[3:4], (np.array([2]),) if label else ()
        found = of.encode({"index": 3, **label})
        codes = of.model.encode(x)
        np.testing.assert_array_equal(of.maps.checked(found["codes"]), codes)
        np.testing.assert_array_equal(
            numbers_of(of, found["images"]), numbers_of(of, of.wire.text(of.model.decode(codes, *y)))
        )
        bound, nll, cost = found["numbers"].values()
        assert bound == pytest.approx(-of.model.score_samples(x, of.prior, *y)[0], rel=1e-6)
        assert bound == pytest.approx(nll + cost)

    def test_a_changed_code_is_decoded_in_the_voice_that_is_asked_for(self, make):
        of, label = make()
        maps = of.encode({"index": 0, **label})["codes"]
        maps[-1][0][1] = (maps[-1][0][1] + 1) % of.model.codes
        found = of.decode({"codes": maps, **label})["images"]
        y = (2,) if label else ()
        assert found == of.wire.text(of.model.decode(of.maps.checked(maps), *y))
        assert found != of.encode({"index": 0, **label})["images"]
        if label:
            assert found != of.decode({"codes": maps, "label": 0})["images"]

    def test_the_codebook_counts_the_codes_of_all_frames(self, make):
        of, _ = make()
        (book,) = of.codebook()["books"]
        assert book["counts"] == np.bincount(of.model.encode(of.x).ravel(), minlength=of.model.codes).tolist()
        size = of.model.image_shape[-3] * book["size"][0] * book["size"][1]
        assert numbers_of(of, book["images"]).size == of.model.codes * size

    def test_a_sample_comes_code_by_code_and_is_that_of_the_prior(self, make):
        of, label = make()
        lines = []
        of.sample({"seed": 5, "temperature": 0.5, **label}, lines.append)
        *drawn, end = lines
        with fork(5):
            expected = of.prior.sample(1, 0.5, np.array([2]) if label else None)
        expected = np.array([k[0] for k in of.maps.split(expected)])
        np.testing.assert_array_equal(end["codes"], expected)
        places = [(line["map"], line["row"], line["column"]) for line in drawn]
        assert places == list(np.ndindex(expected.shape))
        assert [line["code"] for line in drawn] == expected.ravel().tolist()
        assert end["images"] == of.decode({"codes": end["codes"], **label})["images"]

    def test_the_numbers_are_those_of_the_test_data(self, make):
        of, _ = make()
        found = numbers_of(of, of.image({"index": 1})["images"])
        scale = 32767 if of.sample_rate else 255
        np.testing.assert_allclose(found / scale, of.x[1].ravel(), atol=0.51 / scale)

    def test_there_are_none_to_send(self, make):
        with pytest.raises(ValueError, match="by its index"):
            make()[0].encode({"images": "AAAA"})


class TestWrongRequests:
    @pytest.mark.parametrize(
        ("kind", "method", "request_", "words"),
        [
            ("vae", "decode", {}, "latents"),
            ("vae", "decode", {"latents": "text"}, "latents"),
            ("vae", "decode", {"latents": [[1, 2, 3]]}, "(N, 4)"),
            ("vae", "decode", {"latents": [[1, 2], [3]]}, "latents"),
            ("vae", "decode", {"latents": [[1, 2, 3, float("nan")]]}, "finite"),
            ("vae", "decode", {"latents": [[1, 2, 3, 1e39]]}, "finite"),
            ("vae", "decode", {"latents": []}, "latents"),
            ("vae", "decode", {"latents": [[0] * 4] * 65}, "65"),
            ("vae", "decode", {"latents": [[0] * 4], "label": 0}, "no classes"),
            ("vae", "decode", {"latents": [[0] * 4], "other": 0}, "'other'"),
            ("cvae", "decode", {"latents": [[0] * 4], "label": 3}, "label"),
            ("cvae", "decode", {"latents": [[0] * 4], "label": "a"}, "label"),
            ("vae", "encode", {"images": "AA"}, "base64"),
            ("vae", "encode", {"images": "AAAA"}, "64 bytes"),
            ("vae", "encode", {"images": 5}, "base64"),
            ("vae", "encode", {}, "base64"),
            ("vae", "encode", {"index": 12}, "index"),
            ("vae", "encode", {"index": 1, "images": "AAAA"}, "both"),
            ("vae", "image", {"index": 12}, "index"),
            ("vae", "image", {"index": -1}, "index"),
            ("vae", "image", {"index": 0.5}, "index"),
            ("vq", "decode", {"codes": [[[0, 0], [0, 6]]]}, "[0, 6)"),
            ("vq", "decode", {"codes": [[[0, 0], [0, -1]]]}, "[0, 6)"),
            ("vq", "decode", {"codes": [[[0, 0]]]}, "(2, 2)"),
            ("vq", "decode", {"codes": [[[0.5, 0], [0, 0]]]}, "integers"),
            ("vq", "decode", {"codes": [[[0, 0], [0, 0]]] * 2}, "1 maps"),
            ("rvq", "decode", {"codes": [[[0, 0], [0, 0]]]}, "2 maps"),
            ("vqvae2", "decode", {"codes": [[[0, 0], [0, 0]]] * 2}, "(4, 4)"),
            ("vq", "decode", {"latents": [[0] * 4]}, "'latents'"),
        ],
    )
    def test_they_are_refused_in_a_sentence(self, kind, method, request_, words):
        with pytest.raises((ValueError, TypeError)) as error:
            getattr(explorer(kind), method)(request_)
        assert words in str(error.value)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("wrong", [{"temperature": -1}, {"temperature": "hot"}, {"seed": -1}, {"seed": 1.5}])
    def test_a_sample_with_wrong_numbers(self, wrong):
        with pytest.raises((ValueError, TypeError), match=next(iter(wrong))):
            explorer("vq", prior=True).sample(wrong, lambda line: pytest.fail("nothing must be drawn"))

    def test_what_a_model_does_not_have(self):
        with pytest.raises(ValueError, match="no codes"):
            explorer("vae").codebook()
        with pytest.raises(ValueError, match="no plane"):
            explorer("vq").plane()
        with pytest.raises(ValueError, match="minivae train prior"):
            explorer("vq").sample({}, print)


class TestWhichModels:
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_model_of_images_is_described(self, kind):
        about = explorer(kind).describe()
        assert ("latents" in about) != ("maps" in about)
        assert (about["classes"] == ["a", "b", "c"]) == (kind == "cvae")

    def test_images_of_two_channels_are_refused(self):
        with pytest.raises(ValueError, match="1 or 3 channels"):
            Explorer(models.Autoencoder((2, 8, 8), arch="dense", latent_dim=2), data((2, 8, 8)))

    def test_a_conditional_prior_brings_its_classes(self):
        model = model_of("vq")
        assert Explorer(model, data(), prior_of(model, 3)).describe()["classes"] == ["a", "b", "c"]
