"""``python -m vidface``."""

import sys

from vidface.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
