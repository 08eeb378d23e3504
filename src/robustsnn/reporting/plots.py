"""The figures of a report as inline SVG: no pyplot, no colours of their own, the page's CSS decides light or dark."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from robustsnn.evaluation import Interval
from robustsnn.reporting.report import RunReport, columns, radius
from robustsnn.training import Epoch, best_epoch

_COLOURS = 6  # the page defines as many, as --c0 and so on
_MARKERS, _GLYPHS = ("o", "s", "^", "D", "v"), "●■▲◆▼"
_WIDTH = 4.4  # inches: on a phone the letters then keep their size

# matplotlib knows no CSS variables: it draws in these colours, and `_inline` puts the page's in their place.
_INK, _MUTED, _LINE = "#000001", "#000002", "#000003"
_CSS = {_INK: "currentColor", _MUTED: "var(--muted)", _LINE: "var(--line)"}
_CSS |= {f"#0000c{i}": f"var(--c{i})" for i in range(_COLOURS)}

_STYLE = {
    "svg.fonttype": "none",  # letters stay letters: a fifth of the size of outlines, in the reader's own font
    "svg.hashsalt": "robustsnn",
    "text.parse_math": False,
    "font.size": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "legend.frameon": False,
    "text.color": _INK,
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), "none"),
    **dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), _LINE),
    **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), _MUTED),
}


@dataclass(frozen=True)
class Picture:
    """A figure: SVG markup that may stand in a page as it is, and its caption as plain text."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Key:
    """How a network looks in every figure: a glyph in the colour ``--c{colour}``."""

    network: str
    glyph: str
    colour: int


def keys(report: RunReport) -> list[Key]:
    """The legend common to all figures of the networks."""
    return [Key(row.network, _GLYPHS[i % len(_GLYPHS)], i % _COLOURS) for i, row in enumerate(report.rows)]


def accuracy(report: RunReport) -> list[Picture]:
    """Clean and worst-case accuracy: curves over epsilon, a figure per attack; bars where no attack has two epsilons."""
    pairs = columns(report)
    attacks = list(dict.fromkeys(attack for attack, _ in pairs))
    if len(pairs) == len(attacks):
        return [_bars(report, pairs)] if pairs else []
    return [_curves(report, attack, f"accuracy{i}") for i, attack in enumerate(attacks)]


def training(report: RunReport) -> list[Picture]:
    """Loss and validation accuracy per epoch, one figure per stage that has epochs."""
    return [_stage(name, epochs, f"training{i}") for i, (name, epochs) in enumerate(report.curves.items()) if epochs]


def neurons(report: RunReport) -> list[Picture]:
    """Thresholds and firing rates per layer of neurons, in firing order, of every network that has them."""
    return [
        *_dots(report, [row.report.thresholds for row in report.rows], "Threshold", "", "thresholds"),
        *_dots(
            report, [row.report.firing_rates for row in report.rows], "Firing rate", " (spikes per neuron and step)", "rates"
        ),
    ]


def _bars(report: RunReport, pairs: Sequence[tuple[str, float]]) -> Picture:
    names = ["clean", *(f"{_short(attack)}\nε = {radius(eps)}" for attack, eps in pairs)]
    thick = 0.8 / len(report.rows)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, row in enumerate(report.rows):
            shares = {("", 0.0): row.report.clean} | {(r.attack, r.eps): r.robust for r in row.report.results}
            at = {j + (i + 0.5) * thick - 0.4: shares[pair] for j, pair in enumerate([("", 0.0), *pairs]) if pair in shares}
            values = [100 * share.value for share in at.values()]
            axes.barh(list(at), values, 0.9 * thick, color=_colour(i), alpha=0.3)
            axes.errorbar(
                values, list(at), xerr=_whiskers(at.values()), color=_colour(i), marker=_marker(i), linestyle="", clip_on=False
            )
        axes.set_yticks(range(len(names)), names)
        axes.grid(visible=False, axis="y")
        axes.set(xlim=(0, 100), ylim=(len(names) - 0.5, -0.5), xlabel="accuracy in %")

    label = f"Bars of clean and worst-case accuracy of {len(report.rows)} networks; the figures are in the table above."
    caption = "Clean and worst-case accuracy; whiskers are Wilson 95 % intervals."
    return _picture("accuracy", 0.8 + len(names) * max(0.45, 0.2 * len(report.rows)), label, caption, draw)


def _curves(report: RunReport, attack: str, key: str) -> Picture:
    points = [
        {0.0: row.report.clean} | {r.eps: r.robust for r in row.report.results if r.attack == attack} for row in report.rows
    ]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, shares in enumerate(dict(sorted(row.items())) for row in points):
            eps, values = [255 * e for e in shares], [100 * share.value for share in shares.values()]
            axes.errorbar(eps, values, yerr=_whiskers(shares.values()), color=_colour(i), marker=_marker(i), clip_on=False)
        axes.set(ylim=(0, 101), xlabel="ε in 1/255", ylabel="accuracy in %")
        axes.set_xlim(left=0)

    said = (f"{row.network} {100 * shares[max(shares)].value:.1f} %" for row, shares in zip(report.rows, points, strict=True))
    label = f"Worst-case accuracy under {attack} over epsilon; at the largest: {', '.join(said)}."
    caption = f"{attack}: worst-case accuracy over ε, from the clean images at 0; whiskers are Wilson 95 % intervals."
    return _picture(key, 3.0, label, caption, draw)


