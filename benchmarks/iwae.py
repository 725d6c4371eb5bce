"""Does log p(x) rise with the k of the training objective, as in table 1 of Burda, Grosse & Salakhutdinov (2015)?

    python benchmarks/iwae.py --data mnist --epochs 4

The published results are -log p(x) of the 10,000 test images of MNIST by 5,000 importance samples, in nats: 86.76 with
k = 1, 85.54 with k = 5, 84.78 with k = 50. The model is the paper's of one stochastic layer: an encoder 784-200-200-50
and its mirror image with tanh between the layers, Bernoulli pixels that are drawn anew each time an image is trained
on. The paper trains for 3,280 epochs of batches of 20; here it is --epochs, for each k the same, from the same weights
and on the images in the same order, with Adam and a learning rate that falls to 0 along a cosine.

Each k is compared with k = 1 on the same test images, binarised once: the standard error of the difference is that of
the images' differences, and far smaller than that of each mean. The file --json is rewritten after each k.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import minivae as mv
from minivae import datasets
from minivae.models import IWAE
from minivae.nn import Flatten, Linear, Sequential, Tanh, Unflatten
from minivae.random import fork

PUBLISHED = {1: 86.76, 5: 85.54, 50: 84.78}  # with 3,280 epochs
UNITS, LATENTS = 200, 50
SEED = 0x1A  # of the importance samples


def main() -> None:
    args = arguments()
    data = datasets.load(args.data)
    x_train, x_test = data.x_train[: args.train], data.x_test[: args.images]
    settings = {k: v for k, v in vars(args).items() if k not in ("json", "data")}
    record: dict[str, Any] = {
        "settings": {**settings, "data": Path(args.data).stem, "images_trained_on": len(x_train), "latents": LATENTS},
        "units": "nats per image",
        "results": {},
    }
    first: np.ndarray | None = None
    for k in args.k:
        result, log_p = trained(k, x_train, x_test, args)
        first = log_p if first is None else first
        gain = log_p - first  # (N,), over the first k
        result |= {"gain": mean(gain), "gain_standard_error": standard_error(gain), "published": PUBLISHED.get(k)}
        record["results"][str(k)] = result
        print(f"k = {k}:", json.dumps(result), flush=True)
        args.json.write_text(json.dumps(record, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", help="data set, as for minivae train")
    parser.add_argument("--k", type=int, nargs="+", default=[1, 5, 50])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--lr", type=float, default=1e-3, help="first learning rate; it falls to 0 along a cosine")
    parser.add_argument("--train", type=int, help="train on so many of the training images (default: all)")
    parser.add_argument("--images", type=int, default=1000, help="test images of the final estimate of log p(x)")
    parser.add_argument("--samples", type=int, default=1000, help="importance samples for each of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "iwae.json")
    return parser.parse_args()


def trained(k: int, x_train: np.ndarray, x_test: np.ndarray, args: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Train with k samples. Return what the file says of it, and log p(x) of the test images (N,)."""
    mv.manual_seed(args.seed)
    shape = x_train.shape[1:]
    encoder, decoder = networks(shape)
    model = IWAE(shape, k, latent_dim=LATENTS, encoder=encoder, decoder=decoder, binarize="dynamic")
    began = time.process_time()
    model.fit(x_train, epochs=args.epochs, batch_size=args.batch_size, lr=args.lr)
    seconds = time.process_time() - began
    with fork(SEED):
        log_p = model.log_likelihood(x_test, args.samples)
        elbo = model.score_samples(x_test, samples=10)
    result = {
        "log_likelihood": mean(log_p),
        "standard_error": standard_error(log_p),
        "elbo": mean(elbo),
        "active": model.latent_usage(x_test).active,
        "training_loss": round(model.history[-1]["loss"], 4),
        "cpu_seconds": round(seconds, 1),
    }
    return result, log_p


def networks(shape: tuple[int, ...]) -> tuple[Sequential, Sequential]:
    """The paper's encoder and decoder of one stochastic layer."""
    pixels = int(np.prod(shape))
    hidden = [Linear(UNITS, UNITS), Tanh()]
    encoder = Sequential(Flatten(), Linear(pixels, UNITS), Tanh(), *hidden, Linear(UNITS, 2 * LATENTS))
    hidden = [Linear(UNITS, UNITS), Tanh()]
    decoder = Sequential(Linear(LATENTS, UNITS), Tanh(), *hidden, Linear(UNITS, pixels), Unflatten(shape))
    return encoder, decoder


def mean(values: np.ndarray) -> float:
    return round(float(values.mean()), 4)


def standard_error(values: np.ndarray) -> float:
    return round(float(values.std(ddof=1) / len(values) ** 0.5), 4)


if __name__ == "__main__":
    main()
