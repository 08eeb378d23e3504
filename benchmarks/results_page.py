"""The page of results and the table of the README, made from the reports that `benchmarks.results` keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import demo
from benchmarks.claim import CALLED, JUDGE, PARTS, judged, outcomes, seeds, standings
from benchmarks.compared import AIM, BY, CHOSEN, broken, gain, reached, strictest
from benchmarks.measured import HEADLINE, Measured, found
from benchmarks.pages import ENVIRONMENT, markdown, render
from benchmarks.plan import ABLATIONS, EXPERIMENTS, MAIN, PLAN, Row
from benchmarks.provenance import commands, images, machines, measuring, setting, unfinished
from robustsnn.evaluation import PRESETS, Interval, wilson
from robustsnn.reporting.tables import percent
from robustsnn.threats import Linf


def cell(share: Interval | None) -> str:
    """A share in a table."""
    return "-" if share is None else percent(share)


RADII = (2 / 255, 4 / 255, 8 / 255)


def main_table() -> list[list[str]]:
    """The networks that the claim is about."""
    columns = [(attack, eps) for attack in ("FGSM", "PGD-20") for eps in RADII]
    columns += [("rigorous", 2 / 255), ("rigorous", HEADLINE)]
    rows = [["network", "seed", "clean", *(f"{attack} {Linf(eps).spelled}" for attack, eps in columns), "min"]]
    for each in found(MAIN):
        shares = [each.share(attack, eps) for attack, eps in columns]
        rows.append([each.row.what, str(each.seed), *map(cell, (each.share(), *shares)), f"{each.minutes:.0f}"])
    return rows


def short_table() -> list[list[str]]:
    """The same for the README."""
    columns = [BY["clean"], BY["PGD-20 8/255"], BY["rigorous 2/255"], BY["rigorous 8/255"]]
    rows = [["network", "seed", "clean", "PGD-20 8/255, 19 gradients", "rigorous 2/255", "rigorous 8/255", "min"]]
    for each in found(MAIN):
        rows.append([each.row.what, str(each.seed), *(cell(each.share(*by)) for by in columns), f"{each.minutes:.0f}"])
    return rows


def short() -> str:
    """What the README says of it."""
    how = f"{setting()}, of a JPEG-coded copy: not to be compared with figures on the originals. min: training, on one core."
    stand = "; ".join(f"{part}: {standing}" for part, standing in standings().items())
    asked = f"Withstands more, by `{JUDGE.replace(' ', '` at ')}, all tests taken together?"
    return f"{markdown(short_table())}\n\n{how}\n\n{asked} {stand[0].upper()}{stand[1:]}."


def versus() -> list[list[str]]:
    """Networks of the claim against one another."""
    lines = [["network", "against", "seed", *BY, "min"]]
    for one, other in (pair for part in PARTS for names in part.pairs for pair in seeds(*names)):
        gains = [str(gain(one, other, by) or "-") for by in BY.values()]
        lines.append([CALLED[one.name], CALLED[other.name], str(one.seed), *gains, f"{one.minutes:.0f} : {other.minutes:.0f}"])
    return lines


COMPARISONS = ("clean", "PGD-20 2/255", "PGD-20 8/255")
BESIDE = (*COMPARISONS, *(f"gain, {name}" for name in COMPARISONS))


def reference() -> list[Measured]:
    """What others are compared with, if it is there."""
    return [each for each in found() if (each.name, each.seed) == ("robust", 0)]


def beside(each: Measured, names: Sequence[str] = COMPARISONS) -> list[str]:
    """A row and what it gains over the reference, on the images on which recipes were chosen."""
    shares = [each.share(*BY[name], images=CHOSEN) for name in names]
    gains = ["-"] * len(names)
    for other in reference():
        if each != other:
            gains = [str(gain(each, other, BY[name], slice(CHOSEN)) or "-") for name in names]
    return [*map(cell, shares), *gains]


def variants(rows: Mapping[str, Row]) -> list[list[str]]:
    """Rows below the reference."""
    lines = [["network", *BESIDE, "stored weights", "min"]]
    for each in [*reference(), *found(rows)]:
        stored, count = each.report.weights
        lines.append([each.row.what, *beside(each), f"{stored:,} of {count:,}", f"{each.minutes:.0f}"])
    return lines


def log() -> list[list[str]]:
    """Experiments with what was expected and what came."""
    names = ("clean", "PGD-20 8/255")
    lines = [["experiment", "expected before it was run", *names, *(f"gain, {name}" for name in names), "aim reached"]]
    for each in found(EXPERIMENTS):
        aim = "yes" if any(reached(each, other) for other in reference()) else "no"
        lines.append([each.row.what, each.row.predicted, *beside(each, names), aim])
    return lines


def thresholds() -> list[list[str]]:
    """Thresholds as calibrated times the scale, and as finetuned."""
    lines = [["network", "seed", "layer", "converted", "finetuned"]]
    for each in found(name for name, row in MAIN.items() if row.network == "snn"):
        scale = next(iter(each.runs.values())).recipe["conversion"]["scale"]
        for layer, after in each.report.thresholds.items():
            before = each.made["calibrated"].get(layer)
            lines.append(
                [each.row.what, str(each.seed), layer, "1" if before is None else f"{scale * before:.3f}", f"{after:.3f}"]
            )
    return lines


def energy() -> list[list[str]]:
    """Energy per image, by preset, against the ANN of the same layers."""
    lines = [["network", "seed", *(f"{name}: SNN / ANN in µJ" for name in PRESETS)]]
    for each in found(name for name in PLAN if name in MAIN or name == "sparse"):
        if each.report.operations:
            spent = [
                f"{j(each.report.operations) / 1000:.2f} / {j.ann(each.report.operations) / 1000:.2f}"
                for j in PRESETS.values()
            ]
            lines.append([each.row.what, str(each.seed), *spent])
    return lines


def over_time() -> list[list[str]]:
    """Clean accuracy after each time step, by the same weights."""
    there = [each for each in found(MAIN) if each.report.correct_over_time]
    steps = max((len(each.report.correct_over_time) for each in there), default=0)
    lines = [["network", "seed", *(str(step + 1) for step in range(steps))]]
    for each in there:
        shares = [percent(wilson(hits, each.report.images), bounds=False) for hits in each.report.correct_over_time]
        lines.append([each.row.what, str(each.seed), *shares, *["-"] * (steps - len(shares))])
    return lines


def audits() -> list[list[str]]:
    """Checks that did not pass."""
    lines = [["network", "seed", "radius", "robust", "passed", "warnings and failures"]]
    for each in found(MAIN):
        for report in (run.rows[0].report for run in each.runs.values() if run.rows[0].report.protocol == "rigorous"):
            if report.audit:
                wrong = "; ".join(f"{c.name}: {c.verdict} ({c.figure:.3g})" for c in report.audit if c.verdict != "pass")
                (result,) = report.results
                left = f"{result.survivors} of {result.attacked}"
                passed = str(sum(c.verdict == "pass" for c in report.audit))
                lines.append([each.row.what, str(each.seed), result.within.spelled, left, passed, wrong or "none"])
    return lines


def page() -> str:
    """docs/results.md."""
    tables = {
        "main": main_table(), "versus": versus(), "ablations": variants(ABLATIONS), "log": log(), "thresholds": thresholds(),
        "energy": energy(), "over_time": over_time(), "audits": audits(), "commands": commands(),
    }  # fmt: skip
    ENVIRONMENT.tests["reaches"] = reached
    return render(
        "results.md.jinja",
        **{name: markdown(lines) if len(lines) > 1 else "Not measured yet." for name, lines in tables.items()},
        machines=machines(),
        setting=setting(),
        images=images(),
        measuring=measuring(),
        there={(each.name, each.seed): each for each in found()},
        seeds=sorted({each.seed for each in found()}),
        reference=reference(),
        experimented=found(EXPERIMENTS),
        ablated=found(ABLATIONS),
        unfinished=unfinished(),
        by=BY,
        called=CALLED,
        cell=cell,
        spent=PRESETS["fp32, 45 nm"],
        both=seeds,
        parts=PARTS,
        standings=standings(),
        judge=JUDGE,
        tests=len(judged()),
        gain=gain,
        outcomes=outcomes,
        broken=broken,
        strictest=strictest,
        aim=AIM,
        chosen=CHOSEN,
        searched=slice(CHOSEN),
        unseen=slice(CHOSEN, None),
    )


def marked(text: str, mark: str, said: str) -> str:
    """A text with something else between two of its marks.

    Raises:
        ValueError: a text without these marks.
    """
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
    if (text.count(begin), text.count(end)) != (1, 1):
        raise ValueError(f"README.md must have one pair of marks {begin.strip()!r} and {end!r}")
    before, _, after = text.partition(begin)
    return f"{before}{begin}{said}\n{end}{after.partition(end)[2]}"


def readme(text: str) -> str:
    """The README with what the reports say now."""
    return marked(marked(text, "demo", demo.said(demo.read("run"), demo.read("rigorous"))), "results", short())


def write(root: Path) -> None:
    """Write the page, and what stands between the README's marks."""
    (root / "docs/results.md").write_text(page())
    (root / "README.md").write_text(readme((root / "README.md").read_text()))
