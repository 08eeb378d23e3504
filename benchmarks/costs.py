"""Tables of the cost of jobs, made from kept reports and the figures of `benchmarks.options`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from benchmarks import certified, demo, options
from benchmarks.certified import certificates, joined, read
from benchmarks.measured import Measured
from benchmarks.pages import markdown
from robustsnn.evaluation import Report

STAGES = ("pretrain", "staircase", "finetune")
TRAINED = {
    "`cifar10-robust`": Measured("main", 0),
    "`cifar10-robust`, smaller": Measured("small", 0),
    "`cifar10-small`": Measured("robust", 0),
}
"""Runs by name."""
BY_STEPS = [Measured(name, 0) for name in ("T_1", "T_2", "robust", "T_8")]
"""Runs of `cifar10-small` that differ in T only."""
SEARCHES = ("SA-PGD", "NES", "Square")
"""Attacks of `rigorous` that take most of its time, by the beginning of their members' names."""


def told(seconds: float) -> str:
    """A duration, in two or three digits."""
    size, unit = (3600, "h") if seconds >= 7200 else (60, "min") if seconds >= 120 else (1, "s")
    value = seconds / size
    return f"{value:.2g} {unit}" if value < 99.5 else f"{value:.0f} {unit}"


def recipe(run: Measured) -> dict[str, Any]:
    """The recipe of a run."""
    found: dict[str, Any] = next(iter(run.runs.values())).recipe
    return found


def images(run: Measured) -> int:
    """The images that it trains on."""
    data = recipe(run)["data"]
    return round(data["limit"] * (1 - data["validation"]))


def seconds(run: Measured, stage: str) -> float:
    """Processor seconds of a stage."""
    return float(run.made["processor_seconds"].get(stage, 0))


def each(run: Measured, stage: str) -> float:
    """Milliseconds per image and epoch."""
    return 1000 * seconds(run, stage) / images(run) / float(recipe(run)[stage]["epochs"])


def training() -> str:
    """The table of training times."""
    lines = [["recipe", "network", "T", "images", "ANN", "staircase", "finetuning", "in total"]]
    for name, run in TRAINED.items():
        made = recipe(run)
        cells = [
            f"{told(seconds(run, stage))} ({each(run, stage):.1f} ms)" if seconds(run, stage) else "-" for stage in STAGES
        ]
        network = f"`{made['model']['name']}`, width {made['model']['width']:g}"
        lines.append([name, network, str(made["timesteps"]), f"{images(run):,}", *cells, told(60 * run.minutes)])
    return markdown(lines)


def spikes_throughout(run: Measured) -> float:
    """The time of as many epochs with spikes as the run has epochs altogether, as a multiple of the run's."""
    epochs = sum(int(recipe(run)[stage]["epochs"]) for stage in STAGES)
    whole = sum(seconds(run, stage) for stage in STAGES)
    return epochs * each(run, "finetune") * images(run) / 1000 / whole


def spent(report: Report) -> float:
    """Seconds of all attacks of a report."""
    return sum(sum(result.seconds) for result in report.results)


def of(name: str, measure: str, seed: int = 0) -> Report:
    """A kept report of a network of the page of results."""
    return Measured(name, seed).runs[measure].rows[0].report


