"""`minivae explore` serves the page of a run until Ctrl-C, and says what it is not for."""

import http.client
import json
import signal
from threading import Event
from urllib.parse import urlsplit

import numpy as np
import pytest
from command_line import minivae_command, minivae_process, refused, succeeded

from minivae import models


@pytest.mark.parametrize("model", ["vae", "vqvae2"])
def test_it_serves_the_run_until_ctrl_c_which_is_one_line(runs, model):
    folder, _ = runs(model)
    process = minivae_process("explore", folder, "--no-browser")
    try:
        said = process.stdout.readline()
        address = urlsplit(said.split(": ")[1].split()[0])
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        connection.request("GET", "/api/model")
        about = json.loads(connection.getresponse().read())
        connection.close()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert about["name"] == str(folder)
    assert process.returncode == 130
    assert not out
    assert err.splitlines() == ["minivae: interrupted"]


def test_it_opens_the_browser_unless_told_not_to(runs, monkeypatch):
    opened = []
    done = Event()
    monkeypatch.setattr("webbrowser.open", lambda url: (opened.append(url), done.set()))
    monkeypatch.setattr("minivae.explore.PageServer.serve_forever", lambda self: None)
    folder, _ = runs("ae")
    said = succeeded("explore", folder).stdout
    assert done.wait(20)
    assert opened[0] in said
    succeeded("explore", folder, "--no-browser")
    assert len(opened) == 1


def test_two_channels_are_refused(tmp_path):
    models.Autoencoder((2, 8, 8), arch="dense", latent_dim=2).save(tmp_path / "model.npz")
    np.savez(tmp_path / "two.npz", x_train=np.zeros((4, 2, 8, 8)), x_test=np.zeros((2, 2, 8, 8)))
    command = minivae_command("explore", tmp_path, "--no-browser", "--data", tmp_path / "two.npz")
    refused(command, "1 or 3 channels")


@pytest.mark.parametrize("options", [["--port", "70000"], ["--port", "-1"], ["--port", "x"], ["--data", "nowhere"]])
def test_wrong_options(runs, options):
    refused(minivae_command("explore", runs("ae")[0], "--no-browser", *options))


def test_no_run(tmp_path):
    refused(minivae_command("explore", tmp_path, "--no-browser"), "is no run")
