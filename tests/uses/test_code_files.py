"""Files of codes: they come out as they went in, and a file that was changed, cut off or made by another is refused."""

from itertools import chain
from math import ceil, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vqvaes import vqvae

import minivae as mv
from minivae.models import PixelCNN
from minivae.uses import pack_codes, unpack_codes
from minivae.uses.code_files import FIELDS, HEADER, VERSION
from minivae.uses.code_files import Header as Fields

PRIOR = {"map_shape": (2, 3), "values": 6, "channels": 4, "layers": 2, "first_kernel": 3, "hidden": 6}


@pytest.fixture(scope="module")
def model():
    return vqvae()


def prior_of(model, seed=0, **others):
    mv.manual_seed(seed)
    prior = PixelCNN(**{**PRIOR, "codebook_digest": model.codebook_digest, **others})
    for parameter in prior.parameters():
        parameter.inplace()[...] *= 3
    return prior


@pytest.fixture(scope="module")
def prior(model):
    return prior_of(model)


def codes(n, seed=0):
    return np.random.default_rng(seed).integers(0, 6, (n, 2, 3))


class TestCodes:
    @given(st.integers(0, 30), st.integers(0, 1000), st.booleans())
    @settings(max_examples=40, deadline=None)
    def test_any_come_out_as_they_went_in(self, model, prior, n, seed, uniform):
        used = None if uniform else prior
        found = unpack_codes(model, pack_codes(model, codes(n, seed), used), used)
        np.testing.assert_array_equal(found.codes, codes(n, seed))
        assert found.codes.dtype == np.int64
        assert found.labels is None

    def test_labels_travel_in_the_file(self, model):
        conditional = prior_of(model, classes=5)
        y = np.array([0, 4, 2, 2])
        found = unpack_codes(model, pack_codes(model, codes(4), conditional, y), conditional)
        np.testing.assert_array_equal(found.codes, codes(4))
        np.testing.assert_array_equal(found.labels, y)

    def test_without_a_prior_each_takes_log2_k_bits(self, model):
        payload = len(pack_codes(model, codes(500))) - HEADER
        assert ceil(500 * 6 * log2(6) / 8) - 1 <= payload <= ceil(500 * 6 * log2(6) / 8) + 1

    def test_under_a_prior_they_take_its_nats(self, model, prior):
        drawn = prior.sample(400)
        ideal = model.code_cost(drawn, prior).sum() / (8 * np.log(2))
        assert abs(len(pack_codes(model, drawn, prior)) - HEADER - ideal) < 0.01 * ideal
        assert ideal < 0.95 * 400 * 6 * log2(6) / 8

    def test_a_file_under_the_uniform_prior_needs_none(self, model, prior):
        np.testing.assert_array_equal(unpack_codes(model, pack_codes(model, codes(3)), prior).codes, codes(3))

    def test_the_same_codes_give_the_same_file(self, model, prior):
        assert pack_codes(model, codes(9), prior) == pack_codes(model, codes(9).astype(np.uint8), prior)


class TestDamage:
    @pytest.mark.parametrize("uniform", [True, False])
    def test_every_flip_of_a_bit_is_refused(self, model, prior, uniform):
        used = None if uniform else prior
        whole = pack_codes(model, codes(4), used)
        for bit in range(8 * len(whole)):
            data = bytearray(whole)
            data[bit // 8] ^= 1 << bit % 8
            with pytest.raises(ValueError, match="begins with|changed"):
                unpack_codes(model, bytes(data), used)

    def test_every_truncation_and_every_tail_is_refused(self, model, prior):
        whole = pack_codes(model, codes(4), prior)
        for data in chain((whole[:n] for n in range(len(whole))), (whole + b"\0", whole + whole)):
            with pytest.raises(ValueError, match="begins with|ends after|behind its header"):
                unpack_codes(model, data, prior)

    @pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n" + bytes(200), bytes(100), b"minivae" * 50])
    def test_other_files_are_refused(self, model, data):
        with pytest.raises(ValueError, match="a file of codes begins with"):
            unpack_codes(model, data)

    def test_codes_that_come_out_otherwise_are_refused(self, model, prior, monkeypatch):
        """A machine whose sums are not exact: one frequency of the last position is another."""
        whole = pack_codes(model, codes(40), prior)
        own = type(prior_exact := mv.uses.code_files.ExactPixelCNN(prior))._frequencies
        assert prior_exact.values == 6
        monkeypatch.setattr(mv.uses.code_files.ExactPixelCNN, "_frequencies", lambda s, p: own(s, p)[:, ::-1])
        with pytest.raises(ValueError, match="not those that were encoded"):
            unpack_codes(model, whole, prior)


class TestStrangers:
    def test_another_model_is_refused(self, model, prior):
        other = vqvae()
        other.decoder[0].bias.inplace()[0] += 1  # the same codebook, other pictures
        with pytest.raises(ValueError, match="made with another model"):
            unpack_codes(other, pack_codes(model, codes(3), prior), prior)

    def test_another_prior_is_refused(self, model, prior):
        whole = pack_codes(model, codes(3), prior)
        with pytest.raises(ValueError, match="made with another prior"):
            unpack_codes(model, whole, prior_of(model, seed=1))
        with pytest.raises(ValueError, match="with a PixelCNN prior, and the prior given is None"):
            unpack_codes(model, whole)

    def test_a_prior_that_does_not_fit_is_refused(self, model):
        for others, words in (
            ({"codebook_digest": "0" * 64}, "codes of another codebook"),
            ({"values": 7}, "maps .2, 3. of 7 codes, the model has maps .2, 3. of 6"),
            ({"map_shape": (3, 2)}, "maps .3, 2. of 6"),
        ):
            with pytest.raises(ValueError, match=words):
                pack_codes(model, codes(3), prior_of(model, **others))

    def test_labels_are_asked_for_where_they_belong(self, model, prior):
        with pytest.raises(ValueError, match="needs labels y"):
            pack_codes(model, codes(3), prior_of(model, classes=5))
        for used in (prior, None):
            with pytest.raises(ValueError, match="conditional prior"):
                pack_codes(model, codes(3), used, np.zeros(3, int))

    def test_another_version_is_refused_by_its_number(self, model):
        from zlib import crc32

        whole = pack_codes(model, codes(3))
        start = whole[:8] + bytes([VERSION + 1]) + whole[9 : FIELDS.size]
        with pytest.raises(ValueError, match=f"version {VERSION + 1}, and only version {VERSION}"):
            unpack_codes(model, start + crc32(start).to_bytes(4, "little") + whole[HEADER:])


def test_the_header_is_as_documented(model, prior):
    whole = pack_codes(model, codes(7), prior)
    assert HEADER == 90
    assert whole[:10] == b"\x89mvc\r\n\x1a\n\x01\x01"
    assert [int.from_bytes(whole[k : k + 4], "little") for k in range(10, 42, 4)] == [2, 8, 12, 2, 3, 6, 0, 7]
    assert int.from_bytes(whole[74:78], "little") == len(whole) - HEADER
    assert len(Fields._fields) == 14
