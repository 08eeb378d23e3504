"""The entry point: runs a command line and returns its exit status. Every error is a single line."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from itertools import takewhile

from robustsnn.allocator import keep_memory
from robustsnn.cli import machine
from robustsnn.cli.commands import COMMANDS, HELP, overview, read
from robustsnn.cli.terminal import Ended, Terminal, complain, flush, spelled_out, tell, unheard
from robustsnn.names import one_line

CONTINUES = "the same command continues where it stopped"

EXITS = {
    0: "done",
    1: "an internal error, or another process of the run ended; 'doctor': 'run digits' cannot run",
    2: "an error in the command, a flag, a recipe or a file; one line on stderr describes it",
    3: "a check of the audit failed (only with --strict)",
    130: "stopped by Ctrl-C (SIGINT)",
    143: "stopped by SIGTERM",
}
"""Meanings of the exit status."""

OVERVIEW = f"""Train adversarially robust spiking neural networks, and measure their robustness.

'robustsnn COMMAND --help' describes a command; 'robustsnn --version' prints the version.

Exit status:
{chr(10).join(f"  {status} {meaning}" for status, meaning in EXITS.items())}"""


def command(args: Sequence[str]) -> None:
    """Run the command that the words name."""
    machine.plain()
    if not args or args[0] in (*HELP, "help"):
        return overview(OVERVIEW)
    if args[0] == "--version":
        return tell(f"robustsnn {version('robustsnn')}", sys.stdout)
    before = [*takewhile(lambda word: word.startswith("-"), args)]
    name, *words = [*args[len(before) :], *before]
    chosen = read(name, words)
    if not chosen.common.system_allocator:
        keep_memory()
    return COMMANDS[name].do(chosen, Terminal(chosen.common.json, chosen.common.quiet, chosen.common.verbose, words))


class Terminated(KeyboardInterrupt):
    """SIGTERM."""


def _terminate(*_: object) -> None:
    raise Terminated


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns:
        The exit status, one of `EXITS`.
    """
    before = signal.signal(signal.SIGTERM, _terminate)
    spelled_out()
    try:
        status = _main(sys.argv[1:] if args is None else args)
    finally:
        signal.signal(signal.SIGTERM, before)
        flush()
    if machine.together():  # other processes may have ended: do not wait for them at exit
        os._exit(status)
    return status


def _main(args: Sequence[str]) -> int:
    try:
        command(args)
    except SystemExit as stop:  # after help
        return int(stop.code or 0)
    except KeyboardInterrupt as stop:
        complain(f"stopped; {CONTINUES}")
        return 143 if isinstance(stop, Terminated) else 130
    except Ended as ended:
        return ended.status
    except (ValueError, FloatingPointError) as error:
        complain(f"error: {one_line(error, None)}")
        return 2
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            complain(f"error: a name is too long for this file system ({one_line(error)}): choose a shorter one")
            return 2
        if isinstance(error, BrokenPipeError) and {*HELP} & {*args}:  # tyro prints help to a closed pipe
            unheard(sys.stdout)
            return 0
        if {"-v", "--verbose"} & {*args}:
            tell(traceback.format_exc(), sys.stderr)
        what = one_line(f"{type(error).__name__}: {error}")
        if isinstance(error, RuntimeError) and machine.together():
            complain(f"error: another process ended or is unreachable ({what}); {CONTINUES}")
            return 1
        complain(f"internal error: {what}; --verbose shows the traceback")
        return 1
    return 0
