"""`python -m medsemi` is the command `medsemi`."""

import sys

from medsemi.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
