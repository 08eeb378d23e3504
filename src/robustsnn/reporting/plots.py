"""The figures of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustsnn.evaluation import Curves, Dots, Interval, Section
from robustsnn.evaluation.results import radius
from robustsnn.history import Epoch, best_epoch
from robustsnn.reporting.drawing import COLOURS, GLYPHS, INK, MUTED, Picture, colour, marker, picture, short, whiskers
from robustsnn.reporting.report import RunReport
from robustsnn.reporting.tables import columns
from robustsnn.types import Threat

if TYPE_CHECKING:
    import matplotlib.figure


@dataclass(frozen=True)
class Key:
    """The legend entry of a network: its glyph, in the CSS colour ``--c{colour}``."""

    network: str
    glyph: str
    colour: int


def keys(report: RunReport) -> list[Key]:
    """Return the common legend of all figures."""
    return [Key(network, GLYPHS[i % len(GLYPHS)], i % COLOURS) for i, network in enumerate(report.networks)]


def keys_of(section: Section, report: RunReport) -> list[Key]:
    """Return the legend of a section's figures."""
    return [key for i, key in enumerate(keys(report)) if any(any(figure.values[i : i + 1]) for figure in section.figures)]


def accuracy(report: RunReport) -> list[Picture]:
    """Draw clean and worst-case accuracy: curves over the radius, a figure per attack; bars if each has a single one."""
    pairs = columns(report)
    attacks = list(dict.fromkeys(attack for attack, _ in pairs))
    if len(pairs) == len(attacks):
        return [_bars(report, pairs)] if pairs else []
    return [_curves(_over_epsilon(report, attack), f"accuracy{i}") for i, attack in enumerate(attacks)]


def drawn(section: Section) -> list[Picture]:
    """Draw the figures of a section."""
    return [
        (_dots if isinstance(figure, Dots) else _curves)(figure, f"{section.key}{i}")  # type: ignore[arg-type]
        for i, figure in enumerate(section.figures)
        if any(figure.values)
    ]


def training(report: RunReport) -> list[Picture]:
    """Draw loss and validation accuracy per epoch, one figure per training stage."""
    return [_stage(name, epochs, f"training{i}") for i, (name, epochs) in enumerate(report.curves.items()) if epochs]


def ranking(names: Sequence[str], clean: Sequence[Interval], robust: Sequence[Interval], what: str, key: str) -> Picture:
    """Draw clean and worst-case accuracy of networks, one per line."""

    def draw(figure: matplotlib.figure.Figure) -> None:
        axes = figure.subplots()
        for shares, lift, ink, face in ((clean, -0.12, MUTED, "none"), (robust, 0.12, colour(0), colour(0))):
            values, places = [100 * share.value for share in shares], [i + lift for i in range(len(shares))]
            axes.errorbar(
                values,
                places,
                xerr=whiskers(shares),
                color=ink,
                marker="o",
                markerfacecolor=face,
                linestyle="",
                clip_on=False,
            )
        axes.set_yticks(range(len(names)), [f"{place}. {short(name)}" for place, name in enumerate(names, 1)])
        axes.set(xlim=(0, 100), ylim=(len(names) - 0.5, -0.5), xlabel="accuracy in %")

    label = f"Clean accuracy and {what} of {len(names)} networks; the table above contains the values."
    caption = f"Filled: {what}; hollow: clean accuracy; whiskers are Wilson 95 % intervals."
    return picture(key, 0.8 + 0.34 * len(names), label, caption, draw)


def _bars(report: RunReport, pairs: Sequence[tuple[str, Threat]]) -> Picture:
    names = ["clean", *(f"{short(attack)}\n{radius(threat)}" for attack, threat in pairs)]
    thick = 0.8 / len(report.rows)

    def draw(figure: matplotlib.figure.Figure) -> None:
        axes = figure.subplots()
        for i, row in enumerate(report.rows):
            shares = {None: row.report.clean} | {(r.attack, r.within): r.robust for r in row.report.results}
            at = {j + (i + 0.5) * thick - 0.4: shares[pair] for j, pair in enumerate([None, *pairs]) if pair in shares}
            values = [100 * share.value for share in at.values()]
            axes.barh(list(at), values, 0.9 * thick, color=colour(i), alpha=0.3)
            axes.errorbar(
                values, list(at), xerr=whiskers(at.values()), color=colour(i), marker=marker(i), linestyle="", clip_on=False
            )
        axes.set_yticks(range(len(names)), names)
        axes.grid(visible=False, axis="y")
        axes.set(xlim=(0, 100), ylim=(len(names) - 0.5, -0.5), xlabel="accuracy in %")

    label = f"Bars of clean and worst-case accuracy of {len(report.rows)} networks; the table above contains the values."
    caption = "Clean and worst-case accuracy; whiskers are Wilson 95 % intervals."
    return picture("accuracy", 0.8 + len(names) * max(0.45, 0.2 * len(report.rows)), label, caption, draw)


