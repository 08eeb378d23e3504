"""The page of results and the table of the README, made from the reports that `benchmarks.results` keeps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks import compared, demo, older_page, tables
from benchmarks.claim import Part, seeds, standings
from benchmarks.compared import By, gain
from benchmarks.measured import HEADLINE, Measured, found
from benchmarks.pages import marked, render
from benchmarks.plan import LEVERS, MAIN, NEW, OPPONENTS
from benchmarks.provenance import commands, images, machines, measuring, setting
from benchmarks.tables import cell, shown
from robustsnn.evaluation import PROTOCOLS, percent

FIRST = ("main_ann", "main_staircase", "main")
"""The rows of the first table: those of seed 0, and every seed of the main network."""

SHORT = (*FIRST, "small", "end_to_end_soft")
"""The rows that the README shows, of the same seeds."""

OLDER = ("natural_converted", "end_to_end", "robust", "snn_rat", "strong")
"""Older rows that the README shows until the new ones are measured, those of seed 0."""

BY: dict[str, By] = {
    **compared.BY,
    "strong 2/255": ("strong", 2 / 255),
    "strong 8/255": ("strong", HEADLINE),
}
"""What networks are compared by."""

NEAR, FAR = "rigorous 2/255", "rigorous 8/255"

IMAGES = "The images are a JPEG-coded copy of CIFAR-10; do not compare these figures with results on the original images"

OTHERS = ("published_constants", "end_to_end_soft", "snn_rat_soft")
"""The opponents of the recipe."""

PARTS = tuple(Part(f"{OPPONENTS['small'].what} against {OPPONENTS[name].what}", (("small", name),)) for name in OTHERS)
"""The comparisons of the recipe, judged at `FAR`."""


def retention(each: Measured, by: str) -> float | None:
    """The worst case of a network over that of the ANN of the recipe's run of the same size and seed, on the images that both
    saw.

    Returns:
        None where one of them was not measured, or the ANN has nothing left.

    Raises:
        ValueError: they were measured by different protocols, or editions of one.
    """
    source = "main_ann" if each.name in MAIN else "small_ann"
    for ann in (other for other in found([source]) if other.seed == each.seed):
        gain(each, ann, BY[by])  # refuses to mix rulers
        count = min(len(one.right(*BY[by])) for one in (each, ann))
        kept, whole = (sum(one.right(*BY[by])[:count]) for one in (each, ann))
        return kept / whole if whole else None
    return None


def kept(each: Measured, by: str) -> str:
    """Retention in a table."""
    share = retention(each, by)
    return "-" if share is None else f"{share:.2f}"


def figure(each: Measured, by: str) -> str:
    """A share in a table, with the edition of its protocol if there is a newer one."""
    text, found = cell(each.share(*BY[by])), each.found(*BY[by]) if BY[by][0] else None
    return f"{text}, edition {found[0].edition}" if found and found[0].ruler.endswith(", older protocol)") else text


def networks(rows: Iterable[Measured]) -> list[list[str]]:
    """Networks with what the strictest protocol leaves of them."""
    lines = [["network", "clean", NEAR, FAR, "retention 2/255", "retention 8/255", "training (min)"]]
    for each in rows:
        shares = [figure(each, by) for by in ("clean", NEAR, FAR)]
        what = f"{each.row.what}, seed {each.seed}" if each.seed else each.row.what
        lines.append([what, *shares, kept(each, NEAR), kept(each, FAR), f"{each.minutes:.0f}"])
    return lines


def first(names: Iterable[str]) -> list[Measured]:
    """The measurements of some rows with seed 0, and of the main network with every seed."""
    return [each for each in found(names) if each.seed == 0 or each.name == "main"]


def versus() -> list[list[str]]:
    """The small network against its opponents."""
    columns = ("clean", "strong 2/255", "strong 8/255", FAR)
    lines = [["opponent", "seed", *columns, "training (min)"]]
    for one, other in (pair for name in OTHERS for pair in seeds("small", name)):
        gains = [str(gain(one, other, BY[name]) or "-") for name in columns]
        lines.append([other.row.what, str(one.seed), *gains, f"{one.minutes:.0f} : {other.minutes:.0f}"])
    return lines


def levers() -> list[list[str]]:
    """The recipe with one change each, and what that change gains."""
    columns = ("clean", "strong 2/255", "strong 8/255")
    lines = [["change", *(f"gain: {name}" for name in columns), "training (min)"]]
    for other, one in (pair for name, row in LEVERS.items() for pair in seeds(row.source or "small", name)):
        gains = [str(gain(one, other, BY[name]) or "-") for name in columns]
        lines.append([one.row.what, *gains, f"{one.minutes:.0f}"])
    return lines


def predictions() -> list[list[str]]:
    """What was expected of every row before it was run, and what came."""
    columns = ("clean", "strong 2/255", "strong 8/255", NEAR, FAR)
    lines = [["network", "seed", "prediction", *columns]]
    for each in found(NEW):
        lines.append([each.row.what, str(each.seed), each.row.predicted, *(cell(each.share(*BY[name])) for name in columns)])
    return lines


def aims(mains: Iterable[Measured]) -> list[list[str]]:
    """The aims of the main row, and whether each seed reaches them."""
    lines = [["aim", "seed", "at least", "measured", "verdict"]]
    for main in mains:
        shares = {by: share.value if (share := main.share(*BY[by])) else None for by in ("clean", FAR)}
        measured = (
            ("robust accuracy at 8/255", 0.25, shares[FAR]),
            ("clean accuracy", 0.65, shares["clean"]),
            ("retention at 8/255", 0.7, retention(main, FAR)),
            ("retention at 2/255", 0.85, retention(main, NEAR)),
        )
        for what, least, figure in measured:
            said = ("-", "not measured") if figure is None else (f"{figure:.3f}", "reached" if figure >= least else "missed")
            lines.append([what, str(main.seed), f"{least:.2f}", *said])
    return lines


def audited(main: Measured) -> str:
    """The verdict of a network's audit; empty without an audit."""
    checks = [check for run in main.runs.values() for check in run.rows[0].report.audit]
    wrong = [f"`{check.name}` {check.verdict}s ({check.figure:.2g})" for check in checks if check.verdict != "pass"]
    return f"Audit: {'; '.join(wrong)}; all other checks pass." if wrong else "Audit: all checks pass." if checks else ""


