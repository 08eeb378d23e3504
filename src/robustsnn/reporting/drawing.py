"""Figures as inline SVG without pyplot; their colours follow the page's CSS in light and dark mode."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustsnn.evaluation import Interval

if TYPE_CHECKING:
    import matplotlib.figure

COLOURS = 6  # the page's CSS defines them as --c0 and so on
MARKERS, GLYPHS = ("o", "s", "^", "D", "v"), "●■▲◆▼"
WIDTH = 4.4  # inches: keeps text readable on a phone

# matplotlib does not support CSS variables: it draws in these colours, and `_inline` replaces them with the page's.
INK, MUTED, _LINE = "#000001", "#000002", "#000003"
_CSS = {INK: "currentColor", MUTED: "var(--muted)", _LINE: "var(--line)"}
_CSS |= {f"#0000c{i}": f"var(--c{i})" for i in range(COLOURS)}

_STYLE = {
    "svg.fonttype": "none",  # text, not outlines: a fifth of the size, and in the reader's font
    "svg.hashsalt": "robustsnn",
    "text.parse_math": False,
    "font.size": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "legend.frameon": False,
    "text.color": INK,
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), "none"),
    **dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), _LINE),
    **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), MUTED),
}


@dataclass(frozen=True)
class Picture:
    """A figure: safe SVG markup, and its caption as plain text."""

    svg: str
    caption: str


def picture(key: str, height: float, label: str, caption: str, draw: Callable[[matplotlib.figure.Figure], None]) -> Picture:
    """Draw a figure of a height in inches with ``draw``; ``key`` prefixes its ids, ``label`` is its alternative text."""
    from matplotlib import style  # takes a second to import; many commands do not need it
    from matplotlib.figure import Figure

    text = io.StringIO()
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure)
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Picture(_inline(text.getvalue(), key, label), caption)


def _inline(svg: str, key: str, label: str) -> str:
    """Return the bare SVG element with an accessible name, unique ids, and the page's colours and font."""
    size = re.search(r'viewBox="([^"]*)"', svg)
    assert size is not None
    svg = re.sub(
        r"<!--.*?-->|<defs>\s*<style.*?</style>\s*</defs>", "", svg[svg.index(">", svg.index("<svg")) + 1 :], flags=re.S
    )
    svg = re.sub(r"<[^<>]*>", lambda tag: _tag(tag[0], key), svg)
    return f'<svg role="img" aria-label="{html.escape(plain(label))}" viewBox="{size[1]}">{svg.strip()}'


def _tag(tag: str, key: str) -> str:
    tag = re.sub(r'(?<=[" ])id="', f'id="{key}-', tag).replace("xlink:href", "href")
    tag = re.sub(r'(="|url\()#', rf"\g<1>#{key}-", tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    return re.sub(r"(?<=: )#[0-9a-f]{6}", lambda colour: _CSS.get(colour[0], colour[0]), tag)


def whiskers(shares: Iterable[Interval]) -> list[list[float]]:
    """Return lengths of error bars below and above the values, in percent."""
    lengths = [(100 * max(0.0, s.value - s.low), 100 * max(0.0, s.high - s.value)) for s in shares]
    return [[below for below, _ in lengths], [above for _, above in lengths]]


def colour(index: int) -> str:
    """Return the colour of network number ``index``."""
    return f"#0000c{index % COLOURS}"


def marker(index: int) -> str:
    """Return the marker of network number ``index``."""
    return MARKERS[index % len(MARKERS)]


def plain(text: str) -> str:
    """Return a text as one printable line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def short(name: str, most: int = 22) -> str:
    """Shorten a long name to its end."""
    name = plain(name)
    return name if len(name) <= most else "…" + name[1 - most :]
