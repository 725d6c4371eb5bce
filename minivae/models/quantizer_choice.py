"""The quantiser of a VQVAE by its name, 'vq', 'fsq' or 'rvq', and which of the model's parameters belong to which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minivae.nn import FiniteScalarQuantizer, Quantizer, ResidualVectorQuantizer, VectorQuantizer

LEVELS, STAGES = (8, 6, 5), 2  # where a model names none
OF_CODEBOOKS = ("codes", "code_dim", "update", "commitment", "decay", "restart")
PARAMETERS = {"vq": OF_CODEBOOKS, "fsq": ("levels",), "rvq": (*OF_CODEBOOKS, "stages")}


def check_parameters(name: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """ValueError for a parameter of another quantiser than this one that is not at its default."""
    for other in sorted({*PARAMETERS["fsq"], *PARAMETERS["rvq"]} - {*PARAMETERS[name]}):
        value, default = given[other], defaults[other]
        if value is not default and (default is None or value != default):
            owners = " or ".join(repr(kind) for kind, names in PARAMETERS.items() if other in names)
            raise ValueError(f"{other} belongs to quantizer={owners}, and this one is {name!r}, got {other}={value!r}")


def latent_length(name: str, given: Mapping[str, Any]) -> int:
    """The length D of the vectors that the encoder makes for this quantiser with these parameters."""
    return len(given["levels"] or LEVELS) if name == "fsq" else int(given["code_dim"])


def make_quantizer(name: str, given: Mapping[str, Any]) -> Quantizer:
    """The quantiser of this name with those of the parameters that belong to it."""
    if name == "fsq":
        return FiniteScalarQuantizer(LEVELS if given["levels"] is None else given["levels"])
    learning = {name: given[name] for name in ("update", "commitment", "decay", "restart")}
    codes, dim = given["codes"], given["code_dim"]
    if name == "rvq":
        stages = STAGES if given["stages"] is None else given["stages"]
        return ResidualVectorQuantizer(codes, dim, stages, **learning)
    return VectorQuantizer(codes, dim, **learning)
