"""The command line: parse, run, print. Every error is one line that says what, where and what to do."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from robustsnn.catalogue import KINDS
from robustsnn.commands import (
    CONTINUES,
    STAGES,
    AuditFailed,
    NotReady,
    compare,
    complete,
    doctor,
    evaluate_checkpoint,
    info,
    is_run,
    leave,
    show,
    speed,
    stage,
)
from robustsnn.compute import machine
from robustsnn.names import find, one_line
from robustsnn.recipes import packaged
from robustsnn.terminal import Terminal, complain, flush, tell, unheard
from robustsnn.zoo import PREFIX

EXITS = {
    0: "done",
    1: "an internal error, or another process of the run ended; of 'doctor': the main job cannot run",
    2: "a mistake in the command, a flag, a recipe or a file, said in one line",
    3: "--strict, and a check of the audit failed",
    130: "stopped by Ctrl-C (SIGINT)",
    143: "stopped by SIGTERM",
}
"""What the exit status says."""

JUDGING = ("run", "evaluate", "report")
"""Commands that may be asked by ``--strict`` to let the exit status tell of the audit."""

USAGE = f"""robustsnn: adversarially robust spiking neural networks

  robustsnn run RECIPE [--out DIR] [--section.key value ...]
                          the whole pipeline; continues where it stopped
  robustsnn pretrain | staircase | convert | finetune | evaluate | report RECIPE [--out DIR] [--section.key value ...]
                          one stage of it
  robustsnn evaluate FILE.safetensors | zoo:NAME [--eps 8/255 ...] [--protocol NAME] ...
                          measure a checkpoint; --ann package.module:factory makes a body from outside, --data names images,
                          --strict exits with 3 where a check of the audit fails, --out DIR writes the report there
  robustsnn report FOLDER ... [--out FILE.html]
                          runs beside one another on one page, ranked by what they withstand
  robustsnn list KIND     KIND: {", ".join([*KINDS][:7])},
                          {", ".join([*KINDS][7:])}
  robustsnn info FILE.safetensors | RECIPE [--section.key value ...]
                          what a checkpoint holds; what a run would do, without doing it
  robustsnn export FILE.safetensors --out FILE [--to nir | onnx] [--target NAME]
                          write the spiking network for other simulators (see 'robustsnn list targets') or runtimes
  robustsnn bench         how fast this machine is, as ratios within one run
  robustsnn doctor        what this machine has and lacks; whether 'robustsnn run digits' can run
  robustsnn completion bash | zsh
                          a script that completes commands, names, files and flags

Everywhere: --json prints what is found as one JSON document on stdout, and all else on stderr;
--system-allocator leaves memory to the C library (less held, slower).
RECIPE is a packaged name (see 'robustsnn list recipes') or a TOML file. 'robustsnn run RECIPE --help' lists every key.
Exit status:
{"".join(f"  {status:>3} {meaning}" + chr(10) for status, meaning in EXITS.items())}"""


def command(args: Sequence[str]) -> None:
    """Find the command that the arguments name, and do it."""
    machine.plain()
    args = [part for arg in args for part in (arg.split("=", 1) if arg.startswith("--") else (arg,))]
    if not args or args[0] in ("-h", "--help", "help"):
        tell(USAGE.rstrip(), sys.stdout)
        return None
    if "--system-allocator" not in args:
        machine.keep_memory()
    machine.keep_machine_code(lambda line: tell(line, sys.stderr))
    strict, terminal = "--strict" in args, Terminal(json="--json" in args)
    name, *rest = [arg for arg in args if arg not in ("--strict", "--system-allocator", "--json")] or [""]
    if strict and (name not in JUDGING or (name == "report" and rest and is_run(rest[0]))):
        raise ValueError(f"--strict tells of the audit of one run: give it to {', '.join(JUDGING)}, not to 'robustsnn {name}'")
    if name != "bench" and rest and rest[0] in ("-h", "--help"):
        tell(USAGE.rstrip(), sys.stdout)
        return None
    if name == "evaluate" and rest and (rest[0].endswith(".safetensors") or rest[0].startswith(PREFIX)):
        return evaluate_checkpoint(rest, strict, terminal)
    if name == "evaluate" and rest and rest[0].endswith((".pth", ".pt")):
        raise ValueError(
            f"{rest[0]} is no checkpoint: give a .safetensors file. Weights of an ANN go to 'robustsnn run --weights'; "
            "save a network of your own by robustsnn.save(path, net), and give --ann package.module:factory with it"
        )
    if name == "evaluate" and rest and rest[0] not in packaged() and Path(rest[0]).is_dir():
        raise ValueError(f"{rest[0]} is a folder: give a checkpoint in it, such as {Path(rest[0]) / 'snn.safetensors'}")
    if name == "report" and rest and is_run(rest[0]):
        return compare(rest, terminal)
    commands: dict[str, Callable[[Sequence[str], Terminal], None]] = {
        **dict.fromkeys(STAGES, lambda rest, terminal: stage(name, rest, strict, terminal)),
        "list": show,
        "info": info,
        "bench": speed,
        "export": leave,
        "doctor": doctor,
        "completion": complete,
    }
    return find("command", commands, name)(rest, terminal)


class Terminated(KeyboardInterrupt):
    """SIGTERM."""


def _terminate(*_: object) -> None:
    raise Terminated


def main(args: Sequence[str] | None = None) -> int:
    """Entry point.

    Returns:
        One of `EXITS`.
    """
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        status = _main(sys.argv[1:] if args is None else args)
    finally:
        signal.signal(signal.SIGTERM, before)
        flush()
    if torch.distributed.is_initialized():  # the other processes are gone or will be: nothing can be said goodbye to
        os._exit(status)
    return status


def _main(args: Sequence[str]) -> int:
    try:
        command(args)
    except KeyboardInterrupt as stop:
        complain(f"stopped; {CONTINUES}")
        return 143 if isinstance(stop, Terminated) else 130
    except AuditFailed:
        return 3
    except NotReady:
        return 1
    except (ValueError, FloatingPointError) as error:
        complain(f"error: {one_line(error, None)}")
        return 2
    except Exception as error:
        if isinstance(error, BrokenPipeError) and {"-h", "--help"} & {*args}:  # tyro prints help, and nobody reads it
            unheard(sys.stdout)
            return 0
        if os.environ.get("ROBUSTSNN_DEBUG"):
            tell(traceback.format_exc(), sys.stderr)
        what = one_line(f"{type(error).__name__}: {error}")
        if isinstance(error, RuntimeError) and torch.distributed.is_initialized():
            complain(f"error: another process ended or is out of reach ({what}); {CONTINUES}")
            return 1
        complain(f"internal error: {what}; ROBUSTSNN_DEBUG=1 shows where")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