def _stage(name: str, epochs: Sequence[Epoch], key: str) -> Picture:
    kept, steps = best_epoch(epochs), [e.epoch + 1 for e in epochs]

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 3])
        marker = "o" if len(epochs) == 1 else ""
        above.plot(steps, [e.loss for e in epochs], color=_INK, marker=marker)
        above.set_ylabel("loss")
        below.plot(steps, [100 * e.clean for e in epochs], color=_colour(0), marker=marker, linestyle="--", label="clean")
        if any(e.robust != e.clean for e in epochs):  # natural training measures no robustness
            below.plot(steps, [100 * e.robust for e in epochs], color=_colour(1), marker=marker, label="robust")
        below.set(ylim=(0, 101), xlabel="epoch", ylabel="validation %")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in (above, below):
            axes.axvline(kept.epoch + 1, color=_MUTED, linewidth=1, linestyle=":")
        below.legend(loc="best")
        figure.align_ylabels()

    accuracies = f"clean {100 * kept.clean:.1f} %, robust {100 * kept.robust:.1f} %"
    took = _duration(sum(e.seconds for e in epochs))
    caption = f"{name}: {len(epochs)} epochs in {took}; epoch {kept.epoch + 1} (dotted) was kept."
    label = (
        f"Training of stage {name}: loss from {epochs[0].loss:.3g} to {epochs[-1].loss:.3g} in {len(epochs)} epochs; "
        f"validation accuracy at the kept epoch {kept.epoch + 1}: {accuracies}."
    )
    return _picture(key, 3.6, label, caption, draw)


def _dots(report: RunReport, values: Sequence[dict[str, float]], what: str, unit: str, key: str) -> list[Picture]:
    layers = list(dict.fromkeys(name for row in values for name in row))
    if not layers:
        return []

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, layer in enumerate(layers):
            there = [row[layer] for row in values if layer in row]
            axes.plot([min(there), max(there)], [place, place], color=_MUTED, linewidth=1, zorder=1)
        for i, row in enumerate(values):
            here = [(row[layer], place) for place, layer in enumerate(layers) if layer in row]
            axes.plot(
                [v for v, _ in here], [p for _, p in here], linestyle="", marker=_marker(i), color=_colour(i), clip_on=False
            )
        axes.set_yticks(range(len(layers)), [_short(layer) for layer in layers])
        axes.set(xlabel=what.lower() + unit, ylim=(len(layers) - 0.5, -0.5))
        axes.set_xlim(left=0)

    networks = ", ".join(row.network for row, has in zip(report.rows, values, strict=True) if has)
    label = f"{what} of {len(layers)} layers of {networks}; the figures are in the table below."
    return [_picture(key, 0.8 + 0.28 * len(layers), label, f"{what} per layer of neurons, in firing order.", draw)]


def _picture(key: str, height: float, label: str, caption: str, draw: Callable[[Figure], None]) -> Picture:
    text = io.StringIO()
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure)
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Picture(_inline(text.getvalue(), key, label), caption)


def _inline(svg: str, key: str, label: str) -> str:
    """The drawing alone, with an accessible name, ids of its own, and the page's colours and font."""
    size = re.search(r'viewBox="([^"]*)"', svg)
    assert size is not None
    svg = re.sub(
        r"<!--.*?-->|<defs>\s*<style.*?</style>\s*</defs>", "", svg[svg.index(">", svg.index("<svg")) + 1 :], flags=re.S
    )
    svg = re.sub(r"<[^<>]*>", lambda tag: _tag(tag[0], key), svg)
    return f'<svg role="img" aria-label="{html.escape(_plain(label))}" viewBox="{size[1]}">{svg.strip()}'


def _tag(tag: str, key: str) -> str:
    tag = re.sub(r'(?<=[" ])id="', f'id="{key}-', tag).replace("xlink:href", "href")
    tag = re.sub(r'(="|url\()#', rf"\g<1>#{key}-", tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    return re.sub(r"(?<=: )#[0-9a-f]{6}", lambda colour: _CSS.get(colour[0], colour[0]), tag)


def _whiskers(shares: Iterable[Interval]) -> list[list[float]]:
    lengths = [(100 * max(0.0, s.value - s.low), 100 * max(0.0, s.high - s.value)) for s in shares]
    return [[below for below, _ in lengths], [above for _, above in lengths]]


def _colour(index: int) -> str:
    return f"#0000c{index % _COLOURS}"


def _marker(index: int) -> str:
    return _MARKERS[index % len(_MARKERS)]


def _plain(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _short(name: str, most: int = 22) -> str:
    name = _plain(name)
    return name if len(name) <= most else "…" + name[1 - most :]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
