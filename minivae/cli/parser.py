"""Makes argparse report an error in one line, which also says what the user probably meant."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from minivae.kernels.checks import did_you_mean


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Says the default of every option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None or action.default is False else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """The parser of the whole command line or of one command. options: what add_argument() was called for."""

    def __init__(self, **settings: Any) -> None:
        self.options: list[argparse.Action] = []
        super().__init__(formatter_class=_Help, allow_abbrev=False, **settings)
        self.set_defaults(parser=self)

    def add_argument(self, *names: Any, **settings: Any) -> Any:
        action = super().add_argument(*names, **settings)
        self.options.append(action)
        return action

    @property
    def command(self) -> str:
        """Return the words after `minivae`, as 'train vae'."""
        return self.prog.partition(" ")[2]

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 and one line on stderr, where argparse would print its usage above."""
        self.exit(2, f"{self.prog}: error: {message} (`{self.prog} --help` lists what there is)\n")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """End as error() does, for words that no option or argument of this command takes."""
        names = [name.lstrip("-") for action in self.options for name in action.option_strings]
        typed = [word.partition("=")[0].lstrip("-") for word in unknown if word.startswith("-")]
        hints = (did_you_mean(word, names, "--") for word in typed)
        self.error(f"{self.command!r} has no use for {' '.join(unknown)}{next(filter(None, hints), '')}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Add a hint to argparse's message about a value that is none of the choices, or no command, or no model."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            hint = did_you_mean(str(value), map(str, action.choices or ()))
            raise argparse.ArgumentError(action, f"{error.message}{hint}") from None
