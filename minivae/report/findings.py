"""Says what went wrong in a training and what may help, by the losses of its epochs and the numbers of its end.

Losses have many units and may be below 0, so all thresholds but those of codes and latents are shares of the *fall*:
how much the training loss has fallen since the first epoch. Epochs in which the loss itself changes, because the KL
term is warming up or a discriminator has not begun, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

EPOCHS = 3  # fewer have no course that could be judged
RISE = 0.05  # of the fall, lost again: more than the noise of batches, which at the end of the cosine is below 1 %
LATE = 0.05  # of the fall in the last third of the epochs: where the cosine ends well, at most 2 % is left there
GAP = 0.15  # of the fall that other images lack: the default models lack up to 6 %
TURN = 0.02  # of the fall by which the loss of other images has risen again from its lowest, in TURNED epochs or more
TURNED = 3
INACTIVE = 0.5  # of the latents: a few are spare in most models, but half of them are a choice that was not meant
UNUSED = 0.2  # of the codes: they could be left out, or would lower the nll if they were used
FEW_CODES = 1.5  # a perplexity that two codes exceed, unless nearly all positions have the same one
DEAD = 0.2  # of the latents of a sparse autoencoder, of which the default one leaves 10 %
WINS = 0.99  # of the patches judged rightly; a hinge loss then has no gradient for nearly all of them

Numbers = Mapping[str, Any]


class Finding(NamedTuple):
    """title: what it is called. seen: the numbers that show it. cure: what may help."""

    title: str
    seen: str
    cure: str


@dataclass(frozen=True)
class Course:
    """losses, others: of the training and of the validation or test images, by epoch, while the loss is the same.

    stopped: whether --patience ended it; then the losses go as far as the epoch whose weights were kept.
    """

    losses: list[float]
    others: list[float]
    stopped: bool

    @property
    def fall(self) -> float:
        return self.losses[0] - min(self.losses)


def findings(history: Sequence[Numbers], results: Numbers, config: Numbers) -> list[Finding]:
    """List what is wrong with a training, nothing if it looks well.

    history: one record per epoch, as in model.history. results, config: the content of results.json and config.json.
    """
    if any(isinstance(v, float) and not isfinite(v) for record in history for v in record.values()):
        return [_not_finite(history)]
    course = _course(history, results, config)
    by_course: list[Callable[[Course], Finding | None]] = [_too_short, _diverged, _unfinished, _overfitted]
    found = [judge(course) for judge in by_course]
    found += [_discriminator(history), _collapsed(results), _dead_latents(results, config)]
    return [finding for finding in [*found, *_dead_codes(results, config)] if finding is not None]


def _course(history: Sequence[Numbers], results: Numbers, config: Numbers) -> Course:
    changing = max(config.get("warmup_epochs") or 0, config.get("discriminator_start") or 0)
    name = "nll" if any("real" in record for record in history) else "loss"  # what is played for is no measure
    best = results.get("best_epoch")
    judged = history[changing:best]
    others = [record[f"validation_{name}"] for record in judged if f"validation_{name}" in record]
    return Course([record[name] for record in judged], others, best is not None and best < len(history))


def _not_finite(history: Sequence[Numbers]) -> Finding:
    epoch = next(r["epoch"] for r in history if any(isinstance(v, float) and not isfinite(v) for v in r.values()))
    seen = f"A number of epoch {epoch} is not finite."
    return Finding("The training diverged", seen, "Take a lower --lr or --clip-norm 1, and check the data's values.")


def _too_short(course: Course) -> Finding | None:
    if len(course.losses) >= EPOCHS or course.stopped:
        return None
    seen = f"Epochs with the full loss: {len(course.losses)}, too few to see whether it has come to rest."
    return Finding("Hardly trained", seen, "Train longer: the same command with --resume and a larger --epochs.")


def _diverged(course: Course) -> Finding | None:
    losses = course.losses
    if len(losses) < EPOCHS:
        return None
    rise = min(losses[-2:]) - min(losses)
    if rise <= RISE * max(course.fall, abs(losses[0]) * RISE):
        return None
    seen = f"The training loss was {min(losses):.2f} at its lowest and is {losses[-1]:.2f} in the last epoch."
    return Finding("The loss rises", seen, "Take a lower --lr, half of it at first, or limit steps by --clip-norm 1.")


def _unfinished(course: Course) -> Finding | None:
    losses = course.losses
    if len(losses) < EPOCHS or course.stopped:
        return None
    late = max(1, len(losses) // 3)
    share = (losses[-1 - late] - losses[-1]) / course.fall if course.fall > 0 else 0.0
    if share <= LATE:
        return None
    seen = f"{share:.0%} of the fall of the loss is from the last third of {len(losses)} epochs."
    cure = "The loss has not come to rest: the same command with --resume and a larger --epochs goes on from here."
    return Finding("Not trained to the end", seen, cure)


def _overfitted(course: Course) -> Finding | None:
    losses, others = course.losses, course.others
    if len(losses) < EPOCHS or len(others) < len(losses) or (fall := course.fall) <= 0:
        return None
    cure = (
        "Stop where the loss of other images is lowest (--validation 0.1 --patience 5), take more images, or a smaller "
        "model."
    )
    lowest = others.index(min(others))
    if others[-1] - others[lowest] > TURN * fall and len(others) - 1 - lowest >= TURNED:
        seen = (
            f"On images that are not trained on the loss was lowest, {others[lowest]:.2f}, {len(others) - 1 - lowest} "
        )
        return Finding("Overfitting", f"{seen}epochs before the end, and has risen to {others[-1]:.2f}.", cure)
    if others[-1] - losses[-1] > GAP * fall:
        seen = f"The loss is {losses[-1]:.2f} on the training images and {others[-1]:.2f} on others: "
        share = (others[-1] - losses[-1]) / fall
        return Finding("Overfitting", f"{seen}{share:.0%} of what was learned does not hold for them.", cure)
    return None


def _discriminator(history: Sequence[Numbers]) -> Finding | None:
    last = [record for record in history[-2:] if min(record.get("real", 0), record.get("made", 0)) > WINS]
    if len(last) < 2:
        return None
    real, made = last[-1]["real"], last[-1]["made"]
    seen = f"It judges {real:.1%} of real and {made:.1%} of made patches rightly, and the model learns little from it."
    cure = "Take smaller --discriminator-channels, a later --discriminator-start or a larger --gan-weight."
    return Finding("The discriminator wins", seen, cure)


def _collapsed(results: Numbers) -> Finding | None:
    total, active = len(results.get("kl_per_latent", ())), results.get("active", 0)
    if not total or total - active <= INACTIVE * total:
        return None
    if not active:
        seen = f"None of {total} latents says anything about the image: all reconstructions are the same."
    else:
        seen = f"{total - active} of {total} latents say nothing about the image: their mean is nearly constant."
    cure = "Where reconstructions lack detail: --warmup-epochs 5, --free-bits 0.1, a smaller --beta or a lower --lr. "
    return Finding("Posterior collapse", seen, f"{cure}Where they are good: a smaller --latent-dim does as well.")


def _dead_codes(results: Numbers, config: Numbers) -> list[Finding]:
    """Judge the codes of each level or stage, on the training images where their use is known."""
    cure = "Take fewer --codes or a lower --lr."
    if config.get("quantizer") == "fsq":
        cure = "Take fewer or smaller --levels, or a lower --lr."
    numbers = [part for part in (results.get("train"), results.get("test")) if isinstance(part, Mapping)]
    used = next((part for part in numbers if any(name.startswith("usage") for name in part)), {})
    found = []
    for name in used:
        if name.startswith("usage"):
            of = name.removeprefix("usage").replace("_", " ")
            found.append(_dead(of, cure, used[name], used.get(f"perplexity{name.removeprefix('usage')}")))
    return [finding for finding in found if finding is not None]


def _dead(of: str, cure: str, usage: float, perplexity: float | None) -> Finding | None:
    where = f" ({of.strip()})" if of else ""
    if perplexity is not None and perplexity < FEW_CODES:
        seen = f"The perplexity of the codes is {perplexity:.2f}: nearly all positions of all images have the same one."
        return Finding(f"The codebook has collapsed{where}", seen, cure)
    if usage >= 1 - UNUSED:
        return None
    even = "" if perplexity is None else f"; they are used as evenly as {perplexity:.1f} equally frequent ones"
    return Finding(f"Dead codes{where}", f"Only {usage:.0%} of the codes are used{even}.", cure)


def _dead_latents(results: Numbers, config: Numbers) -> Finding | None:
    dead, total = results.get("dead", 0), config.get("latent_dim")
    if not total or dead <= DEAD * total:
        return None
    seen = f"{dead} of {total} latents are active in no test image."
    return Finding("Dead latents", seen, "Take a lower --lr, a smaller --penalty or fewer latents (--latent-dim).")
