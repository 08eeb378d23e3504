"""The command line. Modules that compute are imported only by commands that need them."""

from robustsnn.cli.entry import EXITS, main

__all__ = ["EXITS", "main"]
