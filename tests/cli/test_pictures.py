"""The commands that draw: each writes the picture it is asked for, and says so."""

import pytest
from command_line import is_picture, minivae_command, refused, succeeded


@pytest.mark.parametrize("model", ["ae", "vae", "vqvae"])
def test_reconstruct(runs, model, tmp_path):
    out, _ = runs(model)
    picture = tmp_path / "some.png"
    assert succeeded("reconstruct", out, "-n", "12", "--out", picture).stdout == f"wrote {picture}\n"
    assert is_picture(picture)


@pytest.mark.parametrize(
    "command",
    [
        ("sample", "-n", "12", "--seed", "3"),
        ("interpolate", "-n", "3", "--steps", "5"),
        ("traverse", "-n", "2", "--image", "19"),
    ],
)
def test_of_a_vae(runs, command, tmp_path):
    out, _ = runs("vae")
    picture = tmp_path / "some.png"
    assert succeeded(*command[:1], out, *command[1:], "--out", picture).stdout == f"wrote {picture}\n"
    assert is_picture(picture)


def test_samples_depend_on_the_seed_alone(runs, tmp_path):
    out, _ = runs("vae")
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        succeeded("sample", out / "model.npz", "--seed", seed, "--out", tmp_path / f"{name}.png")
    a, b, c = ((tmp_path / f"{n}.png").read_bytes() for n in "abc")
    assert a == b != c


class TestBadInput:
    def test_a_picture_that_the_model_does_not_have(self, runs):
        refused(minivae_command("sample", runs("ae")[0]), "Autoencoder", "no distribution")
        refused(minivae_command("traverse", runs("ae")[0]), "for a VAE")
        refused(minivae_command("interpolate", runs("vqvae")[0]), "for a VAE", "VQVAE")
        refused(minivae_command("manifold", runs("vae")[0]), "latent_dim = 2", "has 4")

    def test_numbers_of_images(self, runs):
        out, _ = runs("vae")
        refused(minivae_command("sample", out, "-n", "0"), "at least 1, got 0")
        refused(minivae_command("interpolate", out, "--steps", "1"), "at least 2, got 1")
        refused(minivae_command("traverse", out, "--image", "20"), "from 0 to 19, got 20")

    def test_a_name_that_is_no_png(self, runs, tmp_path):
        refused(minivae_command("sample", runs("vae")[0], "--out", tmp_path / "a.gif"), "a.gif", ".png")

    def test_a_folder_that_is_not_there(self, runs, tmp_path):
        refused(minivae_command("sample", runs("vae")[0], "--out", tmp_path / "absent" / "a.png"), "absent")

    def test_images_of_another_size(self, runs):
        refused(minivae_command("reconstruct", runs("vae")[0], "--data", "fashion-mini"), "(N, 1, 8, 8)", "28")
