"""Pages in a real browser: nothing said on the console, nothing asked for, nothing cut off, every letter readable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, browser, installed
from test_comparison import RUNS
from test_html_page import written

from robustsnn.reporting import board

pytestmark = pytest.mark.skipif(installed() is None, reason="no Chromium on this machine")

PAGES = {
    "usual": lambda: written("usual"),
    "hostile": lambda: written("hostile"),
    "board": lambda: board(RUNS, dict.fromkeys(RUNS, "report.html")),
}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module", params=PAGES)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / f"{request.param}.html"
    path.write_text(PAGES[request.param](), "utf-8")
    return path


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_nothing_is_said_on_the_console_and_nothing_asked_for(chromium: Browser, file: Path, width: int, scheme: str) -> None:
    chromium.open(file, width, scheme=scheme)
    assert chromium.run("document.readyState") == "complete"
    assert chromium.complaints() == []
    assert chromium.requests() == [file.as_uri()]


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_only_tables_and_commands_are_wider_than_the_window(chromium: Browser, file: Path, width: int) -> None:
    chromium.open(file, width)
    assert chromium.run("document.documentElement.scrollWidth") == width


def test_every_picture_is_drawn(chromium: Browser, file: Path) -> None:
    chromium.open(file)
    assert chromium.run("[...document.images].every(i => i.complete && i.naturalWidth)")
    assert chromium.run("[...document.querySelectorAll('svg')].every(s => s.getBoundingClientRect().height > 60)")


CONTRAST = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const light = parts => {
    canvas.clearRect(0, 0, 1, 1);
    parts.forEach(part => { canvas.fillStyle = part; canvas.fillRect(0, 0, 1, 1); });
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = e => e ? [...behind(e.parentElement), getComputedStyle(e).backgroundColor] : [];
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement, style = getComputedStyle(e);
    if (!texts.currentNode.data.trim() || !e.getClientRects().length) continue;
    const under = behind(e), ink = e.closest('svg') ? style.fill : style.color;
    const [a, b] = [light(under), light([...under, ink])].sort((x, y) => x - y);
    found.push([(b + 0.05) / (a + 0.05), texts.currentNode.data.trim().slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0])[0];
})()
"""
"""The text that stands out least, with its contrast by WCAG 2.2, section 1.4.3."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_letter_stands_out(chromium: Browser, file: Path, scheme: str) -> None:
    chromium.open(file, scheme=scheme)
    least, text = chromium.run(CONTRAST)
    assert least >= 4.5, text


def test_on_paper_everything_is_there(chromium: Browser, file: Path) -> None:
    chromium.open(file, 718, scheme="dark", media="print")  # A4 without its margins
    wide = "[...document.querySelectorAll('.scroll')].filter(s => s.scrollWidth > s.clientWidth + 1).map(s => s.innerText)"
    assert chromium.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    if file.stem != "hostile":  # whose names know no end
        assert chromium.run(wide) == []
    assert len(chromium.ask("Page.printToPDF")["data"]) > 1000


def test_a_script_in_a_page_would_be_heard(chromium: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(written("usual").replace("</main>", "<script>1</script><img src='far.png'></main>"), "utf-8")
    chromium.open(bad)
    assert len(chromium.complaints()) >= 2
