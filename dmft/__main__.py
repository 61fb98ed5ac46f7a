"""`python -m dmft`."""

import sys

from dmft.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
