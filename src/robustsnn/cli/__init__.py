"""The command line: parse, run, print. What computes is imported only when a command does."""

from robustsnn.cli.entry import EXITS, main

__all__ = ["EXITS", "main"]
