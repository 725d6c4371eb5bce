"""fit(checkpoint=..., resume=True): what may be changed, and what is refused."""

from math import cos, pi

import numpy as np
import pytest
from strategies import numbers

import minivae as mv
from minivae.data.batches import Batches, digest
from minivae.models import VAE, Autoencoder, PixelCNN
from minivae.optim import Adam, Schedule
from minivae.training import Trainer
from minivae.training.checkpoint import remove_leftovers

IMAGES = numbers(40, 1, 4, 4, low=0, high=1, dtype=np.float32)
FIT = {"epochs": 4, "batch_size": 16, "lr": 1e-2}
STEPS = 3  # of an epoch


def new(**options):
    mv.manual_seed(0)
    return Autoencoder((1, 4, 4), 3, hidden=(6,), **options)


def stopped(path, after=2, **options):
    """A training of 4 epochs that is interrupted after some of them."""

    def stop(record):
        if record["epoch"] == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        new().fit(IMAGES, **{**FIT, **options}, checkpoint=path, on_epoch=stop)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.npz"


OTHER = IMAGES.copy()
OTHER[-1, 0, -1, -1] = np.nextafter(OTHER[-1, 0, -1, -1], np.float32(0))


class TestRefused:
    """Each of these was ignored, or trained on something else, without a word."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"lr": 2e-2}, "lr was 0.01, not 0.02"),
            ({"batch_size": 20}, "batch_size was 16, not 20"),
            ({"clip_norm": 1.0}, "clip_norm was None, not 1.0"),
            ({"epochs": 3}, "of 4 epochs, .* longer but not shorter, got epochs = 3"),
            ({"validation": IMAGES[:5]}, "other validation data"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_other_arguments(self, change, message, path):
        stopped(path)
        before, model = path.read_bytes(), new()
        weights = model.state_dict()
        with pytest.raises(ValueError, match=message):
            model.fit(IMAGES, **{**FIT, **change}, checkpoint=path, resume=True)
        assert path.read_bytes() == before
        for name, array in weights.items():
            np.testing.assert_array_equal(model.state_dict()[name], array)

    @pytest.mark.parametrize("other", [OTHER, IMAGES[::-1], IMAGES[:39]], ids=["a bit", "order", "number"])
    def test_other_data(self, other, path):
        stopped(path)
        with pytest.raises(ValueError, match="another content|examples = 40"):
            new().fit(other, **FIT, checkpoint=path, resume=True)

    def test_other_validation_data(self, path):
        stopped(path, validation=IMAGES[:5])
        with pytest.raises(ValueError, match="other validation data"):
            new().fit(IMAGES, **FIT, validation=OTHER[-5:], checkpoint=path, resume=True)
        with pytest.raises(ValueError, match="other validation data"):
            new().fit(IMAGES, **FIT, checkpoint=path, resume=True)

    def test_other_labels(self, path):
        maps, labels = np.arange(36).reshape(9, 2, 2) % 3, np.arange(9) % 2

        def prior():
            return PixelCNN((2, 2), 3, channels=2, layers=1, hidden=3, classes=2)

        prior().fit(maps, labels, epochs=1, checkpoint=path)
        with pytest.raises(ValueError, match="another content"):
            prior().fit(maps, 1 - labels, epochs=1, checkpoint=path, resume=True)

    def test_another_model_names_what_differs(self, path):
        stopped(path)
        with pytest.raises(ValueError, match="corruption was None, not masking"):
            new(corruption="masking").fit(IMAGES, **FIT, checkpoint=path, resume=True)
        with pytest.raises(ValueError, match="belongs to Autoencoder, not to this model"):
            VAE((1, 4, 4), 3, "dense").fit(IMAGES, **FIT, checkpoint=path, resume=True)

    def test_a_model_is_no_checkpoint(self, path):
        new().save(path)
        with pytest.raises(ValueError, match="no training to go on with"):
            new().fit(IMAGES, **FIT, checkpoint=path, resume=True)


class TestTheSame:
    def test_flat_images_and_other_containers_are_the_same_data(self, path):
        """What counts is what the model sees."""
        stopped(path)
        whole = new().fit(IMAGES, **FIT)
        wide = np.asfortranarray(np.repeat(IMAGES.reshape(40, 16), 2, axis=1))[:, ::2]
        resumed = new().fit(wide, **FIT, checkpoint=path, resume=True)
        for name, array in whole.state_dict().items():
            np.testing.assert_array_equal(resumed.state_dict()[name], array)

    def test_a_finished_training_is_finished(self, path):
        whole = new().fit(IMAGES, **FIT, checkpoint=path)
        before = path.read_bytes()
        again = new().fit(IMAGES, **FIT, checkpoint=path, resume=True)
        assert again.history == whole.history
        assert path.read_bytes() == before
        for name, array in whole.state_dict().items():
            np.testing.assert_array_equal(again.state_dict()[name], array)


class Piecewise(Schedule):
    """The cosine of `before` epochs for `steps` steps, then that of `after` epochs."""

    def __init__(self, optimizer, steps, before, after):
        def factor(step):
            epochs = before if step < steps else after
            return (1 + cos(pi * step / (epochs * STEPS))) / 2

        super().__init__(optimizer, factor)


class TestLonger:
    @pytest.mark.parametrize("done", [2, 4], ids=["interrupted", "finished"])
    def test_the_learning_rate_goes_on_along_the_cosine_of_the_longer_training(self, done, path):
        """Against a training that is told so from the start, bit by bit."""
        if done == 4:
            new().fit(IMAGES, **FIT, checkpoint=path)
        else:
            stopped(path, done)
        longer = new().fit(IMAGES, **{**FIT, "epochs": 7}, checkpoint=path, resume=True)
        expected = new()
        optimizer = Adam(expected.parameters(), 1e-2)
        trainer = Trainer(expected, optimizer, Batches(IMAGES, 16), Piecewise(optimizer, done * STEPS, 4, 7))
        history = trainer.run(7)
        assert [(r["loss"], r["lr"]) for r in longer.history] == [(r["loss"], r["lr"]) for r in history]
        for name, array in expected.state_dict().items():
            np.testing.assert_array_equal(longer.state_dict()[name], array)

    def test_one_that_is_interrupted_goes_on(self, path, tmp_path):
        stopped(path)
        (tmp_path / "whole.npz").write_bytes(path.read_bytes())
        longer = {**FIT, "epochs": 7}
        whole = new().fit(IMAGES, **longer, checkpoint=tmp_path / "whole.npz", resume=True)

        def stop(record):
            if record["epoch"] == 5:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            new().fit(IMAGES, **longer, checkpoint=path, resume=True, on_epoch=stop)
        with pytest.raises(ValueError, match="of 7 epochs"):
            new().fit(IMAGES, **FIT, checkpoint=path, resume=True)
        resumed = new().fit(IMAGES, **longer, checkpoint=path, resume=True)
        for name, array in whole.state_dict().items():
            np.testing.assert_array_equal(resumed.state_dict()[name], array)


class TestLeftovers:
    def test_those_of_a_killed_process_go_and_no_others(self, tmp_path, path):
        ours = [".checkpoint.npz.123.tmp", ".checkpoint.npz.9.tmp"]
        others = [".model.npz.123.tmp", ".checkpoint.npz.tmp", "checkpoint.npz.1.tmp", ".checkpoint.npz.1a.tmp"]
        for name in ours + others:
            (tmp_path / name).touch()
        new().fit(IMAGES, **FIT, checkpoint=path)
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others, path.name])
        remove_leftovers(tmp_path)
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others[1:], path.name])

    def test_a_checkpoint_that_cannot_be_written_is_found_before_the_first_epoch(self, tmp_path):
        model = new()
        with pytest.raises(FileNotFoundError, match="absent"):
            model.fit(IMAGES, **FIT, checkpoint=tmp_path / "absent" / "checkpoint.npz")
        assert model.history == []


def test_a_digest_tells_shapes_dtypes_contents_and_places_apart():
    x = np.arange(6, dtype=np.float32)
    arrays = [
        (x,),
        (x, None),
        (None, x),
        (x, x),
        (x[:3], x[3:]),
        (x.reshape(2, 3),),
        (x.view(np.int32),),
        (x[::-1],),
        (x[:0],),
        (x[:0].reshape(0, 2),),
    ]
    assert len({digest(*given) for given in arrays}) == len(arrays)
    assert digest(np.repeat(x, 2)[::2]) == digest(x)
    many = np.arange(5000)
    other = many.copy()
    other[4999] += 1
    assert digest(many) != digest(other)


def test_a_model_and_a_fit_with_numpys_numbers_go_on_as_those_with_pythons(path):
    """An image_shape that is an array is compared by its numbers, and what is written is JSON."""

    def fit(**options):
        mv.manual_seed(0)
        model = Autoencoder(np.array([1, 4, 4]), np.int64(3), hidden=np.array([6]), lr=np.float32(1e-2))
        return model.fit(IMAGES, epochs=np.int64(2), batch_size=np.int64(16), **options)

    def stop(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(clip_norm=np.float32(1), checkpoint=path, on_epoch=stop)
    weights = fit(clip_norm=1, checkpoint=path, resume=True).state_dict()
    for name, array in fit(clip_norm=1.0).state_dict().items():
        np.testing.assert_array_equal(weights[name], array)
