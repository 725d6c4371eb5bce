"""python -m minivae, and the command minivae: the command line, with Ctrl-C caught while it is still being imported."""

import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        from minivae.cli import main

        return main()
    except KeyboardInterrupt:
        print("minivae: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
