"""What the completion of a shell offers: every command, name and flag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robustsnn.bench import ROWS
from robustsnn.catalogue import KINDS
from robustsnn.commands.looking import BenchArguments
from robustsnn.commands.running import STAGES, ExportArguments
from robustsnn.completion import SHELLS, Follows, script
from robustsnn.data import DATASETS
from robustsnn.deploy import FORMATS, TARGETS
from robustsnn.evaluation import PROTOCOLS
from robustsnn.models import MODELS
from robustsnn.recipes import packaged
from robustsnn.recipes.flags import EvaluationArguments, RunArguments, flags
from robustsnn.terminal import Terminal

EVERYWHERE = ("--json", "--system-allocator", "--help")
"""Flags of every command."""


def complete(args: Sequence[str], terminal: Terminal) -> None:
    """``completion SHELL``: the script for it."""
    if len(args) != 1:
        raise ValueError(f"usage: robustsnn completion SHELL, with SHELL one of {', '.join(SHELLS)}")
    run, measure, ends, timing = (flags(kind) for kind in (RunArguments, EvaluationArguments, ExportArguments, BenchArguments))
    names, checkpoint, judged = [*packaged()], (".safetensors",), (*run, "--strict", *EVERYWHERE)
    commands: dict[str, list[Follows]] = {stage: [Follows(names, (".toml",), (*run, *EVERYWHERE))] for stage in STAGES}
    commands["run"] = [Follows(names, (".toml",), judged)]
    commands["evaluate"] = [
        Follows(flags=(*measure, "--strict", *EVERYWHERE), where="*.safetensors"),
        Follows(names, (*checkpoint, ".toml"), judged),
    ]
    commands["report"] = [Follows(names, (".toml",), judged, many=True)]
    commands["list"] = [Follows([*KINDS], flags=EVERYWHERE)]
    commands["info"] = [
        Follows(flags=EVERYWHERE, where="*.safetensors"),
        Follows(names, (*checkpoint, ".toml"), (*run, *EVERYWHERE)),
    ]
    commands["export"] = [Follows(files=checkpoint, flags=(*ends, *EVERYWHERE))]
    commands["bench"] = [Follows(flags=(*timing, *EVERYWHERE))]
    commands["doctor"] = [Follows(flags=EVERYWHERE)]
    commands["completion"] = [Follows([*SHELLS], flags=EVERYWHERE)]
    few = {flag: words for kind in (run, measure, ends, timing) for flag, words in kind.items() if words}
    parts = [*KINDS["baselines"]()]
    text = script(args[0], commands, {**few, **_names(parts)}, FILES, parts)
    terminal.answer({"shell": args[0], "script": text}, lambda: terminal.raw(text))


def _names(baselines: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """The words that may follow flags whose value is a name."""
    ensembles = list(dict.fromkeys(name for protocol in PROTOCOLS.values() for name in protocol.ensembles))
    return {
        "--data.name": [*DATASETS],
        "--data": [*DATASETS],
        "--model.name": [*MODELS],
        "--evaluation.protocol": [*PROTOCOLS],
        "--protocol": [*PROTOCOLS],
        "--evaluation.attacks": ensembles,
        "--attacks": ensembles,
        "--compare": sorted({name.partition(":")[2] for name in baselines}),
        "--to": [*FORMATS],
        "--target": [*TARGETS],
        "--networks": [*MODELS],
        "--rows": [*ROWS],
        "--device": ["cpu", "cuda"],
    }


FILES: Mapping[str, Sequence[str]] = {
    "--out": ("/",),
    "--weights": (".safetensors", ".pth", ".pt"),
    "--evaluation.transfer": (".safetensors",),
    "--transfer": (".safetensors",),
}
"""The endings of files that may follow a flag; ``'/'``: folders only."""
