"""Encoders and decoders of the user in a VQ-VAE: trained as copies, of any map of codes, checked, saved and resumed."""

import numpy as np
import pytest
from vqvaes import images

import minivae as mv
from minivae import nn
from minivae.models import VQVAE, PixelCNN, load

SHAPE, D = (1, 6, 9), 2  # not multiples of 4
FIT = {"epochs": 2, "batch_size": 8, "lr": 1e-2}


class Encoder(nn.Module):
    """A vector for each 3 x 3 pixels."""

    def __init__(self, outputs=D):
        self.conv, self.norm = nn.Conv2d(1, 4, 3, stride=3), nn.BatchNorm2d(4)
        self.project = nn.Conv2d(4, outputs, 1)

    def forward(self, x):
        return self.project(mv.functional.relu(self.norm(self.conv(x))))


def decoder(width=3):
    return nn.Sequential(nn.Conv2d(D, 4, 1), nn.ReLU(), nn.ConvTranspose2d(4, 1, (3, width), stride=(3, width)))


def vqvae(**options):
    return VQVAE(SHAPE, 5, D, **{"encoder": Encoder(), "decoder": decoder(), **FIT, **options})


def pictures(n=30, seed=0):
    return images(n, SHAPE, seed)


def weights(module):
    return {name: array.tobytes() for name, array in module.state_dict().items()}


@pytest.fixture(autouse=True)
def seeded():
    mv.manual_seed(0)


def test_the_model_trains_copies_of_them():
    model = vqvae()
    given = model.get_params()
    before = [weights(given[name]) for name in ("encoder", "decoder")]
    initial = weights(model)
    assert model.code_shape == (2, 3)
    assert weights(model) == initial  # to ask for the shape changes no statistics of a BatchNorm2d
    model.fit(pictures())
    assert model.history[-1]["loss"] < model.history[0]["loss"]
    assert isinstance(model.encoder, Encoder)
    assert weights(model.encoder) != before[0]
    assert [weights(given[name]) for name in ("encoder", "decoder")] == before


def test_the_map_of_codes_has_the_encoders_size():
    model, x = vqvae().fit(pictures()), pictures(3)
    codes = model.encode(x)
    assert codes.shape == (3, 2, 3)
    np.testing.assert_array_equal(model.decode(codes), model.reconstruct(x))
    assert model.reconstruct(x).shape == (3, *SHAPE)
    assert model.bound(x).codes == pytest.approx(6 * np.log(5))
    prior = PixelCNN(model.code_shape, 5, channels=4, layers=2, codebook_digest=model.codebook_digest)
    assert model.sample(2, prior).shape == (2, *SHAPE)
    with pytest.raises(ValueError, match=r"codes must have shape \(N, 2, 3\), got \(1, 3, 2\)"):
        model.decode(codes[:1].transpose(0, 2, 1))


def test_with_the_layers_that_build_makes_it_is_the_same_training_bit_by_bit():
    settings = {"image_shape": (1, 8, 12), "codes": 6, "code_dim": 3}
    built = VQVAE(**settings, channels=4, residual_channels=3, residual_blocks=1, **FIT)
    own = VQVAE(**settings, encoder=built.encoder, decoder=built.decoder, **FIT)
    own.quantizer.load_state_dict(built.quantizer.state_dict())
    trained = []
    for model in (built, own):
        mv.manual_seed(1)
        trained.append(weights(model.fit(images(30, (1, 8, 12)))))
    assert trained[0] == trained[1]


def test_one_alone_may_be_given():
    """build() makes the other, which is for maps of codes of a quarter of the image's height and width."""
    settings = {"image_shape": (1, 12, 8), "codes": 5, "code_dim": D, "channels": 4, "residual_blocks": 0, **FIT}
    encoder = nn.Sequential(nn.Conv2d(1, D, 4, stride=4))
    for given in ({"encoder": encoder}, {"decoder": nn.Sequential(nn.ConvTranspose2d(D, 1, 4, stride=4))}):
        model = VQVAE(**settings, **given).fit(images(30, (1, 12, 8)))
        assert model.code_shape == (3, 2)
        assert model.reconstruct(images(2, (1, 12, 8))).shape == (2, 1, 12, 8)
        with pytest.raises(ValueError, match="height must be a multiple of 4, got 6"):
            VQVAE(SHAPE, **given)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_file_is_loaded_with_the_modules_again(suffix, tmp_path):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    model, path = vqvae().fit(pictures()), tmp_path / f"model{suffix}"
    model.save(path)
    for loaded in (f(path, encoder=Encoder(), decoder=decoder()) for f in (VQVAE.load, load)):
        np.testing.assert_array_equal(loaded.reconstruct(pictures(3)), model.reconstruct(pictures(3)))
        assert loaded.codebook_digest == model.codebook_digest
    with pytest.raises(ValueError, match="no code.*needs decoder=, here Sequential"):
        VQVAE.load(path, encoder=Encoder())


def test_a_training_goes_on_from_its_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.npz"

    def stop(record):
        raise KeyboardInterrupt

    whole = vqvae(random_state=1).fit(pictures())
    mv.manual_seed(0)
    with pytest.raises(KeyboardInterrupt):
        vqvae(random_state=1).fit(pictures(), checkpoint=path, on_epoch=stop)
    mv.manual_seed(5)  # other modules of the same layers: their weights come from the checkpoint
    assert weights(vqvae(random_state=1).fit(pictures(), checkpoint=path, resume=True)) == weights(whole)
    other = vqvae(random_state=1, decoder=nn.Sequential(nn.ConvTranspose2d(D, 1, 3, stride=3)))
    with pytest.raises(ValueError, match="not to this model: decoder was"):
        other.fit(pictures(), checkpoint=path, resume=True)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: vqvae(encoder=Encoder(3)), ValueError, r"encoder's .* \(\d+, 2, h, w\), got \(\d+, 3, 2, 3\)"),
        (lambda: vqvae(encoder=nn.Flatten()), ValueError, r"encoder's .* \(\d+, 2, h, w\), got \(\d+, 54\)"),
        (lambda: vqvae(decoder=decoder(4)), ValueError, r"decoder's .* \(8, 1, 6, 9\), got \(8, 1, 6, 12\)"),
        (lambda: vqvae(decoder=5), TypeError, "decoder must be a Module or None, got 5"),
        (lambda: vqvae(channels=3), ValueError, "channels describes networks that are built.*got channels=3"),
        (lambda: vqvae(residual_blocks=0), ValueError, "residual_blocks describes networks that are built"),
    ],
)
def test_bad_modules(call, error, message):
    with pytest.raises(error, match=message):
        call().fit(pictures())


def test_an_encoder_that_makes_no_latents():
    class Nothing(Encoder):
        def forward(self, x):
            return super().forward(x)[:, :, :0]

    with pytest.raises(ValueError, match="at least one latent of an image, got a map of 0 x 3"):
        vqvae(encoder=Nothing()).fit(pictures())
