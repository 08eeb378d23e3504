"""The page of results and the table of the README, made from the reports that `benchmarks.results` keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.compared import AIM, COMPARED, UNSEEN, broken, gain, reached, strictest
from benchmarks.measured import HEADLINE, Measured, found
from benchmarks.plan import ABLATIONS, EXPERIMENTS, MAIN, PLAN, Row
from robustsnn.evaluation import PRESETS, Interval, wilson
from robustsnn.reporting.tables import percent, radius


def cell(share: Interval | None, *, bounds: bool = True) -> str:
    """A share in a table."""
    return "-" if share is None else percent(share, bounds=bounds)


RADII = (2 / 255, 4 / 255, 8 / 255)


def main_table(*, bounds: bool = True) -> list[list[str]]:
    """The networks that the claim is about."""
    columns = [(attack, eps) for attack in ("FGSM", "PGD-20") for eps in RADII]
    columns += [("rigorous", 2 / 255), ("rigorous", HEADLINE)]
    rows = [["network", "seed", "clean", *(f"{attack} {radius(eps)}" for attack, eps in columns), "min"]]
    for each in found(MAIN):
        shares = [each.robust(attack, eps) for attack, eps in columns]
        cells = [cell(share, bounds=bounds) for share in (each.clean(), *shares)]
        rows.append([each.row.what, str(each.seed), *cells, f"{each.minutes:.0f}"])
    return rows


def short_table() -> list[list[str]]:
    """The same for the README: the headline radius only."""
    rows = [["network", "seed", "clean", "PGD-20, 19 gradients", "rigorous"]]
    for each in found(MAIN):
        shares = (each.clean(), each.robust(), each.robust("rigorous"))
        rows.append([each.row.what, str(each.seed), *(cell(share) for share in shares)])
    return rows


COMPARISONS: dict[str, float | None] = {"clean": None, "PGD-20 2/255": 2 / 255, "PGD-20 8/255": HEADLINE}
BESIDE = (*COMPARISONS, *(f"gain, {name}" for name in COMPARISONS))


def reference() -> list[Measured]:
    """What others are compared with, if it is there."""
    return [each for each in found() if (each.name, each.seed) == ("robust", 0)]


def beside(each: Measured) -> list[str]:
    """A row and what it gains over the reference, on the same images."""
    shares = [each.clean(COMPARED) if eps is None else each.robust(eps=eps, images=COMPARED) for eps in COMPARISONS.values()]
    gains = ["-"] * len(COMPARISONS)
    for other in reference():
        if each != other:
            found = [gain(each, other, eps=eps or HEADLINE, clean=eps is None) for eps in COMPARISONS.values()]
            gains = [str(points or "-") for points in found]
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
    rows = [
        [
            each.row.what,
            each.row.predicted,
            *beside(each),
            "yes" if any(reached(each, other) for other in reference()) else "no",
        ]
        for each in found(EXPERIMENTS)
    ]
    return [["experiment", "expected before it was run", *BESIDE, "aim reached"], *rows]


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
    lines = [["network", "seed", "passed", "warnings and failures"]]
    for each in found(MAIN):
        if "rigorous" in each.runs:
            checks = each.runs["rigorous"].rows[0].report.audit
            wrong = "; ".join(f"{c.name}: {c.verdict} ({c.figure:.3g})" for c in checks if c.verdict != "pass")
            lines.append([each.row.what, str(each.seed), str(sum(c.verdict == "pass" for c in checks)), wrong or "none"])
    return lines


def commands() -> list[list[str]]:
    """What makes each row again."""
    lines = [["row", "all of it", "the network alone", "measured on"]]
    for each in found():
        kinds = sorted({run.versions["processor"] for run in each.runs.values()})
        again = f"`python -m benchmarks.results run {each.name} --seeds {each.seed} --kept again`"
        lines.append([f"{each.row.what}, seed {each.seed}", again, f"`{each.made['command']}`", ", ".join(kinds)])
    return lines


def machines() -> str:
    """What the figures were made on."""
    kinds = {
        f"{v['processor']}, {v['device']}, torch {v['torch']}, {v['threads']} thread(s) of {each.made['cores']} cores"
        for each in found()
        for v in (run.versions for run in each.runs.values())
    }
    return "; ".join(sorted(kinds))


def setting() -> str:
    """What the networks of the claim have in common, as their reports say it."""
    networks: dict[str, None] = {}
    tested: dict[str, dict[str, None]] = {}
    for each in found(MAIN):
        recipe = next(iter(each.runs.values())).recipe
        model, data = recipe["model"], recipe["data"]
        networks[
            f"`{model['name']}` of width {model['width']:g}, T = {recipe['timesteps']}, {data['limit']:,} images of which "
            f"{data['validation']:.0%} are held out"
        ] = None
        for report in (run.rows[0].report for run in each.runs.values()):
            tested.setdefault(report.protocol, {})[f"{report.images:,}"] = None
    measured = " and ".join(f"{' or '.join(counts)} (`{protocol}`)" for protocol, counts in tested.items())
    return f"{'; or '.join(networks)}; {measured} test images"


def markdown(lines: list[list[str]]) -> str:
    """A table."""
    head, *rows = lines
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def page() -> str:
    """docs/results.md."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True)
    tables = {
        "main": main_table(), "ablations": variants(ABLATIONS), "log": log(), "thresholds": thresholds(),
        "energy": energy(), "over_time": over_time(), "audits": audits(), "commands": commands(),
    }  # fmt: skip
    there = {(each.name, each.seed): each for each in found()}
    planned = [(name, seed) for name in PLAN for seed in PLAN[name].seeds]
    environment.tests["reaches"] = reached
    return environment.get_template("results.md.jinja").render(
        **{name: markdown(lines) if len(lines) > 1 else "Not measured yet." for name, lines in tables.items()},
        machines=machines(),
        setting=setting(),
        there=there,
        seeds=sorted({seed for _, seed in there}),
        cell=cell,
        gain=gain,
        broken=broken,
        strictest=strictest,
        reference=reference(),
        experimented=found(EXPERIMENTS),
        ablated=found(ABLATIONS),
        aim=AIM,
        compared=COMPARED,
        unseen=UNSEEN,
        missing=[f"{PLAN[name].what} (seed {seed})" for name, seed in planned if (name, seed) not in there],
    )


def write(root: Path) -> None:
    """Write the page, and the table between the README's marks."""
    (root / "docs/results.md").write_text(page())
    readme = root / "README.md"
    marked = re.compile(r"(<!-- results -->\n).*?(<!-- end of results -->)", re.S)
    text, count = marked.subn(lambda found: f"{found[1]}{markdown(short_table())}\n{found[2]}", readme.read_text())
    if count != 1:
        raise ValueError(f"{readme} must have one pair of marks '<!-- results -->' and '<!-- end of results -->'")
    readme.write_text(text)
