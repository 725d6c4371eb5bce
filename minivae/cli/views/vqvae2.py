"""`minivae train vqvae2`, and what is shown of a VQ-VAE-2 and the priors of its codes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from minivae import figures, models
from minivae.data import Dataset
from minivae.models.base import Estimator
from minivae.models.vqvae2_prior import Codes
from minivae.training import evaluate

from .. import codebook, options
from ..parser import Parser
from ..pixels import scale
from ..runs import Run
from ..text import Numbers, fixed, print_table
from ..wholeness import print_wholeness
from .view import PAIRS, Asked, Command
from .vqvae import VQVAEView, priors_of, uniform

TOP_CODES, BOTTOM_CODES = 64, 4  # 16 and 2 lower the bound of the embedded images by 5 nats, at a higher nll


class VQVAE2View(VQVAEView):
    def table(self, run: Run, data: Dataset, asked: Asked) -> Numbers:
        model: Any = run.model
        prior = run.prior()
        numbers: Numbers = {}
        rows = []
        for name, images in (("train", data.x_train), ("test", data.x_test)):
            x = model.check_images(images)
            terms = evaluate(model, x)
            numbers[name] = {key: v for key, v in terms.items() if key.startswith(("nll", "perplexity", "usage"))}
            codes, nll = model.encode(x), terms["nll"]
            for kind, distribution, y in priors_of(name, prior, data):
                top, bottom = (float(cost.mean()) for cost in model.level_costs(codes, distribution, y))
                bits, bound = model.bits_per_dim(nll + top + bottom), nll + top + bottom
                numbers[name][kind.lower()] = {"top": top, "bottom": bottom, "bound": bound, "bits_per_dim": bits}
                rows.append([name, kind, *fixed(bound, nll, top, bottom), f"{bits:.4f}"])
        print_table(["data", "prior of the codes", "bound", "nll", "top", "bottom", "bits/dim"], rows)
        print(f"bound on -log p(x) = nll + cost of top and bottom codes, in nats per image{scale(data, model)}")
        test = numbers["test"]
        x = model.check_images(data.x_test)
        rows = []
        for level, other, count in (("top", "bottom", model.top_codes), ("bottom", "top", model.codes)):
            test[f"nll_{level}_alone"] = model.nll_without(x, other)
            used, perplexity = test[f"usage_{level}"], test[f"perplexity_{level}"]
            rows.append([level, f"{count:,}", f"{used:.1%}", f"{perplexity:.1f}", *fixed(test[f"nll_{level}_alone"])])
        print_table(["level", "codes", "used", "perplexity", "nll from it alone"], rows)
        print("on the test images; alone: with the mean code in the place of the other level's codes")
        return {**numbers, **print_wholeness(self, model, prior, data)}

    def uniform_codes(self, model: Any, count: int) -> Codes:
        top = uniform(count, model.top_shape, model.top_codes)
        return Codes(top, uniform(count, model.code_shape, model.codes))

    def draw(self, model: Any, data: Dataset, folder: Path) -> None:
        """Draw how evenly the codes of both levels are used, and what each level holds."""
        self.draw_reconstructions(model, data, PAIRS, folder / "reconstructions.png")
        x = data.x_test
        for level, used, count in zip(("top", "bottom"), model.encode(x), (model.top_codes, model.codes), strict=True):
            figures.save_code_usage(folder / f"codes_{level}.png", np.bincount(used.ravel(), minlength=count))
        x = model.check_images(x[:10])
        codes = model.encode(x)
        groups = [x, model.decode(codes), model.decode(codes, without="bottom"), model.decode(codes, without="top")]
        images = figures.interleave([figures.contrast(group, x) for group in groups], len(x))
        title = "test images, and reconstructions from both levels and from one, the other at its mean code"
        figures.save_sheet(folder / "levels.png", images, len(x), title, ["image", "both", "top alone", "bottom alone"])


def _vqvae2_options(parser: Parser) -> None:
    options.count(parser, "--top-codes", TOP_CODES, "number of codes in the codebook of the top", most=2**16)
    stride = "pixels along a side of what a bottom code stands for: 2, 4, 8 or 16; a top code's are twice as many"
    options.count(parser, "--stride", 4, stride)
    codebook.add_options(parser, BOTTOM_CODES, "number of codes in the codebook of the bottom")
    options.likelihood(parser)


def _vqvae2(args: argparse.Namespace, data: Dataset) -> Estimator:
    return models.VQVAE2(
        data.x_train.shape[1:],
        **codebook.arguments(args),
        top_codes=args.top_codes,
        stride=args.stride,
        likelihood=args.likelihood,
    )


COMMANDS = (Command("vqvae2", "train a vector-quantised autoencoder of two levels", 15, _vqvae2_options, _vqvae2),)
