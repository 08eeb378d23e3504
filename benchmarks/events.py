"""Keeps what was measured on event data, and writes docs/results-events.md.

robustsnn run nmnist                                  # with ROBUSTSNN_DATA
cd runs/nmnist
for net in snn natural/snn end_to_end/snn; do
    robustsnn evaluate $net.safetensors --threat Retiming --audit-images 0 --shown 0 --out retiming/$net
done
robustsnn run nmnist --seed 1 --compare natural --out runs/nmnist-1
robustsnn run digits-events
python -m benchmarks.events keep runs/nmnist runs/nmnist-1 runs/digits-events
python -m benchmarks.events page
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from benchmarks.pages import markdown, render
from benchmarks.zoo import unillustrated
from robustsnn.evaluation import PRESETS, Report, percent
from robustsnn.evaluation.measures import ENERGY
from robustsnn.files import write_atomic
from robustsnn.reporting import RunReport, read_report
from robustsnn.threats import kind

ROOT = Path(__file__).resolve().parents[1]
KEPT = Path(__file__).parent / "events"
"""Reports of runs by the name of their folder, and of retiming by folder and network."""

NETWORKS = {
    "snn": "robust SNN, finetuned",
    "natural": "natural SNN, finetuned",
    "end_to_end": "end_to_end SNN, finetuned",
}
"""The compared networks: names of checkpoints, and of rows in the run's report."""


def keep(folders: Sequence[Path]) -> None:
    """Keep the reports of runs, without the pictures and curves in them."""
    for folder in folders:
        files = {folder.name: folder / "report.json"}
        retimed = {"snn": "snn", "natural": "natural/snn", "end_to_end": "end_to_end/snn"}
        files |= {f"{folder.name}-retiming-{name}": folder / f"retiming/{path}/report.json" for name, path in retimed.items()}
        for name, file in files.items():
            if file.is_file():
                bare = unillustrated(read_report(file.read_bytes(), file)).model_copy(update={"curves": {}, "command": ""})
                write_atomic(KEPT / f"{name}.json", bare.to_json())


def kept(name: str) -> RunReport | None:
    """Return a kept report, if there is one."""
    file = KEPT / f"{name}.json"
    return read_report(file.read_bytes(), file) if file.is_file() else None


def reports(run: str) -> dict[str, Report]:
    """Return the networks of a run by their names in the report."""
    found = kept(run)
    return {row.network: row.report for row in found.rows} if found else {}


def accuracy(report: Report, eps: float) -> str:
    """Return the worst case at a budget, "-" if it was not measured."""
    return percent(report.worst(eps)) if report.at(eps) else "-"


def budgets(run: str) -> list[list[str]]:
    """Return the table of a run: accuracy without an attack, and under each threat."""
    networks = reports(run)
    radii = sorted({result.eps for report in networks.values() for result in report.results})
    moved = {name: next(iter(reports(f"{run}-retiming-{name}").values()), None) for name in NETWORKS}
    shifts = sorted({result.eps for report in moved.values() if report for result in report.results})
    flips, retiming = kind("Flips"), kind("Retiming")
    lines = [["network", "clean", *(flips(eps).spelled for eps in radii), *(retiming(eps).spelled for eps in shifts)]]
    for name, report in networks.items():
        key = next((key for key, row in NETWORKS.items() if row == name), "")
        later = moved.get(key)
        lines.append(
            [
                name,
                percent(report.clean),
                *(accuracy(report, eps) for eps in radii),
                *("-" if later is None else accuracy(later, eps) for eps in shifts),
            ]
        )
    return lines


def paired(run: str) -> Iterator[list[str]]:
    """Yield the paired comparison of every two networks at every budget, its head first."""
    yield ["networks", "budget", "difference", "test"]
    networks = reports(run)
    there = [(key, networks[row]) for key, row in NETWORKS.items() if row in networks]
    for (_, one), (other_name, other) in combinations(there, 2):
        first = next(row for row, report in networks.items() if report is one)
        for result in one.results:
            yield [
                f"{first} against {NETWORKS[other_name]}",
                result.within.spelled,
                *str(one.compare(other, result.eps)).partition(": ")[2].split("; ", 1),
            ]


def energy(run: str) -> list[list[str]]:
    """Return the energy per recording by preset, against the ANN of the same layers."""
    lines = [["network", *(f"{name}: SNN / ANN (µJ)" for name in PRESETS)]]
    for name, report in reports(run).items():
        if spends := report.found(ENERGY):
            layers = spends.operations
            lines.append([name, *(f"{j(layers) / 1000:.2f} / {j.ann(layers) / 1000:.2f}" for j in PRESETS.values())])
    return lines


def members(run: str, network: str, eps: float = 0.02) -> list[list[str]]:
    """Return what every attack found at one budget, and what it cost."""
    lines = [["attack", "broken", "gradients", "queries", "seconds"]]
    for result in reports(run)[network].at(eps):
        for number, name in enumerate(result.members):
            cells = (result.broken[number], result.gradients[number], result.queries[number])
            lines.append([name, *map(str, cells), f"{result.seconds[number]:.0f}"])
    return lines


def page() -> str:
    """Return the text of docs/results-events.md."""
    runs = {name: budgets(name) for name in ("nmnist", "nmnist-1", "digits-events") if kept(name)}
    return render(
        "events.md.jinja",
        tables={name: markdown(lines) for name, lines in runs.items()},
        paired={name: markdown(list(paired(name))) for name in ("nmnist", "nmnist-1") if kept(name)},
        energy=markdown(energy("nmnist")),
        members=markdown(members("nmnist", NETWORKS["snn"])),
        images={name: next(iter(reports(name).values())).images for name in runs},
        audits={
            name: [(row, check) for row, report in reports(name).items() for check in report.audit if check.verdict != "pass"]
            for name in runs
        },
    )


def main(args: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("keep").add_argument("folders", type=Path, nargs="+", help="folders of runs")
    commands.add_parser("page")
    chosen = parser.parse_args(args)
    if chosen.command == "keep":
        keep(chosen.folders)
    else:
        (ROOT / "docs/results-events.md").write_text(page())


if __name__ == "__main__":
    main()
