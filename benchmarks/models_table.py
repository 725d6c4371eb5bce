"""Make the README's table of models: train each model by its default command and collect the results.

    python benchmarks/models_table.py --runs runs --readme README.md

The script runs `minivae train` for the models and priors of COMMANDS on their default data, one after the other, then
`minivae evaluate` with --samples importance samples for each test image. It writes the results and a description of the
machine to --json, and the table between the two marks in --readme. A run that exists in --runs already is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# The words after `minivae train`, by the name of the folder in --runs; of a prior by a name of its own.
COMMANDS = {
    "ae": ["ae"],
    "dae": ["dae"],
    "sae": ["sae"],
    "cae": ["cae"],
    "vae": ["vae"],
    "btcvae": ["btcvae"],
    "iwae": ["vae", "--iwae", "5"],
    "cvae": ["cvae"],
    "vqvae": ["vqvae"],
    "prior": ["prior", "vqvae"],
    "fsq": ["vqvae", "--quantizer", "fsq"],
    "fsq-prior": ["prior", "fsq"],
    "rvq": ["vqvae", "--quantizer", "rvq"],
    "rvq-prior": ["prior", "rvq"],
    "vqvae2": ["vqvae2"],
    "vqvae2-prior": ["prior", "vqvae2"],
    "vqvae1d": ["vqvae1d"],
    "vqvae1d-prior": ["prior", "vqvae1d"],
    "vaegan": ["vaegan"],
    "vqgan": ["vqgan"],
    "vqgan-prior": ["prior", "vqgan"],
    "vqvae-video": ["vqvae-video"],
    "vqvae-video-prior": ["prior", "vqvae-video"],
}
BEGIN, END = "<!-- table of models -->", "<!-- end of the table -->"
HEADER = ["command", "parameters", "on the 1,000 test images", "bits/dim", "training"]


def main() -> None:
    args = arguments()
    results = {name: train(name, args.runs) for name in COMMANDS}
    numbers = args.runs / "vae" / "likelihood.json"
    if not numbers.is_file():
        minivae("evaluate", args.runs / "vae", "--samples", args.samples, "--out", numbers)
    results["vae"] |= json.loads(numbers.read_text())
    record = {"machine": machine(), "results": results}
    args.json.write_text(json.dumps(record, indent=1) + "\n")
    table = markdown(results)
    print(table)
    if args.readme is not None:
        marks = re.compile(f"{BEGIN}.*{END}", re.DOTALL)
        text = args.readme.read_text(encoding="utf-8")
        if not marks.search(text):
            raise SystemExit(f"{args.readme} has no place for the table, {BEGIN} ... {END}")
        args.readme.write_text(marks.sub(lambda _: f"{BEGIN}\n{table}\n{END}", text), encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for the runs")
    parser.add_argument("--samples", type=int, default=1000, help="importance samples for the VAE's log-likelihood")
    parser.add_argument("--json", type=Path, default=HERE / "results" / "models.json")
    parser.add_argument("--readme", type=Path, help="file that gets the table")
    return parser.parse_args()


def train(name: str, runs: Path) -> dict[str, Any]:
    """The results of the default command of a model, which is run unless its results exist already."""
    kind, *words = COMMANDS[name]
    folder = runs / (words[0] if kind == "prior" else name)
    of_prior = "prior_bottom_results.json" if name == "vqvae2-prior" else "prior_results.json"
    results = folder / (of_prior if kind == "prior" else "results.json")
    if not results.is_file():
        minivae("train", kind, *([folder] if kind == "prior" else [*words, "--out", folder]))
    found: dict[str, Any] = json.loads(results.read_text())
    return found


def minivae(*args: Any) -> None:
    print("minivae", *args, flush=True)
    subprocess.run([sys.executable, "-m", "minivae", *map(str, args)], check=True)


def machine() -> dict[str, Any]:
    """What the training times depend on."""
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    threads = os.environ.get("OPENBLAS_NUM_THREADS")
    return {"machine": platform.machine(), "cores": os.cpu_count(), "load_average": busy, "blas_threads": threads}


def markdown(results: dict[str, dict[str, Any]]) -> str:
    """The table: one line for each command, from its results."""
    lines = [HEADER, ["---"] * len(HEADER)]
    for name, result in results.items():
        kind, *words = COMMANDS[name]
        command = " ".join(["train", kind, *(f"runs/{word}" if kind == "prior" else word for word in words)])
        said, bits = SAY[name if name in SAY else kind](result)
        lines.append([f"`{command}`", f"{result['parameters']:,}", said, bits, f"{result['seconds']:.0f} s"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _ae(result: dict[str, Any]) -> tuple[str, str]:
    test, pca = result["test"], result["pca"]
    return f"squared error {test['squared_error']:.2f}, PSNR {test['psnr']:.2f} dB (PCA: {pca['psnr']:.2f})", ""


def _dae(result: dict[str, Any]) -> tuple[str, str]:
    found = result["denoising"]
    return (
        f"PSNR {found['noisy_psnr']:.2f} to {found['denoised_psnr']:.2f} dB: {found['gain']:+.2f} "
        f"(PCA: {found['pca_gain']:+.2f})",
        "",
    )


def _sae(result: dict[str, Any]) -> tuple[str, str]:
    share, dead = result["active_share"], result["dead"]
    return f"{_ae(result)[0]}; {share:.0%} of the latents active in an image, {dead} in none", ""


def _cae(result: dict[str, Any]) -> tuple[str, str]:
    return f"{_ae(result)[0]}; squared norm of the code's Jacobian {result['jacobian']:.2f}", ""


def _vae(result: dict[str, Any]) -> tuple[str, str]:
    test, log_p = result["test"], result["log_likelihood"]
    text = f"ELBO {test['elbo']:.2f} (nll {test['nll']:.2f}, kl {test['kl']:.2f}), log p(x) {log_p:.2f}"
    text += f" ({result['samples']:,} samples)"
    return f"{text}, {result['active']} active latents; {_whole(result)}", f"{test['bits_per_dim']:.4f}"


def _btcvae(result: dict[str, Any]) -> tuple[str, str]:
    test, found = result["test"], result["disentanglement"]
    text = f"ELBO {test['elbo']:.2f} (nll {test['nll']:.2f}, kl {test['kl']:.2f}), MIG {found['mig']:.2f}, SAP"
    return f"{text} {found['sap']:.2f}; generated shapes", f"{test['bits_per_dim']:.4f}"


def _cvae(result: dict[str, Any]) -> tuple[str, str]:
    test, of_class = result["test"], result["wholeness"]["samples"]["of_class"]
    text = f"ELBO on log p(x given y) {test['elbo']:.2f} (nll {test['nll']:.2f}, kl {test['kl']:.2f}), "
    text += f"{result['accuracy']:.1%} classified right; {of_class:.0%} of its samples of their class"
    return f"{text}, {_whole(result)}", f"{test['bits_per_dim']:.4f}"


def _vqvae(result: dict[str, Any]) -> tuple[str, str]:
    test = result["test"]
    text = f"nll {test['nll']:.2f} + codes {test['uniform']['codes']:.2f} = bound {test['uniform']['bound']:.2f}"
    spread = f"perplexity {test['perplexity']:.0f}, {test['usage']:.0%} of the codes used"
    return f"{text}; {spread}", f"{test['uniform']['bits_per_dim']:.4f}"


def _vaegan(result: dict[str, Any]) -> tuple[str, str]:
    test = result["test"]
    text = f"ELBO {test['elbo']:.2f} (nll {test['nll']:.2f}, kl {test['kl']:.2f})"
    return f"{text}; {_whole(result)}; {_real(result)}", f"{test['bits_per_dim']:.4f}"


def _vqgan(result: dict[str, Any]) -> tuple[str, str]:
    text, bits = _vqvae(result)
    return f"{text}; reconstructions: {_real(result, 'their reconstructions')}", bits


def _real(result: dict[str, Any], name: str | None = None) -> str:
    """Sharpness and Frechet distance of some of the judged images, of those that stand last without a name."""
    found = result["wholeness"]
    of = found[name or [*found][-1]]
    return f"sharpness {of['sharpness']:.2f}, Frechet distance {of['frechet']:.1f}"


def _vqvae1d(result: dict[str, Any]) -> tuple[str, str]:
    test = result["test"]
    ours, equal, rate = test["coding"], test["mu_law_equal"], test["uniform"]["bits_a_second"]
    text = f"{rate:,.0f} bits/s, segmental SNR {ours['snr']:.2f} dB, spectral distance {ours['distance']:.2f} dB"
    return f"{text} (mu-law at equal bits: {equal['snr']:.2f} and {equal['distance']:.2f}); generated syllables", ""


def _prior_of_sounds(result: dict[str, Any]) -> tuple[str, str]:
    test, heard = result["test"], result["sounds"]
    before, after = test["uniform"]["bits_a_second"], test["wavenet"]["bits_a_second"]
    sample, real = (heard[name] for name in ("samples, temperature 1", "test segments"))
    text = f"{before:,.0f} to {after:,.0f} bits/s; distance of samples to the data {sample['distance']:.2f} dB"
    return f"{text} ({real['distance']:.2f}), {sample['heard']:.0%} heard as their speaker ({real['heard']:.0%})", ""


def _video(result: dict[str, Any]) -> tuple[str, str]:
    text, bits = _vqvae(result)
    return f"{text}; PSNR {result['psnr_of']['all_frames_psnr']:.2f} dB; generated clips, nats per clip", bits


def _video_prior(result: dict[str, Any]) -> tuple[str, str]:
    test, psnr = result["test"], result["psnr_of"]
    cost = f"codes {test['pixelcnn']['codes']:.2f} ({test['codes_saved']:.0%} saved)"
    text = f"{cost}, bound {test['pixelcnn']['bound']:.2f}; frame 5 from the four before: PSNR "
    text += f"{psnr['likeliest_psnr']:.2f} dB ({psnr['repeated_psnr']:.2f} by repeating the last)"
    return text, f"{test['pixelcnn']['bits_per_dim']:.4f}"


def _prior(result: dict[str, Any]) -> tuple[str, str]:
    test = result["test"]
    cost = f"codes {test['pixelcnn']['codes']:.2f} ({test['codes_saved']:.0%} saved)"
    text = f"{cost}, bound {test['pixelcnn']['bound']:.2f}; {_whole(result)}"
    return text, f"{test['pixelcnn']['bits_per_dim']:.4f}"


def _whole(result: dict[str, Any]) -> str:
    """The share of whole images among the samples as the model draws them by default, which stand last."""
    *_, samples = result["wholeness"].values()
    return f"{samples['whole']:.0%} of its samples whole"


def _vqvae2(result: dict[str, Any]) -> tuple[str, str]:
    test = result["test"]
    spread = f"perplexity {test['perplexity_top']:.0f} and {test['perplexity_bottom']:.1f}"
    return f"{_levels(test, 'uniform')}; {spread}", f"{test['uniform']['bits_per_dim']:.4f}"


def _prior_of_levels(result: dict[str, Any]) -> tuple[str, str]:
    test = result["test"]
    return f"{_levels(test, 'pixelcnn')}; {_whole(result)}", f"{test['pixelcnn']['bits_per_dim']:.4f}"


def _levels(test: dict[str, Any], prior: str) -> str:
    found = test[prior]
    return f"nll {test['nll']:.2f} + top {found['top']:.2f} + bottom {found['bottom']:.2f} = bound {found['bound']:.2f}"


SAY = {
    **{"ae": _ae, "dae": _dae, "sae": _sae, "cae": _cae, "vae": _vae, "cvae": _cvae, "btcvae": _btcvae},
    **{"vqvae": _vqvae, "prior": _prior},
    **{"vqvae2": _vqvae2, "vqvae2-prior": _prior_of_levels, "vqvae1d": _vqvae1d, "vqvae1d-prior": _prior_of_sounds},
    **{"vaegan": _vaegan, "vqgan": _vqgan},
    **{"vqvae-video": _video, "vqvae-video-prior": _video_prior},
}

if __name__ == "__main__":
    main()