def _over_epsilon(report: RunReport, attack: str) -> Curves:
    factor, axis = report.rows[0].report.results[0].within.axis
    points = tuple(
        {0.0: row.report.clean} | {factor * r.eps: r.robust for r in row.report.results if r.attack == attack}
        for row in report.rows
    )
    said = (f"{row.network} {100 * shares[max(shares)].value:.1f} %" for row, shares in zip(report.rows, points, strict=True))
    label = f"Worst-case accuracy under {attack} over {axis}; at the largest value: {', '.join(said)}."
    caption = f"{attack}: worst-case accuracy over {axis}; at 0: clean accuracy; whiskers are Wilson 95 % intervals."
    return Curves(axis, points, label, caption)


def _curves(shown: Curves, key: str) -> Picture:
    def draw(figure: matplotlib.figure.Figure) -> None:
        axes = figure.subplots()
        for i, shares in enumerate(dict(sorted(each.items())) for each in shown.values):
            values = [100 * share.value for share in shares.values()]
            axes.errorbar(
                list(shares), values, yerr=whiskers(shares.values()), color=colour(i), marker=marker(i), clip_on=False
            )
        for place in shown.marks:
            axes.axvline(place, color=MUTED, linewidth=1, linestyle=":")
        axes.set(ylim=(0, 101), xlabel=shown.axis, ylabel="accuracy in %")
        axes.set_xlim(left=0)
        if all(float(place).is_integer() for shares in shown.values for place in shares):
            axes.locator_params(axis="x", integer=True)

    return picture(key, 3.0, shown.label, shown.caption, draw)


def _stage(name: str, epochs: Sequence[Epoch], key: str) -> Picture:
    kept, steps = best_epoch(epochs), [e.epoch + 1 for e in epochs]

    def draw(figure: matplotlib.figure.Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 3])
        marker = "o" if len(epochs) == 1 else ""
        above.plot(steps, [e.loss for e in epochs], color=INK, marker=marker)
        above.set_ylabel("loss")
        below.plot(steps, [100 * e.clean for e in epochs], color=colour(0), marker=marker, linestyle="--", label="clean")
        if any(e.robust != e.clean for e in epochs):  # natural training measures no robustness
            below.plot(steps, [100 * e.robust for e in epochs], color=colour(1), marker=marker, label="robust")
        below.set(ylim=(0, 101), xlabel="epoch", ylabel="validation %")
        below.locator_params(axis="x", integer=True)
        for axes in (above, below):
            axes.axvline(kept.epoch + 1, color=MUTED, linewidth=1, linestyle=":")
        below.legend(loc="best")
        figure.align_ylabels()

    accuracies = f"clean {100 * kept.clean:.1f} %, robust {100 * kept.robust:.1f} %"
    took = _duration(sum(e.seconds for e in epochs))
    caption = f"{name}: {len(epochs)} epochs in {took}; epoch {kept.epoch + 1} (dotted) was kept."
    label = (
        f"Training of stage {name}: loss from {epochs[0].loss:.3g} to {epochs[-1].loss:.3g} in {len(epochs)} epochs; "
        f"validation accuracy at the kept epoch {kept.epoch + 1}: {accuracies}."
    )
    return picture(key, 3.6, label, caption, draw)


def _dots(shown: Dots, key: str) -> Picture:
    layers = list(dict.fromkeys(name for values in shown.values for name in values))

    def draw(figure: matplotlib.figure.Figure) -> None:
        axes = figure.subplots()
        for place, layer in enumerate(layers):
            there = [values[layer] for values in shown.values if layer in values]
            axes.plot([min(there), max(there)], [place, place], color=MUTED, linewidth=1, zorder=1)
        for i, values in enumerate(shown.values):
            here = [(values[layer], place) for place, layer in enumerate(layers) if layer in values]
            axes.plot(
                [v for v, _ in here], [p for _, p in here], linestyle="", marker=marker(i), color=colour(i), clip_on=False
            )
        axes.set_yticks(range(len(layers)), [short(layer) for layer in layers])
        axes.set(xlabel=shown.what.lower() + shown.unit, ylim=(len(layers) - 0.5, -0.5))
        axes.set_xlim(left=0)

    networks = sum(map(bool, shown.values))
    label = f"{shown.what} of {len(layers)} layers of {networks} networks; the table below contains the values."
    return picture(key, 0.8 + 0.28 * len(layers), label, f"{shown.what} per {shown.of}.", draw)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