def attacked() -> str:
    """The table of attack times."""
    digits = {row.network: row.report for row in demo.read("run").rows}
    strict, robust = demo.read("rigorous").rows[0].report, "`cifar10-robust`"
    rows = [
        ("`digits`, ANN", "`quick`", digits["robust ANN"]),
        ("`digits`", "`quick`", digits["robust SNN, finetuned"]),
        ("`digits`", "`rigorous`", strict),
        (f"{robust}, ANN", "`strong` of `quick`", of("main_ann", "strong")),
        (robust, "`strong` of `quick`", of("main", "strong")),
        (f"{robust}, ANN", "`rigorous`", of("main_ann", "rigorous")),
        (robust, "`rigorous`", of("main", "rigorous")),
        (robust, "`rigorous`", of("main", "few_near")),
        ("[published constants](results.md)", "`rigorous`", of("published_constants", "few")),
    ]
    lines = [["network", "attacks", "ε", "images", "robust", "per 100 images"]]
    for network, attacks, report in rows:
        threats = sorted({result.within for result in report.results}, key=lambda threat: threat.eps)
        radii = ", ".join(threat.spelled for threat in threats)
        left = ", ".join(f"{report.worst(threat.eps).value:.0%}" for threat in threats)
        lines.append([network, attacks, radii, str(report.images), left, told(100 * spent(report) / report.images)])
    return markdown(lines)


def searching(report: Report) -> float:
    """The share of the time of `rigorous` that SA-PGD and the query searches take."""
    pairs = [pair for result in report.results for pair in zip(result.members, result.seconds, strict=True)]
    return sum(took for member, took in pairs if member.startswith(SEARCHES)) / spent(report)


def certifying() -> str:
    """The table of certification times."""
    lines = [["network", "method", "passes per image", "per 100 images"]]
    found = [("digits-smoothed", certificates(read("smoothed"))[-1]), ("zoo:digits-robust", certificates(read("robust"))[0])]
    found += [(other.made or other.recipe, joined(read(name)["chunks"])) for name, other in certified.OTHERS.items()]
    for network, one in found:
        took = told(100 * one.seconds / len(one.labels))
        lines.append([f"`{network}`", f"`{one.method.split('(')[0]}`", f"{one.passes:,}", took])
    return markdown(lines)


def kept() -> dict[str, Any]:
    """The figures of `benchmarks.options`."""
    found: dict[str, Any] = json.loads(options.OUT.read_bytes())
    return found


def ratio(figure: str, one: str, other: str) -> float:
    """A figure under one option, as a multiple of that under another."""
    found = kept()["options"]
    return float(found[one][figure] / found[other][figure])


def faster(one: str, other: str) -> str:
    """How much faster jobs are under one option than under another."""
    finetuning, attacks = (f"{ratio(job, other, one):.1f}" for job in ("finetuning", "attack"))
    return f"finetuning {finetuning} times and attacks {attacks} times as fast"


def machines(versions: Sequence[dict[str, str]]) -> str:
    """The processors and settings of the measurements."""
    kinds = {f"{each['processor']}, {each['threads']} threads, torch {each['torch']}" for each in versions}
    return "; ".join(sorted(kinds)).replace("1 threads", "1 thread")


def costs() -> dict[str, object]:
    """The values of the template of the page on performance."""
    main, small = TRAINED["`cifar10-robust`"], TRAINED["`cifar10-robust`, smaller"]
    runs = [*main.runs.values(), *small.runs.values()]
    return {
        "processor": machines([run.versions for run in runs]),
        "training": training(),
        "spikes_throughout": spikes_throughout(main),
        "spiking_epoch": each(main, "finetune") / each(main, "pretrain"),
        "attacked": attacked(),
        "certifying": certifying(),
        "conversion": {name: told(took) for name, took in kept()["conversion"].items()},
        "by_steps": {recipe(run)["timesteps"]: told(seconds(run, "finetune")) for run in BY_STEPS},
        "wider": each(main, "finetune") / each(small, "finetune"),
        "searching": searching(of("main", "rigorous")),
        "again": spent(of("main", "rigorous", 1)) / spent(of("main", "rigorous")),
        "compiling": told(kept()["compiling"]),
        "kept_memory": faster("default", "system allocator"),
        "kept_bytes": ratio("bytes", "default", "system allocator"),
        "compiled": faster("default", "not compiled"),
        "half": faster("bfloat16", "default"),
        "recompute": ratio("finetuning", "recompute", "default"),
        "recompute_bytes": ratio("bytes", "recompute", "default"),
    }
