"""The page of results by an older protocol, made from the reports that `benchmarks.results` keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks import tables
from benchmarks.claim import Part, judged, outcomes, seeds, standings
from benchmarks.compared import AIM, BY, CHOSEN, broken, gain, reached, strictest
from benchmarks.measured import HEADLINE, Measured, found
from benchmarks.older_plan import ABLATIONS, EXPERIMENTS, MAIN, PLAN
from benchmarks.pages import ENVIRONMENT, render
from benchmarks.provenance import commands, images, machines, measuring, setting
from benchmarks.rows import Row
from benchmarks.tables import cell
from robustsnn.evaluation import PRESETS
from robustsnn.evaluation.measures import LAYERS
from robustsnn.threats import Linf

CALLED = {
    "robust": "robust conversion",
    "natural_converted": "naive conversion",
    "natural_finetuned": "robust finetuning of the natural ANN",
    "end_to_end": "end-to-end robust training",
    "snn_rat": "SNN-RAT",
    "robust_far": "robust conversion at 8/255",
    "end_to_end_far": "end-to-end robust training at 8/255",
    "strong": "our recipe",
}
"""Names of rows in a sentence."""

JUDGE = "rigorous 2/255"
"""The measure that decides the claim."""

PARTS = (
    Part("robust conversion against naive conversion", (("robust", "natural_converted"),)),
    Part("robust conversion against robust finetuning of the natural ANN", (("robust", "natural_finetuned"),)),
    Part(
        "robust conversion against end-to-end robust training",
        (("robust", "end_to_end"), ("robust_far", "end_to_end_far")),
    ),
    Part("robust conversion against SNN-RAT", (("robust", "snn_rat"), ("robust_far", "snn_rat"))),
    Part("robust conversion at 8/255 against robust conversion at 2/255", (("robust_far", "robust"),)),
    Part(
        "our recipe (chosen on these images) against end-to-end robust training at the same radius",
        (("strong", "end_to_end_far"),),
        (("strong", "end_to_end"), ("strong", "snn_rat")),
    ),
    Part(
        "our recipe (chosen on these images) against robust conversion with the published constants", (("strong", "robust"),)
    ),
)

RADII = (2 / 255, 4 / 255, 8 / 255)

STRICTER = ("robust", "end_to_end", "strong")
"""Rows that show what the strictest protocol adds."""


def main_table() -> list[list[str]]:
    """The networks that the claim is about."""
    columns = [(attack, eps) for attack in ("FGSM", "PGD-20") for eps in RADII]
    columns += [("rigorous", 2 / 255), ("rigorous", HEADLINE)]
    rows = [["network", "seed", "clean", *(f"{attack} {Linf(eps).spelled}" for attack, eps in columns), "training (min)"]]
    for each in found(MAIN):
        shares = [each.share(attack, eps) for attack, eps in columns]
        rows.append([each.row.what, str(each.seed), *map(cell, (each.share(), *shares)), f"{each.minutes:.0f}"])
    return rows


def versus() -> list[list[str]]:
    """Networks of the claim against one another."""
    lines = [["network", "opponent", "seed", *BY, "training (min)"]]
    for one, other in (pair for part in PARTS for names in part.pairs for pair in seeds(*names)):
        gains = [str(gain(one, other, by) or "-") for by in BY.values()]
        lines.append([CALLED[one.name], CALLED[other.name], str(one.seed), *gains, f"{one.minutes:.0f} : {other.minutes:.0f}"])
    return lines


COMPARISONS = ("clean", "PGD-20 2/255", "PGD-20 8/255")
BESIDE = (*COMPARISONS, *(f"gain: {name}" for name in COMPARISONS))


def reference() -> list[Measured]:
    """The row that others are compared with, if it was measured."""
    return [each for each in found(PLAN) if (each.name, each.seed) == ("robust", 0)]


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
    lines = [["network", *BESIDE, "stored weights", "training (min)"]]
    for each in [*reference(), *found(rows)]:
        layers = each.report.found(LAYERS)
        stored, count = layers.weights if layers else (0, 0)
        lines.append([each.row.what, *beside(each), f"{stored:,} of {count:,}", f"{each.minutes:.0f}"])
    return lines


def log() -> list[list[str]]:
    """Experiments with what was expected and what came."""
    names = ("clean", "PGD-20 8/255")
    lines = [["experiment", "prediction", *names, *(f"gain: {name}" for name in names), "aim reached"]]
    for each in found(EXPERIMENTS):
        aim = "yes" if any(reached(each, other) for other in reference()) else "no"
        lines.append([each.row.what, each.row.predicted, *beside(each, names), aim])
    return lines


def verdicts() -> list[list[str]]:
    """The direction of every significant difference, pair by pair."""
    pairs = [(CALLED[one], CALLED[other], seeds(one, other)) for part in PARTS for one, other in part.pairs]
    ablated = [each for each in found(ABLATIONS) if each.name != "thresholds_frozen"]
    pairs += [(each.row.what, CALLED[base.name], [(each, base)]) for each in ablated for base in reference()]
    lines = [["network", "opponent", *BY]]
    for one, other, measured in pairs:
        if measured:
            lines.append([one, other, *(outcomes(measured, by) or "-" for by in BY.values())])
    return lines


def stricter(names: Iterable[str]) -> list[list[str]]:
    """What the strictest protocol breaks beyond PGD-20, on the same images."""
    lines = [["network", "seed", "images", "PGD-20 of `paper`", "`rigorous`", "images broken by each attack"]]
    for each in found(names):
        if said := broken(each, "rigorous", 2 / 255):
            count = len(each.right("rigorous", 2 / 255))
            shares = [each.share("PGD-20", 2 / 255, count), each.share("rigorous", 2 / 255)]
            lines.append([CALLED[each.name], str(each.seed), str(count), *map(cell, shares), said])
    return lines


def page() -> str:
    """docs/results-older.md."""
    there = found(PLAN)
    lines = {
        "main": main_table(), "versus": versus(), "ablations": variants(ABLATIONS), "log": log(),
        "thresholds": tables.thresholds(MAIN), "energy": tables.energy(n for n in PLAN if n in MAIN or n == "sparse"),
        "over_time": tables.over_time(MAIN), "audits": tables.audits(MAIN), "commands": commands(PLAN), "verdicts": verdicts(),
        "standings": standings(PARTS, BY[JUDGE]), "stricter": stricter(n for n in STRICTER if n in PLAN),
    }  # fmt: skip
    ENVIRONMENT.tests["reaches"] = reached
    return render(
        "older.md.jinja",
        **{name: tables.shown(table) for name, table in lines.items()},
        machines=machines(PLAN),
        setting=setting(MAIN),
        images=images(PLAN, MAIN),
        measuring=measuring(MAIN),
        there={(each.name, each.seed): each for each in there},
        seeds=sorted({each.seed for each in there}),
        reference=reference(),
        experimented=found(EXPERIMENTS),
        by=BY,
        cell=cell,
        spent=PRESETS["fp32, 45 nm"],
        judge=JUDGE,
        tests=len(judged(PARTS, BY[JUDGE])),
        gain=gain,
        strictest=strictest,
        aim=AIM,
        chosen=CHOSEN,
        searched=slice(CHOSEN),
        unseen=slice(CHOSEN, None),
    )
