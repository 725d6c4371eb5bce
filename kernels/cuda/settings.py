"""The settings of the CUDA backend that a user may choose."""

from __future__ import annotations


class Settings:
    """It checks each setting when it is set: anything but a bool raises TypeError."""

    def __init__(self) -> None:
        self._allow_tf32 = False
        self._capture_steps = True

    @property
    def allow_tf32(self) -> bool:
        """Whether products and convolutions of float32 numbers may round their operands to TF32, 10 bits of mantissa,
        for the sake of the tensor cores. Results are then off by about 1e-3 of their size. Off by default."""
        return self._allow_tf32

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        self._allow_tf32 = _checked("allow_tf32", value)

    @property
    def capture_steps(self) -> bool:
        """Whether training on the GPU captures its steps into CUDA graphs. Results are bitwise the same. On by default.
        If it is off, each kernel is launched by itself, which helps in debugging."""
        return self._capture_steps

    @capture_steps.setter
    def capture_steps(self, value: bool) -> None:
        self._capture_steps = _checked("capture_steps", value)


def _checked(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


settings = Settings()