def page() -> str:
    """docs/results.md."""
    whole = {**MAIN, **OPPONENTS}
    lines = {
        "networks": networks(found(whole)), "small": networks(first(OPPONENTS)), "versus": versus(),
        "levers": levers(), "predictions": predictions(), "standings": standings(PARTS, BY[FAR]),
        "audits": tables.audits(NEW), "energy": tables.energy(NEW), "over_time": tables.over_time(MAIN),
        "commands": commands(NEW),
    }  # fmt: skip
    mains = [each for each in first(FIRST) if each.name == "main"]
    return render(
        "results.md.jinja",
        **{name: shown(table) for name, table in lines.items()},
        measured=found(NEW),
        table=shown(networks(first(FIRST))),
        main=next((each for each in mains if each.seed == 0), None),
        mains=mains,
        aims=shown(aims(mains)),
        audited=audited,
        kept=kept,
        share=lambda each, by: (found := each.share(*BY[by])) and percent(found, bounds=False),
        near=NEAR,
        far=FAR,
        edition=PROTOCOLS["rigorous"].edition,
        machines=machines(NEW),
        setting=setting(whole),
        images=images(NEW, whole),
        measuring=measuring(whole) if found(whole) else "",
    )


def short() -> str:
    """The results in the README: the first table, or rows of the older page until the main network is measured."""
    rows = first(SHORT)
    if "main" in [each.name for each in rows]:
        terms = (
            "Accuracy in percent, with Wilson 95 % intervals. `rigorous`: accuracy under all attacks of the strictest "
            "protocol. Retention: that accuracy relative to the ANN of the same run. Training: minutes on one core."
        )
        return f"{shown(networks(rows))}\n\n{terms} Networks: {setting(SHORT)}. {IMAGES}."
    lines = [["network (older protocol)", "clean", "PGD-20 8/255, 19 gradients", NEAR, FAR, "training (min)"]]
    older = first(OLDER)
    for each in older:
        shares = [cell(each.share(*BY[by])) for by in ("clean", "PGD-20 8/255", NEAR, FAR)]
        lines.append([each.row.what, *shares, f"{each.minutes:.0f}"])
    rulers = sorted({way[0] for each in older for by in (NEAR, FAR) if (way := each.way(*BY[by]))})
    return (
        f"{shown(lines)}\n\nAccuracy in percent by {' and '.join(rulers)}, whose figures are too high. "
        f"Training: minutes on one core. Networks: {setting(OLDER)}. {IMAGES}."
    )


def readme(text: str) -> str:
    """The README with what the reports say now."""
    return marked(marked(text, "demo", demo.said(demo.read("run"), demo.read("rigorous"))), "results", short())


def write(root: Path) -> None:
    """Write the pages, and what stands between the README's marks."""
    (root / "docs/results.md").write_text(page())
    (root / "docs/results-older.md").write_text(older_page.page())
    (root / "README.md").write_text(readme((root / "README.md").read_text()))
