"""Lets `python -m mps_spectro_patch` be the command line. Everything is in cli/commands.py."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
