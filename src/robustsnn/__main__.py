"""``python -m robustsnn``: the command line."""

import sys

from robustsnn.cli import main

if __name__ == "__main__":
    sys.exit(main())
