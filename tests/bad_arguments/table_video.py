"""mv.models.VideoVQVAE and VideoPrior: what they have besides what all models have, which is in table_models.py."""

from __future__ import annotations

from functools import cache
from typing import Any

from minivae import models

from .judge import Argument, Row, method
from .kinds import NONE, PASSED_ON, REFUSED, Kind, integer
from .model_settings import CLIPS, CODE_KIND, IMAGE_KIND, INNER_KIND, OFFERS, RNG, SETTINGS
from .table_models import new, no_labels, verb

CODES = RNG.integers(0, 3, (3, 2, 1, 1))


def new_prior() -> Any:
    settings = {"channels": 2, "layers": 1, "first_kernel": 1, "kernel": 1, "hidden": 2}
    return models.VideoPrior.of(new("VideoVQVAE"), **settings)


prior = cache(new_prior)
clips, codes = Argument(CLIPS, IMAGE_KIND), Argument(CODES, CODE_KIND)
prior_argument, given_prior = Argument(prior(), OFFERS | NONE), Argument(prior(), OFFERS)
part = Kind("PixelCNN", lambda value: REFUSED)
count = Argument(1, integer(1, 3))
OF_CLIPS = ("encode", "transform", "reconstruct", "score", "fit_transform", "check_images", "check_clips")
VERBS: dict[str, dict[str, Argument]] = {
    **{name: {"x": clips} for name in OF_CLIPS},
    "loss": {"x": Argument(CLIPS, INNER_KIND)},
    **{name: {"codes": codes} for name in ("decode", "check_codes")},
    "inverse_transform": {"z": codes},
    "code_cost": {"codes": codes, "prior": prior_argument, "y": no_labels},
    **{name: {"x": clips, "prior": prior_argument, "y": no_labels} for name in ("score_samples", "bound")},
    "sample": {"prior": given_prior, "y": no_labels},
    "continued": {"x": clips, "prior": given_prior, "count": count},
    "bits_per_dim": {},
}
PRIOR: dict[str, dict[str, Argument]] = {
    "fit": {"codes": codes, "y": Argument(None, PASSED_ON), "options": SETTINGS["options"]},
    **{name: {"codes": codes} for name in ("check_codes", "examples", "training_examples", "score_frames")},
    "score_samples": {"codes": codes, "y": no_labels},
    "sample": {**{name: SETTINGS[name] for name in ("n", "temperature", "on_position")}, "y": no_labels},
    "continue_codes": {"codes": codes, "count": count, "temperature": SETTINGS["temperature"]},
}
TABLE = {
    **{f"models.VideoVQVAE.{name}": verb("VideoVQVAE", name, **arguments) for name, arguments in VERBS.items()},
    **{f"models.VideoPrior.{name}": method(models.VideoPrior, name, new_prior, args) for name, args in PRIOR.items()},
    "models.VideoPrior": Row(
        models.VideoPrior, {"frame": Argument(prior().frame, part), "frames": Argument(2, integer(1, 10_000))}
    ),
    "models.VideoPrior.of": Row(
        models.VideoPrior.of,
        {
            "model": Argument(new("VideoVQVAE"), OFFERS),
            "history": Argument(2, integer(1, 3)),
            "motion": Argument(1, integer(0, 100)),
            "settings": Argument({"channels": 2}, PASSED_ON),
        },
    ),
}
