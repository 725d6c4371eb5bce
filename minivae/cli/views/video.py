"""`minivae train vqvae-video`, and what is shown of a VQ-VAE of video and the prior of its codes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from minivae import figures, models, uses
from minivae.data import Dataset, video
from minivae.models.base import Estimator
from minivae.random import fork

from .. import codebook, options, videos
from ..parser import Parser
from ..pixels import in_unit_interval
from ..runs import Run
from ..text import Numbers, fixed, print_table
from .view import PAIRS, Asked, Command
from .vqvae import VQVAEView

GIVEN = 4  # frames that a continuation is given, if a clip has more
TEMPERATURE = 0.85  # at 0.7 one clip in ten is empty: at each position the likeliest thing is nothing
SEED = 0x71DE0  # of the continuations in the table


class VideoView(VQVAEView):
    unit = "nats per clip"
    temperature = TEMPERATURE
    takes = ("temperature",)

    def table(self, run: Run, data: Dataset, asked: Asked) -> Numbers:
        numbers = super().table(run, data, asked)
        if in_unit_interval(data):
            print()
            numbers["psnr_of"] = _psnrs(run.model, run.prior(), data)
        return numbers

    def draw(self, model: Any, data: Dataset, folder: Path) -> None:
        self.draw_reconstructions(model, data, PAIRS, folder / "reconstructions.png")
        counts = np.bincount(model.encode(data.x_test).ravel(), minlength=model.codes)
        figures.save_code_usage(folder / "codes.png", counts[None])

    def draw_reconstructions(self, model: Any, data: Dataset, count: int, path: Path) -> None:
        x = model.check_images(data.x_test[:count])
        groups = [figures.contrast(clips, x) for clips in (x, model.reconstruct(x))]
        title = "frames of test clips, and of their reconstructions"
        videos.save_clips(path, groups, ["clip", "reconstructed"], title, data.frame_rate or video.FRAME_RATE)

    def draw_samples(self, run: Run, count: int, path: Path, asked: Asked) -> None:
        model: Any = run.model
        prior, temperature, _ = self.asked_prior(run, asked)
        x = model.sample(count, prior, temperature)
        title = f"clips from the prior of frames at temperature {temperature:g} and the decoder"
        videos.save_clips(path, [figures.contrast(x, x)], ["sampled"], title, video.FRAME_RATE)

    def samples(self, model: Any, prior: Any, count: int) -> dict[str, np.ndarray]:
        return {}


def _psnrs(model: Any, prior: Any, data: Dataset) -> Numbers:
    """Print how near the reconstructions come, and how near the frame that continues the ones before it."""
    x = model.check_images(data.x_test)
    seen = np.clip(model.reconstruct(x), 0, 1)
    t = given_frames(model.frames)
    candidates = {"reconstruction": ("its reconstruction", seen[:, t])}
    if prior is not None:
        for key, temperature in (("sampled", TEMPERATURE), ("likeliest", 0.0)):
            with fork(SEED):
                drawn = model.continued(x[:, :t], prior, 1, temperature)[:, 0]
            candidates[key] = f"the continuation at temperature {temperature:g}", np.clip(drawn, 0, 1)
    candidates["repeated"] = "the frame before it", x[:, t - 1]
    candidates["repeated_reconstruction"] = "the frame before it, reconstructed", seen[:, t - 1]
    psnrs = {f"{key}_psnr": uses.psnr(x[:, t], by) for key, (_, by) in candidates.items()}
    rows = [[name, *fixed(psnr)] for (name, _), psnr in zip(candidates.values(), psnrs.values(), strict=True)]
    print_table([f"frame {t + 1} of the test clips by", "PSNR"], rows)
    whole = uses.psnr(x, seen)
    print(f"PSNR in dB; a continuation is given frames 1 to {t}. Reconstructions of all frames: {whole:.2f} dB")
    return {"all_frames_psnr": whole, **psnrs}


def given_frames(frames: int) -> int:
    """Return how many frames of a clip a continuation is given: GIVEN, but one less than there are at most."""
    return min(GIVEN, frames - 1)


def _options(parser: Parser) -> None:
    parser.set_defaults(data="moving-clothes", batch_size=16, lr=3e-3)
    codebook.add_options(parser, 64, "number of codes in the codebook")
    parser.set_defaults(channels=48)
    blocks = "number of pairs of a residual block in the frame and one over time, in the "
    options.count(parser, "--blocks", 2, f"{blocks}decoder", least=0, most=100)
    options.count(parser, "--encoder-blocks", 0, f"{blocks}encoder", least=0, most=100)
    kernel = "number of frames that a convolution over time reads; with 1 each frame is coded by itself"
    options.count(parser, "--time-kernel", 1, kernel, most=100)
    options.likelihood(parser)


def _build(args: argparse.Namespace, data: Dataset) -> Estimator:
    if data.frame_rate is None:
        raise ValueError(
            f"vqvae-video is for videos: 'moving-clothes', a video file, a folder of them, or one of PNG frames with "
            f"--image-shape T C H W; {data.name!r} is none"
        )
    return models.VideoVQVAE(
        data.x_train.shape[1:],
        **codebook.arguments(args),
        blocks=args.blocks,
        encoder_blocks=args.encoder_blocks,
        time_kernel=args.time_kernel,
        likelihood=args.likelihood,
    )


TEXT = "train a vector-quantised autoencoder of videos"
COMMANDS = (Command("vqvae-video", TEXT, 4, _options, _build, of="videos"),)
