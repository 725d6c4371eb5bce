"""python -m minivae, and the command minivae: the command line, with Ctrl-C caught while it is still being imported."""

import os
import signal
import sys
from typing import Any


def main() -> int:
    """Run the command line; returns the exit code."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else it is ignored, as in the background of a shell
        signal.signal(signal.SIGINT, _leave)
    from minivae.cli import main

    signal.signal(signal.SIGINT, before)
    return main()


def _leave(*_: Any) -> None:
    """End at once: an exception would come out of an import as whatever the imported package makes of it."""
    os.write(2, b"minivae: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
