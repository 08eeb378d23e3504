"""Keeps what `make demo` found, from which the README tells of it.

make demo
robustsnn evaluate runs/digits/snn.safetensors --protocol rigorous --shown 0 --out runs/digits-rigorous
python -m benchmarks.demo runs/digits runs/digits-rigorous

The picture docs/report.png is the first part of the page of this run in a window 1200 pixels wide:

python -c "import benchmarks.demo as d; import robustsnn.reporting as r; r.write_report(d.read('run'), d.Path('demo'))"
chromium --headless --hide-scrollbars --window-size=1200,1168 --screenshot=docs/report.png demo/report.html
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.pages import markdown, render
from benchmarks.zoo import unillustrated
from robustsnn.evaluation import Report, percent, wilson
from robustsnn.evaluation.measures.worst_case import retention
from robustsnn.files import write_atomic
from robustsnn.reporting import RunReport, read_report, table
from robustsnn.threats import Linf

KEPT = Path(__file__).parent / "demo"
"""The reports of the run and of what the strictest protocol leaves of its network."""


def keep(run: Path, rigorous: Path) -> None:
    """Keep the reports of two folders, without the images and curves in them."""
    for name, folder in (("run", run), ("rigorous", rigorous)):
        report = read_report((folder / "report.json").read_bytes(), folder / "report.json")
        bare = unillustrated(report).model_copy(update={"curves": {}, "command": ""})
        write_atomic(KEPT / f"{name}.json", bare.to_json())


def read(name: str) -> RunReport:
    """A kept report."""
    file = KEPT / f"{name}.json"
    return read_report(file.read_bytes(), file)


def said(run: RunReport, rigorous: RunReport) -> str:
    """What the README says: the table of the run, what it shows, and what the strictest protocol leaves."""
    head, rows = table(run)
    of = {row.network: row.report for row in run.rows}
    finetuned = of["robust SNN, finetuned"]
    far = max(result.eps for result in finetuned.results)
    strict = max(rigorous.rows[0].report.results, key=lambda result: result.eps)
    keeps = {line[0]: line[-1].partition(" ")[0] for line in retention(run.rows)[1]}
    return render(
        "demo.md.jinja",
        table=markdown([head, *rows]),
        finetuned=finetuned,
        natural=left(of["natural SNN, finetuned"], far),
        far=Linf(far).spelled,
        kept=keeps["robust SNN, finetuned"],
        converted=keeps["robust SNN, converted"],
        found=[check for check in finetuned.audit if check.verdict != "pass"],
        strict=left(rigorous.rows[0].report, strict.eps),
        worst=left(finetuned, strict.eps),
        radius=Linf(strict.eps).spelled,
        images=len(strict.broken_by),
    )


def left(report: Report, eps: float) -> str:
    """The worst case of all that was measured at one radius."""
    return percent(wilson(sum(report.withstood(eps)), report.images), bounds=False)


def main(args: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("rigorous", type=Path, help="folder of the second report")
    chosen = parser.parse_args(args)
    keep(chosen.run, chosen.rigorous)


if __name__ == "__main__":
    main()
