"""python -m minivae: the command line."""

import sys

from minivae.cli import main

sys.exit(main())
