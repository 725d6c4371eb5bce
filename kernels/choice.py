"""Which backend computes on NumPy arrays: `native` where its C kernels can be had, else `reference`.

MINIVAE_CPU=reference or MINIVAE_CPU=native decides by hand. Whoever asks first waits for the C kernels to be compiled,
if they never were on this machine.
"""

from __future__ import annotations

import os
from functools import cache
from types import ModuleType


def cpu_backend() -> ModuleType:
    """The backend, `kernels.native` or `kernels.reference`.

    Raises ValueError where MINIVAE_CPU is neither name, RuntimeError with the compiler's own message where it asks for
    native and that cannot be had.
    """
    return _choice()[0]


def why() -> str:
    """Which backend it is and why, in a sentence. Raises what `cpu_backend` raises."""
    return _choice()[1]


@cache
def _choice() -> tuple[ModuleType, str]:
    from . import native, reference

    wanted = os.environ.get("MINIVAE_CPU", "")
    if wanted not in ("", "reference", "native"):
        raise ValueError(f"MINIVAE_CPU must be 'reference' or 'native', got {wanted!r}")
    if wanted == "reference":
        return reference, "reference, because MINIVAE_CPU=reference says so"
    reason = native.why_not()
    if reason is None:
        return native, "native, C kernels compiled for this CPU"
    if wanted == "native":
        raise RuntimeError(f"MINIVAE_CPU=native, but {reason}")
    return reference, f"reference, because {reason}"
