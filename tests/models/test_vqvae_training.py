"""Training of the VQ-VAE: what it learns, its codebook and its records, interrupted runs, and its files."""

import json

import numpy as np
import pytest
from strategies import numbers
from vqvaes import SMALL, configured, images, vqvae

import minivae as mv
from minivae.models import VQVAE, load


class TestTraining:
    def fitted(self, seed=0, settings=SMALL, **fit):
        mv.manual_seed(seed)
        return VQVAE(**settings).fit(images(40), **{"epochs": 4, "batch_size": 16, "lr": 1e-2, **fit})

    @pytest.mark.parametrize("update", ["ema", "gradient"])
    def test_it_learns_what_there_is_to_learn(self, update):
        """Images of two 4x4 tiles, each of three kinds: a code for each of them leaves nothing of the 22 nats."""
        mv.manual_seed(0)
        tiles = (numbers(3, 1, 4, 4, seed=3) > 0).astype(np.float32)
        left, right = np.random.default_rng(0).integers(0, 3, (2, 96))
        x = np.concatenate([tiles[left], tiles[right]], axis=3)
        settings = {**SMALL, "image_shape": (1, 4, 8), "codes": 12, "channels": 8, "decay": 0.8, "restart": 0.1}
        model = VQVAE(**settings, update=update).fit(x, epochs=25, batch_size=16, lr=1e-2)
        assert model.history[0]["nll"] > 20
        assert model.history[-1]["nll"] < 5
        assert ((model.reconstruct(x) > 0.5) == x).mean() > 0.9

    def test_one_seed_is_one_run_bit_by_bit(self):
        a, b, other = self.fitted(), self.fitted(), self.fitted(seed=1)
        for name, array in a.state_dict().items():
            np.testing.assert_array_equal(array, b.state_dict()[name])
        assert not np.array_equal(a.state_dict()["quantizer.codebook"], other.state_dict()["quantizer.codebook"])

    def test_validation_does_not_change_training(self):
        a, b = self.fitted(), self.fitted(validation=images(10, seed=5))
        for name, array in a.state_dict().items():
            if name != "quantizer.pass_counts":
                np.testing.assert_array_equal(array, b.state_dict()[name])
        assert {"validation_nll", "validation_perplexity", "validation_usage"} <= b.history[0].keys()

    def test_perplexity_and_usage_are_those_of_the_epoch(self):
        """Of 40 x 6 codes, not the means over batches of 8; here from the codes themselves, in the last epoch of no
        learning, in which nothing moves."""
        model = self.fitted()
        record = mv.models.VQVAE.fit(model, images(40), epochs=1, batch_size=8, lr=1e-30, validation=images(40))
        counts = np.bincount(model.encode(images(40)).ravel(), minlength=6)
        p = counts[counts > 0] / counts.sum()
        last = record.history[-1]
        assert last["validation_perplexity"] == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-9)
        assert last["validation_usage"] == len(p) / 6
        assert 1 <= last["perplexity"] <= 6

    def test_an_interrupted_run_resumes_bit_by_bit(self, tmp_path):
        """Bug: averages of the codebook that are missing from checkpoints."""
        path = tmp_path / "checkpoint.npz"

        def stop(record):
            if record["epoch"] == 2:
                raise KeyboardInterrupt

        whole = self.fitted()
        with pytest.raises(KeyboardInterrupt):
            self.fitted(checkpoint=path, on_epoch=stop)
        mv.manual_seed(99)
        resumed = VQVAE(**SMALL).fit(images(40), epochs=4, batch_size=16, lr=1e-2, checkpoint=path, resume=True)
        for name, array in whole.state_dict().items():
            np.testing.assert_array_equal(array, resumed.state_dict()[name])
        assert [r["loss"] for r in whole.history] == [r["loss"] for r in resumed.history]

    def test_the_codebook_starts_inside_of_the_encoders_outputs(self):
        """Bug: codes that are tiny, or far, against the encoder's outputs, of which all but a few are never chosen."""
        model = vqvae(dtype=np.float64)
        x = images(20, seed=8, dtype=np.float64)
        z = np.moveaxis(model.encoder(mv.Tensor(x)).numpy(), 1, -1).reshape(-1, 3)
        codebook = model.quantizer.codebook.numpy()
        assert ((codebook >= z.min(0)) & (codebook <= z.max(0))).all()
        assert len(np.unique(model.encode(x))) == 6

    def test_a_second_fit_goes_on_with_the_codebook_of_the_first(self):
        model = self.fitted()
        codebook = model.quantizer.codebook.numpy()
        model.prepare(images(40, seed=3))
        np.testing.assert_array_equal(model.quantizer.codebook.numpy(), codebook)

    def test_fewer_latents_than_codes(self, tmp_path):
        path = tmp_path / "checkpoint.npz"
        with pytest.raises(ValueError, match="12 vectors for 13 codes"):
            VQVAE(**{**SMALL, "codes": 13}).fit(images(2), checkpoint=path)
        assert not path.exists()


class TestFiles:
    @pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
    @configured
    def test_round_trip(self, tmp_path, suffix, settings):
        if suffix == ".safetensors":
            pytest.importorskip("safetensors")
        model, path, x = vqvae(settings), tmp_path / f"model{suffix}", images(3)
        model.save(path)
        for loaded in (VQVAE.load(path), load(path)):
            np.testing.assert_array_equal(loaded.encode(x), model.encode(x))
            np.testing.assert_array_equal(loaded.reconstruct(x), model.reconstruct(x))
            assert json.dumps(loaded.get_params()) == json.dumps(model.get_params())
            assert loaded.codebook_digest == model.codebook_digest

    def test_parameters(self):
        model = VQVAE(**SMALL)
        model.set_params(codes=9)
        assert model.get_params()["codes"] == 9
        assert model.quantizer.codebook.shape == (9, 3)

    def test_clone_and_pipeline(self):
        base = pytest.importorskip("sklearn.base")
        assert base.clone(VQVAE(**SMALL)).get_params() == VQVAE(**SMALL).get_params()
