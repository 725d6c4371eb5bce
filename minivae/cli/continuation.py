"""`minivae continue RUN` draws how clips may go on, by a VQ-VAE of video and the prior of its codes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from minivae import figures, manual_seed
from minivae.data import video
from minivae.models import VideoVQVAE

from . import options, videos
from .pictures import write
from .runs import Run
from .views.video import GIVEN, VideoView, given_frames
from .views.view import Asked


def add_commands(commands: Any) -> None:
    parser = options.add_command(commands, "continue", _continue, "draw how clips of a video may go on")
    options.picture(parser, "continuation.png")
    options.count(parser, "-n", videos.STRIPS, "number of clips", most=options.IMAGES)
    given = f"number of frames that are given (default: {GIVEN}, or one less than a clip has)"
    options.count(parser, "--given", None, given)
    options.count(parser, "--frames", None, "number of frames to draw (default: to the end of the clip)", most=10_000)
    text = f"temperature of the prior; below 1 it draws likelier codes (default: {VideoView.temperature:g})"
    parser.add_argument("--temperature", type=float, help=text)
    options.seed(parser, "seed of what is drawn")
    options.other_data(parser)


def _continue(args: argparse.Namespace) -> None:
    run = Run.open(args.run, args.device)
    model = run.model
    if not isinstance(model, VideoVQVAE):
        raise ValueError(f"continue is for a VQ-VAE of video; {str(run.folder)!r} holds {type(model).__name__}")
    given = given_frames(model.frames) if args.given is None else args.given
    if given > model.frames:
        raise ValueError(f"--given must be at most the {model.frames} frames of a clip, got {given}")
    prior, temperature, _ = VideoView().asked_prior(run, Asked(temperature=args.temperature))
    count = max(1, model.frames - given) if args.frames is None else args.frames
    data = run.data(args.data)
    x = model.check_images(data.x_test[: args.n])
    manual_seed(args.seed)
    drawn = model.continued(x[:, :given], prior, count, temperature)
    title = f"test clips, and {count} frame(s) drawn after the first {given}, temperature {temperature:g}"
    rate = data.frame_rate or video.FRAME_RATE
    write(args, run, "continuation.png", lambda path: _draw(path, x, given, drawn, title, rate))


def _draw(path: Path, x: np.ndarray, given: int, drawn: np.ndarray, title: str, rate: float) -> None:
    """Draw clips x, and below them their first frames with those that were drawn; where one ends before the other it
    is black."""
    clips = [x, np.concatenate([x[:, :given], drawn], axis=1)]
    T = max(clip.shape[1] for clip in clips)
    padded = [np.pad(figures.contrast(c, x), [(0, 0), (0, T - c.shape[1]), *[(0, 0)] * 3]) for c in clips]
    videos.save_clips(path, padded, ["clip", "continued"], title, rate)
