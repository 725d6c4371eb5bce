"""Reproduce a published result: the test log-likelihood of a dense VAE on Fashion-MNIST, by 5,000 importance samples.

    python benchmarks/fashion_mnist_vae.py --epochs 240 --out runs/fashion-mnist-vae

The published result is -log p(x) = 228.7 nats on the test images (Norouzi et al. 2020, table of Exemplar VAEs, the row
of the plain VAE). That VAE has an encoder and a decoder with two layers of 300 units each, 40 latents and Bernoulli
pixels; the images are binarised anew in every epoch. Its layers are gated, the last 10,000 training images decide when
its training stops, and the weight of the KL term rises over 100 epochs. Here the layers are ReLUs, all 60,000 images
are trained on, and the schedule is fixed beforehand: Adam, with a learning rate that falls to 0 along a cosine. The
test images are evaluated during the training but decide nothing.

The folder --out holds a checkpoint of the last epoch, from which --resume continues, also within the final evaluation.
The file --json is rewritten after every epoch. It holds the ELBO of each epoch; an estimate of log p(x) from a few test
images and samples after every --every epochs; and at the end log p(x) of all test images by all --samples. The test
images are binarised once, see VAE.binarized.
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
from minivae.models import VAE
from minivae.random import fork
from minivae.training import evaluate, save_checkpoint
from minivae.training.checkpoint import atomic_write, load_checkpoint

PUBLISHED = 228.7
SEED = 0x15  # the seed of the importance samples
SLICE = 250  # test images that the final evaluation does between two lines of output


def main() -> None:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    mv.manual_seed(args.seed)
    data = datasets.load(args.data)
    x_train, x_test = data.x_train, data.x_test
    warmup = args.warmup * -(-len(x_train) // args.batch_size)
    model = VAE(
        x_train.shape[1:],
        args.latent_dim,
        "dense",
        hidden=tuple(args.hidden),
        kl_warmup=warmup,
        free_bits=args.free_bits,
        binarize="dynamic",
    )
    x_test = model.binarized(x_test)
    curve = Curve(args, model, x_test)
    print(
        f"{model.num_parameters():,} parameters, {len(x_train):,} training and {len(x_test):,} test images", flush=True
    )
    model.fit(
        x_train,
        epochs=args.epochs,
        batch_size=args.batch_size,
        lr=args.lr,
        validation=x_test,
        device=args.device,
        checkpoint=args.out / "checkpoint.npz",
        resume=args.resume,
        on_epoch=curve.add,
    )
    model.save(args.out / "model.npz")
    curve.finish(final_evaluation(args, model, x_test))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion-mnist", help="data set, as for minivae train")
    parser.add_argument("--latent-dim", type=int, default=40)
    parser.add_argument("--hidden", type=int, nargs="+", default=[300, 300])
    parser.add_argument("--epochs", type=int, default=240)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3, help="first learning rate; it falls to 0 along a cosine")
    parser.add_argument("--warmup", type=int, default=20, help="epochs in which the weight of the KL term rises to 1")
    parser.add_argument("--free-bits", type=float, default=0.0, help="nats per latent")
    parser.add_argument("--samples", type=int, default=5000, help="importance samples of the final evaluation")
    parser.add_argument("--every", type=int, default=20, help="epochs between two estimates of log p(x)")
    parser.add_argument("--some", type=int, nargs=2, default=[500, 200], help="images and samples of these estimates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/fashion-mnist-vae"), help="folder of the run")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "fashion_mnist_vae.json")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out; takes the same options")
    return parser.parse_args()


class Curve:
    """The record that is written to --json: settings, one entry per epoch, the result."""

    def __init__(self, args: argparse.Namespace, model: VAE, x_test: np.ndarray) -> None:
        self.args, self.model, self.x_test = args, model, x_test
        hidden_keys = ("out", "json", "resume", "device", "every", "some")
        settings = {k: v for k, v in vars(args).items() if k not in hidden_keys}
        self.record: dict[str, Any] = {
            "settings": {**settings, "parameters": model.num_parameters(), "published": PUBLISHED},
            "units": "nats per image; nll here is -log p(x|z), minus_log_likelihood is -log p(x)",
            "curve": [],
        }
        if args.resume and args.json.is_file():
            self.record["curve"] = json.loads(args.json.read_text())["curve"]

    def add(self, record: dict[str, Any]) -> None:
        """Add the record of an epoch, with an estimate of log p(x) after every --every epochs."""
        entry = {k: round(v, 6) if isinstance(v, float) else v for k, v in record.items()}
        if record["epoch"] % self.args.every == 0:
            images, samples = self.args.some
            with fork(SEED):
                nats = -float(self.model.log_likelihood(self.x_test[:images], samples).mean())
            entry["estimate"] = {"images": images, "samples": samples, "minus_log_likelihood": round(nats, 3)}
        self.record["curve"] = [e for e in self.record["curve"] if e["epoch"] < record["epoch"]] + [entry]
        self.write()
        shown = {k: entry[k] for k in ("epoch", "loss", "nll", "kl", "validation_loss", "seconds")}
        print({**shown, **entry.get("estimate", {})}, flush=True)

    def finish(self, result: dict[str, Any]) -> None:
        self.record["result"] = result
        self.write()
        print(json.dumps({k: v for k, v in result.items() if k != "kl_per_latent"}), flush=True)

    def write(self) -> None:
        text = json.dumps(self.record, indent=1) + "\n"
        atomic_write(self.args.json, lambda file: file.write(text.encode()))


def final_evaluation(args: argparse.Namespace, model: VAE, x_test: np.ndarray) -> dict[str, Any]:
    """Estimate log p(x) of all test images by all samples; after each SLICE of images --out keeps the likelihoods."""
    path = args.out / "likelihoods.npz"
    done = load_checkpoint(path)[0]["log_likelihood"] if args.resume and path.is_file() else np.zeros(0)
    begun, start = len(done), time.perf_counter()
    while len(done) < len(x_test):
        with fork(SEED + len(done)):
            done = np.append(done, model.log_likelihood(x_test[len(done) :][:SLICE], args.samples))
        save_checkpoint(path, {"log_likelihood": done}, {"samples": args.samples})
        print(f"{len(done):6,} images: {-done.mean():.3f} +- {done.std() / len(done) ** 0.5:.3f}", flush=True)
    per_image = (time.perf_counter() - start) / max(1, len(done) - begun)
    bound, usage = evaluate(model, x_test), model.latent_usage(x_test)
    nats = -float(done.mean())
    return {
        "minus_log_likelihood": round(nats, 4),
        "standard_error": round(float(done.std()) / len(done) ** 0.5, 4),
        "samples": args.samples,
        "images": len(done),
        "above_published": round(nats - PUBLISHED, 4),
        "minus_elbo": round(bound["loss"], 4),
        "nll": round(bound["nll"], 4),
        "kl": round(bound["kl"], 4),
        "active_units": usage.active,
        "kl_per_latent": [round(float(v), 4) for v in sorted(usage.kl, reverse=True)],
        "training_seconds": round(sum(record["seconds"] for record in model.history), 1),
        "evaluation_seconds_per_image": round(per_image, 4),
    }


if __name__ == "__main__":
    main()
