"""mv.models.VQVAE2 and its prior: what they have besides what all models have, which is in table_models.py."""

from __future__ import annotations

from functools import cache
from typing import Any

from minivae import models

from .judge import Argument, Row, method
from .kinds import NONE, PASSED_ON, REFUSED, Kind, choice
from .model_settings import IMAGE_KIND, IMAGES, MAP_KIND, OFFERS, RNG, SETTINGS
from .table_models import inner, new, no_labels, verb, x

TOPS, BOTTOMS = RNG.integers(0, 2, (3, 1, 1)), RNG.integers(0, 3, (3, 2, 2))


def new_prior() -> Any:
    return models.VQVAE2Prior.of(new("VQVAE2"), channels=2, layers=1, first_kernel=1, kernel=1, hidden=2)


prior = cache(new_prior)


pair = Argument((TOPS, BOTTOMS), Kind("pair of codes", lambda value: REFUSED))
prior_argument = Argument(prior(), OFFERS | NONE)
level = Argument("top", choice("top", "bottom"))
part = Kind("PixelCNN", lambda value: REFUSED)
VERBS: dict[str, dict[str, Argument]] = {
    **{name: {"x": x} for name in ("encode", "transform", "reconstruct", "score", "fit_transform", "check_images")},
    "loss": {"x": inner},
    "decode": {"z": pair, "without": Argument("top", choice("top", "bottom") | NONE)},
    "check_codes": {"codes": pair},
    "inverse_transform": {"z": pair},
    "nll_without": {"x": Argument(IMAGES, IMAGE_KIND), "level": level},
    **{name: {"codes": pair, "prior": prior_argument, "y": no_labels} for name in ("code_cost", "level_costs")},
    **{name: {"x": x, "prior": prior_argument, "y": no_labels} for name in ("score_samples", "bound")},
    "sample": {"prior": Argument(prior(), OFFERS), "y": no_labels},
    "bits_per_dim": {},
}
PRIOR: dict[str, dict[str, Argument]] = {
    "fit": {"codes": pair, "y": Argument(None, PASSED_ON), "options": SETTINGS["options"]},
    "context": {"top": Argument(TOPS, MAP_KIND), "y": Argument(None, PASSED_ON)},
    "sample": {"n": SETTINGS["n"], "temperature": SETTINGS["temperature"], "y": no_labels},
    "score_levels": {"codes": pair, "y": no_labels},
    "score_samples": {"codes": pair, "y": no_labels},
}
TABLE = {
    **{f"models.VQVAE2.{name}": verb("VQVAE2", name, **arguments) for name, arguments in VERBS.items()},
    **{f"models.VQVAE2Prior.{name}": method(models.VQVAE2Prior, name, new_prior, args) for name, args in PRIOR.items()},
    "models.VQVAE2Prior": Row(
        models.VQVAE2Prior, {"top": Argument(prior().top, part), "bottom": Argument(prior().bottom, part)}
    ),
    "models.VQVAE2Prior.of": Row(
        models.VQVAE2Prior.of,
        {
            "model": Argument(new("VQVAE2"), OFFERS),
            "classes": SETTINGS["classes"],
            "settings": Argument({"channels": 2}, PASSED_ON),
        },
    ),
}
