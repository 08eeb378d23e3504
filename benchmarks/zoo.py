"""Puts a network into the zoo: the checkpoint of a finished run, with a report of it inside.

python -m benchmarks.zoo runs/digits snn digits-robust
python -m benchmarks.zoo runs/results/robust-0 snn cifar10-small-robust --report benchmarks/results/robust-0/paper.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from robustsnn import checkpoint
from robustsnn.reporting import RunReport, read_report
from robustsnn.zoo import __file__ as package

LIMIT = 5_000_000
"""Bytes that a network of the zoo may take."""


def unillustrated(report: RunReport) -> RunReport:
    """A report without adversarial images."""
    rows = []
    for row in report.rows:
        measured = {name: found for name, found in row.report.measured.items() if name != "examples"}
        rows.append(row.model_copy(update={"report": row.report.model_copy(update={"measured": measured})}))
    return report.model_copy(update={"rows": tuple(rows)})


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("network", choices=["ann", "pruned", "converted", "snn"])
    parser.add_argument("name", help="in the zoo")
    parser.add_argument("--report", type=Path, help="else the run's report.json")
    parser.add_argument("--row", help="of the report, where that has several; else the only one")
    chosen = parser.parse_args()
    file, out = chosen.run / f"{chosen.network}.safetensors", Path(package).with_name(f"{chosen.name}.safetensors")
    measured = chosen.report or chosen.run / "report.json"
    report = read_report(measured.read_bytes(), measured)
    rows = [row for row in report.rows if chosen.row in (None, row.network)]
    if len(rows) != 1:
        parser.error(f"--row must be one of {', '.join(repr(row.network) for row in report.rows)}")
    value = unillustrated(report.model_copy(update={"rows": tuple(rows), "curves": {}}))
    header = checkpoint.read_header(file)
    checkpoint.save(out, checkpoint.load(file), header.recipe, {"report": value.model_dump(mode="json")})
    if out.stat().st_size > LIMIT:
        out.unlink()
        parser.error(f"{file} would take more than {LIMIT:,} bytes")
    print(f"{out}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
