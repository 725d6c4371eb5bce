"""What a user may choose about the CUDA backend."""

from __future__ import annotations


class Settings:
    """The choices, each checked when it is made."""

    def __init__(self) -> None:
        self._allow_tf32 = False

    @property
    def allow_tf32(self) -> bool:
        """Whether products of float32 matrices may round their operands to TF32, 10 bits of mantissa, for the sake of
        the tensor cores. Results are then off by about 1e-3 of their size. Off by default. Raises TypeError if set to
        anything but a bool."""
        return self._allow_tf32

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise TypeError(f"allow_tf32 must be True or False, got {value!r}")
        self._allow_tf32 = value


settings = Settings()
