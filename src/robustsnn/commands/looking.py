"""The commands that look and tell: comparison, list, info, doctor, bench."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from robustsnn import checkpoint
from robustsnn.bench import ROWS, Case, Timing, bench
from robustsnn.catalogue import KINDS
from robustsnn.doctor import diagnose
from robustsnn.files import write_atomic
from robustsnn.names import find
from robustsnn.recipes import measuring, packaged, plan
from robustsnn.recipes.flags import arguments, parse
from robustsnn.recipes.recipe import label
from robustsnn.reporting import read_report
from robustsnn.reporting.board import Group, differences, groups, winner
from robustsnn.terminal import Terminal, document
from robustsnn.zoo import PREFIX


class NotReady(Exception):
    """The exit status tells that the main job cannot run on this machine."""


def is_run(name: str) -> bool:
    """Whether a name is a folder, and not that of a recipe which happens to be called the same."""
    folder = Path(name)
    return folder.is_dir() and (name not in packaged() or (folder / "report.json").is_file())


@dataclass(frozen=True)
class Comparison:
    """Runs to compare on one page."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """folders of runs, each with its report.json"""
    out: Path = Path("comparison.html")
    """the page"""


def compare(args: Sequence[str], terminal: Terminal) -> None:
    """``report FOLDER ...``: networks that were measured in the same way, ranked."""
    chosen = parse(Comparison, Comparison(()), args, "robustsnn report")
    if not chosen.folders:
        raise ValueError("usage: robustsnn report FOLDER ... [--out FILE.html]")
    runs = measuring.compare(chosen.folders, chosen.out)
    ranked = [_ranking(group) for group in groups(runs)]
    terminal.answer(
        {"page": chosen.out, "groups": ranked, "differences": differences(runs)}, lambda: terminal.comparison(runs)
    )
    terminal.say(f"The page is {chosen.out}.")


def _ranking(group: Group) -> dict[str, Any]:
    """A group for programs: the most robust network first."""
    networks = [
        {
            "network": entry.row.network,
            "run": entry.run,
            "timesteps": entry.report.timesteps,
            "clean": entry.report.clean,
            "robust": group.robust(entry),
        }
        for entry in group.entries
    ]
    eps = None if group.threat is None else group.threat.eps
    return {
        "title": group.title,
        "eps": eps,
        "winner": winner(group),
        "networks": networks,
    }


def show(args: Sequence[str], terminal: Terminal) -> None:
    """``list KIND``."""
    if len(args) != 1:
        raise ValueError(f"usage: robustsnn list KIND, with KIND one of {', '.join(KINDS)}")
    lines = find("kind", KINDS, args[0])()
    terminal.answer(lines, lambda: terminal.say("\n".join(lines.values())))


def info(args: Sequence[str], terminal: Terminal) -> None:
    """``info FILE``, or ``info RECIPE``: what ``run`` would do, without doing it."""
    if not args or args[0].startswith("-"):
        raise ValueError("usage: robustsnn info FILE.safetensors | zoo:NAME | RECIPE [--section.key value ...]")
    if not args[0].endswith(".safetensors") and not args[0].startswith(PREFIX):
        return _recipe(args, terminal)
    if len(args) > 1:
        raise ValueError(f"usage: robustsnn info {args[0]}, without flags: these are for recipes")
    return _checkpoint(args[0], terminal)


def _recipe(args: Sequence[str], terminal: Terminal) -> None:
    recipe = arguments(args, "robustsnn info").recipe
    lines = plan(recipe, label(args[0], recipe))
    said = "\n".join([*lines, "", recipe.toml().decode()])
    terminal.answer({"plan": lines, "recipe": recipe.table()}, lambda: terminal.say(said))


def _checkpoint(path: str, terminal: Terminal) -> None:
    header, parameters = checkpoint.read_header(path), checkpoint.count(path)
    parts = {"recipe": header.recipe, "spiking": header.spiking, "metrics": header.metrics}
    lines = [f"{path}: {header.kind}, {parameters:,} parameters"]
    said = {
        (name, key): entry for name, part in parts.items() for key, entry in part.items() if key not in ("history", "report")
    }
    lines += [f"{name}.{key}: {entry}" for (name, key), entry in said.items()]
    document = {"file": path, "kind": header.kind, "parameters": parameters, **parts}

    def tell() -> None:
        terminal.say("\n".join(lines))
        if "report" in header.metrics:
            terminal.report(read_report(json.dumps(header.metrics["report"]).encode(), path))

    terminal.answer(document, tell)


def doctor(args: Sequence[str], terminal: Terminal) -> None:
    """``doctor``: what is there, as it is found out.

    Raises:
        NotReady: the main job cannot run.
    """
    if args:
        raise ValueError("usage: robustsnn doctor")
    found = []
    for finding in diagnose():
        terminal.say(str(finding))
        found.append(finding)
    ready = all(finding.state != "fail" for finding in found)
    terminal.answer({"ready": ready, "findings": found}, lambda: None)
    if not ready:
        raise NotReady


@dataclass(frozen=True)
class BenchArguments:
    """What to measure, and where to keep the figures."""

    networks: tuple[str, ...] = ("resnet20", "vgg11")
    rows: tuple[str, ...] = tuple(ROWS)
    timesteps: int = 8
    batch: int = 64
    """images of the first network; a quarter of it for the others, which are wider"""
    few: int = 16
    """images of the PGD ensemble and of calibration"""
    width: float = 1.0
    """factor on all channels"""
    repeats: int = 3
    device: str = "cpu"
    out: Path | None = None
    """a file for the figures, one object per row, written after every row"""


def speed(args: Sequence[str], terminal: Terminal) -> None:
    """``bench``."""
    chosen, found = parse(BenchArguments, BenchArguments(), args, "robustsnn bench"), []
    for number, network in enumerate(chosen.networks):
        batch = chosen.batch if number == 0 else max(1, chosen.batch // 4)
        case = Case(network, chosen.width, chosen.timesteps, batch, chosen.few, chosen.device)
        rows = []
        for row in bench(case, chosen.rows, chosen.repeats):
            terminal.say(f"{network}: {row.what}")
            rows.append(row.cells())
            found.append({**asdict(case), **asdict(row)})
            if chosen.out is not None:
                write_atomic(chosen.out, document(found))
        terminal.table([f"{network}, T = {case.timesteps}, batch {batch}", *Timing.HEAD], rows)
    terminal.answer(found, lambda: None)
    terminal.say("Medians of repeats in turns. plain: the definition, step by step; floor: convolutions and linears alone.")
