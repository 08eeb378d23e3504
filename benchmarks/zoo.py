"""Puts a spiking network into the zoo, its reports inside, and writes the cards of all that are there: docs/zoo.md.

robustsnn run digits --out runs/digits
robustsnn evaluate runs/digits/snn.safetensors --protocol rigorous --out runs/digits-snn
robustsnn evaluate runs/digits/ann.safetensors --protocol rigorous --out runs/digits-ann
python -m benchmarks.zoo add digits-robust runs/digits/snn.safetensors runs/digits-snn/report.json runs/digits-ann/report.json
python -m benchmarks.zoo page                       # the cards alone
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.pages import render
from robustsnn import checkpoint
from robustsnn.evaluation import percent
from robustsnn.evaluation.measures.energy import ENERGY, PRESETS, Operations, amount
from robustsnn.evaluation.measures.worst_case import retention
from robustsnn.files import write_atomic
from robustsnn.reporting import RunReport, read_report
from robustsnn.zoo import __file__ as package
from robustsnn.zoo import zoo

PAGE = Path(__file__).parents[1] / "docs" / "zoo.md"
LIMIT = 5_000_000
"""Bytes that a network of the zoo may take."""


def unillustrated(report: RunReport) -> RunReport:
    """A report without adversarial images."""
    rows = []
    for row in report.rows:
        measured = {name: found for name, found in row.report.measured.items() if name != "examples"}
        rows.append(row.model_copy(update={"report": row.report.model_copy(update={"measured": measured})}))
    return report.model_copy(update={"rows": tuple(rows)})


def add(name: str, file: Path, measured: Path, source: Path) -> Path:
    """Put a network into the zoo, with what was measured of it and of its ANN.

    Raises:
        ValueError: its audit fails or was not made, or the file would be too large.
    """
    rows, reports = [], [read_report(path.read_bytes(), path) for path in (measured, source)]
    for report, kind in zip(reports, ("SNN", "ANN"), strict=True):
        (row,) = unillustrated(report).rows
        rows.append(row.model_copy(update={"network": f"{name} {kind}"}))
    audit = rows[0].report.audit
    if bad := [check.name for check in audit if check.verdict == "fail"] or ["none"] * (not audit):
        raise ValueError(f"{file} does not go into the zoo, its audit has not passed ({', '.join(bad)}): {measured}")
    header, out = checkpoint.read_header(file), Path(package).with_name(f"{name}.safetensors")
    value = reports[0].model_copy(update={"rows": tuple(rows), "curves": {}})
    checkpoint.save(out, checkpoint.load(file), header.recipe, {"report": value.model_dump(mode="json")})
    if (size := out.stat().st_size) > LIMIT:
        out.unlink()
        raise ValueError(f"{file} would take {size:,} bytes in the zoo, where {LIMIT:,} are allowed: take a smaller network")
    return out


def card(name: str) -> str:
    """What there is to know of a network of the zoo."""
    header = checkpoint.read_header(f"zoo:{name}")
    report = read_report(json.dumps(header.metrics["report"]).encode(), name)
    measured, kept = report.rows[0].report, retention(report.rows)
    spent = measured.found(ENERGY)
    return render(
        "card.md.jinja",
        name=name,
        recipe=header.recipe["name"],
        seed=header.recipe["seed"],
        data=header.recipe["data"]["name"],
        parameters=checkpoint.count(f"zoo:{name}"),
        report=measured,
        clean=percent(measured.clean),
        worst=[(result.within.spelled, percent(result.robust)) for result in measured.results],
        eps=" ".join(dict.fromkeys(result.within.spelled for result in measured.results)),
        kept=dict(zip(kept[0][1:], kept[1][0][1:], strict=True)) if kept[1] else {},
        found=[check for check in measured.audit if check.verdict != "pass"],
        energy=", ".join(energy(spent.operations)) if spent else "not counted",
    )


def energy(operations: Mapping[str, Operations]) -> Iterator[str]:
    """Nanojoules per image, and their share of the ANN's, by arithmetic."""
    for preset, joules in PRESETS.items():
        yield f"{amount(joules(operations))} nJ ({preset}; {joules(operations) / joules.ann(operations):.0%} of the ANN's)"


def page() -> str:
    """The cards of all that are there."""
    return render("zoo.md.jinja", cards="\n\n".join(map(card, zoo())))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    adding = actions.add_parser("add")
    adding.add_argument("name", help="in the zoo")
    adding.add_argument("file", type=Path, help="checkpoint of the network")
    adding.add_argument("report", type=Path, help="of the network, audited")
    adding.add_argument("source", type=Path, help="report of its ANN under the same protocol")
    actions.add_parser("page")
    chosen = parser.parse_args(arguments)
    if chosen.action == "add":
        try:
            print(add(chosen.name, chosen.file, chosen.report, chosen.source))
        except ValueError as error:
            parser.error(str(error))
    write_atomic(PAGE, page().encode())


if __name__ == "__main__":
    main()
