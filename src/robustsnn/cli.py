"""The command line: parse, run, print. Every error is one line that says what, where and what to do."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from robustsnn import machine
from robustsnn.commands import (
    CONTINUES,
    KINDS,
    STAGES,
    compare,
    evaluate_checkpoint,
    info,
    is_run,
    leave,
    show,
    speed,
    stage,
)
from robustsnn.names import find
from robustsnn.terminal import AuditFailed
from robustsnn.zoo import PREFIX

USAGE = (
    """robustsnn: adversarially robust spiking neural networks

  robustsnn run RECIPE [--out DIR] [--section.key value ...]
                          the whole pipeline; continues where it stopped
  robustsnn pretrain | convert | finetune | evaluate | report RECIPE [--out DIR] [--section.key value ...]
                          one stage of it
  robustsnn evaluate FILE.safetensors | zoo:NAME [--eps 8/255 ...] [--protocol NAME] ...
                          measure a checkpoint; --ann package.module:factory makes a body from outside,
                          --strict exits with 3 where a check of the audit fails, --out DIR writes the report there
  robustsnn report FOLDER ... [--out FILE.html]
                          runs beside one another on one page, ranked by what they withstand
  robustsnn list KIND     KIND: """
    + ", ".join(KINDS)
    + """
  robustsnn info FILE.safetensors
                          what a checkpoint holds
  robustsnn export FILE.safetensors --out FILE [--to nir | onnx] [--target NAME]
                          write the spiking network for other simulators (see 'robustsnn list targets') or runtimes
  robustsnn bench         how fast this machine is, as ratios within one run

Everywhere: --system-allocator leaves memory to the C library (less held, slower).
RECIPE is a packaged name (see 'robustsnn list recipes') or a TOML file. 'robustsnn run RECIPE --help' lists every key.
"""
)


def command(args: Sequence[str]) -> None:
    """Find the command that the arguments name, and do it."""
    if not args or args[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return None
    if "--system-allocator" not in args:
        machine.keep_memory()
    machine.keep_machine_code(lambda line: print(line, file=sys.stderr))
    strict, name = "--strict" in args, args[0]
    rest = [arg for arg in args[1:] if arg not in ("--strict", "--system-allocator")]
    if rest and rest[0] in ("-h", "--help"):
        print(USAGE, end="")
        return None
    if name == "evaluate" and rest and (rest[0].endswith(".safetensors") or rest[0].startswith(PREFIX)):
        return evaluate_checkpoint(rest, strict)
    if name == "evaluate" and rest and (rest[0].endswith((".pth", ".pt")) or Path(rest[0]).is_dir()):
        raise ValueError(
            f"{rest[0]} is no checkpoint of a run: give a .safetensors file; weights go to 'robustsnn run --weights'"
        )
    if name == "report" and rest and is_run(rest[0]):
        return compare(rest)
    simple: Mapping[str, Callable[[Sequence[str]], None]] = {"list": show, "info": info, "bench": speed, "export": leave}
    stages = {stage_name: lambda rest: stage(name, rest, strict) for stage_name in STAGES}
    return find("command", {**stages, **simple}, name)(rest)


class Terminated(KeyboardInterrupt):
    """SIGTERM."""


def _terminate(*_: object) -> None:
    raise Terminated


def main(args: Sequence[str] | None = None) -> int:
    """Entry point.

    Returns:
        0; 1 after an internal error or the end of another process, 2 after an error of the user's, one line each; 3 where
        ``--strict`` finds a failed check; 130 or 143 where SIGINT or SIGTERM stopped it.
    """
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        status = _main(sys.argv[1:] if args is None else args)
    finally:
        signal.signal(signal.SIGTERM, before)
    if torch.distributed.is_initialized():  # the other processes are gone or will be: nothing can be said goodbye to
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _main(args: Sequence[str]) -> int:
    try:
        command(args)
    except KeyboardInterrupt as stop:
        print(f"robustsnn: stopped; {CONTINUES}", file=sys.stderr)
        return 143 if isinstance(stop, Terminated) else 130
    except BrokenPipeError:
        return 0
    except AuditFailed:
        return 3
    except (ValueError, FloatingPointError) as error:
        print(f"robustsnn: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except Exception as error:
        if os.environ.get("ROBUSTSNN_DEBUG"):
            traceback.print_exc()
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        if isinstance(error, RuntimeError) and torch.distributed.is_initialized():
            print(f"robustsnn: error: another process ended or is out of reach ({what}); {CONTINUES}", file=sys.stderr)
            return 1
        print(f"robustsnn: internal error: {what}; ROBUSTSNN_DEBUG=1 shows where", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
