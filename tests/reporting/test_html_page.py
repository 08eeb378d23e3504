"""The HTML page: well-formed, self-contained, escaped, the same every time, and there for every report."""

from __future__ import annotations

import base64
import math
import re
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise

import matplotlib
import pytest

from composed import changed, composed
from robustsnn.evaluation import MISCLASSIFIED, PUBLISHED_PATHS, ROBUST, Check, Example, Result, Row, wilson
from robustsnn.reporting import RunReport, page, sections, table
from robustsnn.reporting.comparison import groups
from robustsnn.reporting.html_page import broken, verdict
from robustsnn.reporting.plots import accuracy, drawn, keys, training
from robustsnn.threats import Linf
from robustsnn.training import Epoch

pytestmark = pytest.mark.usefixtures("unchecked")

VOID = {"meta", "link", "br", "hr", "img", "input", "base", "area", "col", "source", "wbr"}
MEMBERS = tuple(str(path) for path in PUBLISHED_PATHS)
HOSTILE = ("<script>alert(1)</script>", "$x_", "\" onload='alert(1)'", "_nolegend_", "a&amp;b\n\x07", "{{ 7 * 7 }}", "ε" * 300)


def result(attack: str, eps: float, robust: int, correct: int = 90, members: tuple[str, ...] = MEMBERS) -> Result:
    """A result over 100 images whose broken ones are dealt to the members in turn."""
    lost = [i % len(members) for i in range(correct - robust)]
    return Result(
        attack=attack, eps=eps, rule="any", members=members, broken_by=(*[-1] * robust, *lost, *[-2] * (100 - correct))
    )


def row(network: str, *results: Result, timesteps: int | None = 8, layers: tuple[str, ...] = ("features.2", "head")) -> Row:
    thresholds = {name: 0.5 + i for i, name in enumerate(layers)} if timesteps else {}
    count = {"macs": 9.0, "acs": 0.0, "dense": 9.0}, {"macs": 0.0, "acs": 1234.5, "dense": 2000.0}
    measured = {
        "results": results,
        "operations": dict(zip((f"{name}.weight" for name in layers), count if timesteps else count[:1], strict=False)),
        "correct_over_time": (10, 50, 90, 90) if timesteps else (),
        "examples": [example() for _ in range(2)] if timesteps else [],
        "thresholds": thresholds,
        "firing_rates": dict.fromkeys(thresholds, 0.125),
        "weights": (9, 9),
    }
    report = composed(protocol="paper", images=100, timesteps=timesteps, **measured)
    return Row(network=network, report=report)


def example(shape: tuple[int, int, int] = (1, 2, 3), **fields: object) -> Example:
    before, after = (base64.b64encode(bytes([level] * math.prod(shape))) for level in (100, 120))
    usual = {"image": 7, "label": 3, "seen_as": 8, "attack": "PGD-20", "member": "Rate()", "eps": 20 / 255}
    return Example.model_validate(usual | {"shape": shape, "original": before, "adversarial": after} | fields)


def run(*rows: Row, **update: object) -> RunReport:
    report = RunReport(
        recipe={"name": "small", "data": {"name": "digits"}},
        command="robustsnn run small --out 'a & b'",
        versions={"python": "3.11", "torch": "2"},
        rows=rows,
        curves={"pretrain": tuple(Epoch(e, 2.0 - e / 4, 0.1 * e, 0.05 * e, 0.1, 9.0) for e in range(6))},
    )
    return report.model_copy(update=update)


ANN = row(
    "ann",
    result("FGSM", 8 / 255, 70, members=("Plain()",)),
    result("PGD-20", 8 / 255, 60, members=("Plain()",)),
    timesteps=None,
)
CONVERTED = row("converted", result("FGSM", 8 / 255, 20, 80), result("PGD-20", 8 / 255, 5, 80))
FINETUNED = row("finetuned", result("FGSM", 8 / 255, 65), result("PGD-20", 8 / 255, 50))
SWEEP = row("sweep", *(result(attack, k / 255, 80 - 5 * k) for attack in ("FGSM", "PGD-20") for k in (2, 4, 8)))
USUAL = run(ANN, CONVERTED, FINETUNED)
FRAMES = [base64.b64encode(bytes(i % 7 == k for i in range(3 * 2 * 5 * 5))) for k in (0, 3)]
FLIPS = Row(
    network="events",
    report=changed(
        FINETUNED.report,
        results=[
            Result(
                attack="SDA",
                eps=0.02 * k,
                threat="Flips",
                rule="any",
                members=MEMBERS[:1],
                broken_by=(-1,) * (9 - k) + (0,) * k + (-2,) * 91,
            )
            for k in (1, 2)
        ],
        examples=[example((3, 2, 5, 5), threat="Flips", counts=True, original=FRAMES[0], adversarial=FRAMES[1])],
    ),
)
REPORTS = {
    "usual": USUAL,
    "nothing": RunReport(recipe={}, command="", versions={}),
    "no rows": run(),
    "ann only": run(ANN),
    "several eps": run(ANN, SWEEP),
    "events": run(FLIPS),
    "no thresholds": run(row("snn", result("FGSM", 0.1, 3), layers=())),
    "no curves": run(FINETUNED, curves={}),
    "an empty stage": run(FINETUNED, curves={"pretrain": ()}),
    "one epoch": run(FINETUNED, curves={"pretrain": (Epoch(0, 1.0, 0.5, 0.5, 0.1, 1.0),)}),
    "nothing correct": run(row("snn", result("FGSM", 0.1, 0, 0))),
    "nothing broken": run(row("snn", result("FGSM", 0.0, 100, 100))),
    "many networks": run(*(row(f"n{i}", result("FGSM", 0.1, i)) for i in range(13))),
    "same names": run(FINETUNED, FINETUNED),
    "hostile": run(
        *(row(name, result(HOSTILE[i % 2], 8 / 255, 50, members=HOSTILE), layers=HOSTILE) for i, name in enumerate(HOSTILE)),
        recipe={"name": HOSTILE[0], HOSTILE[0]: HOSTILE[2]},
        command=HOSTILE[0],
        versions={HOSTILE[0]: HOSTILE[2]},
        plan=HOSTILE,
        curves={name: (Epoch(0, 1.0, 0.5, 0.5, 0.1, 1.0),) for name in HOSTILE[:3]},
    ),
}


@cache
def written(name: str) -> str:
    """The page of one of the reports."""
    return page(REPORTS[name])


class Parsed(HTMLParser):
    """Tags with their attributes, the texts, and whether every tag was closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"twice the same attribute: {tag} {names}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module", params=REPORTS)
def made(request: pytest.FixtureRequest) -> tuple[RunReport, str, Parsed]:
    return REPORTS[request.param], written(request.param), Parsed(written(request.param))


Made = tuple[RunReport, str, Parsed]


def test_every_tag_is_closed_in_order(made: Made) -> None:
    assert not made[2].open
    assert [tag for tag, _ in made[2].tags][:2] == ["html", "head"]


def test_nothing_is_fetched_and_nothing_runs(made: Made) -> None:
    _, text, parsed = made
    assert not re.search(r"https?://|@import", text)
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in parsed.tags}
    for _, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert re.fullmatch("data:image/png;base64,[A-Za-z0-9+/]+=*", attributes.get("src") or "data:image/png;base64,A")
        assert (attributes.get("href") or "#").startswith(("#", "data:,"))
        assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", attributes.get("style") or ""))
    policy = next(meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_ids_are_unique_and_what_refers_to_them_finds_them(made: Made) -> None:
    _, text, parsed = made
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    wanted = [*re.findall(r'(?:href="|url\()#([^")]*)', text), *re.findall(r'aria-(?:labelledby|describedby)="([^"]*)"', text)]
    assert set(wanted) <= set(ids)


def test_it_is_accessible(made: Made) -> None:
    _, _, parsed = made
    assert parsed.all("html")[0]["lang"] == "en"
    assert any(meta.get("name") == "viewport" for meta in parsed.all("meta"))
    headings = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(headings))
    assert len(parsed.all("caption")) == len(parsed.all("table"))
    assert all(cell.get("scope") in ("row", "col") for cell in parsed.all("th"))
    pictures = len(parsed.all("img")) - len(parsed.all("details")) + 1  # an animation is the fourth picture of its figure
    assert len(parsed.all("figure")) == len(parsed.all("svg")) + pictures // 3 == len(parsed.all("figcaption"))
    assert all(img["alt"] for img in parsed.all("img"))
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in parsed.all("svg"))


def test_figures_take_their_colours_from_the_page(made: Made) -> None:
    svgs = re.findall(r"<svg.*?</svg>", made[1], flags=re.S)
    used = {colour for svg in svgs for colour in re.findall(r"(?:fill|stroke): ?([^;\"]*)", svg)}
    assert used <= {"none", "currentColor", "var(--muted)", "var(--line)", *(f"var(--c{i})" for i in range(6))}
    assert all(f"{variable}: " in made[1] for variable in re.findall(r"var\((--c\d|--line|--muted)\)", made[1]))


@pytest.mark.parametrize("name", ["usual", "nothing"])
def test_two_calls_agree(name: str) -> None:
    assert page(REPORTS[name]) == written(name)


def test_cells_of_the_tables_and_the_verdict_are_there(made: Made) -> None:
    report, _, parsed = made
    texts = {text.strip() for text in parsed.texts}
    assert verdict(report) in texts
    shown = sections(report).values()
    tables = (table(report), *(section.table for section in shown), *(s.detail[1] for s in shown if s.detail))
    for head, lines in tables if report.rows else ():
        assert {cell.strip() for line in (head, *lines) if lines for cell in line} <= texts


def test_hostile_names_stay_text() -> None:
    report = run(*REPORTS["hostile"].rows[:2], recipe={"name": HOSTILE[0]}, curves={}, plan=HOSTILE)
    text = page(report)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "<li>{{ 7 * 7 }}</li>" in text
    assert "49" not in {part.strip() for part in Parsed(text).texts}
    layers = drawn(sections(report)["layers"])[0].svg
    assert ">$x_</text>" in layers
    assert ">_nolegend_</text>" in layers


def test_what_was_run_stands_between_title_and_verdict() -> None:
    lines = ("small: digits, seed 0", "measured: quick <FGSM>")
    texts = [text.strip() for text in Parsed(page(run(ANN, plan=lines))).texts]
    places = [texts.index(text) for text in ("robustness report", *lines, verdict(run(ANN)))]
    assert places == sorted(places)
    assert "What was run" not in written("usual")


def test_how_to_reproduce_is_there() -> None:
    text = "".join(Parsed(written("usual")).texts)
    assert USUAL.command in text
    assert '"data": {\n    "name": "digits"\n  }' in text
    assert all(part in text for item in USUAL.versions.items() for part in item)


def test_sections_without_content_are_left_out() -> None:
    def sections(name: str) -> set[str]:
        return set(re.findall("<h2>(.*)</h2>", written(name)))

    always, only = {"Reproduction"}, sections("ann only")
    assert sections("nothing") == always
    assert sections("no rows") == {"Training"} | always
    assert sections("an empty stage") == sections("no curves") == sections("usual") - {"Training"}
    assert only == {"Accuracy", "Energy", "Training"} | always
    others = {"Adversarial examples", "Time steps", "Thresholds and firing rates", "Samples broken by each gradient path"}
    assert sections("usual") == only | others


def test_failed_checks_stand_below_the_verdict() -> None:
    failed = Check(name="noise", figure=0.25, verdict="fail", meaning="share of images")
    old = changed(FINETUNED.report, audit=(failed,), audit_images=20, audit_steps=5, audit_queries=7)
    parsed = Parsed(page(run(Row(network="finetuned", report=old))))
    assert any("finetuned: check 'noise' failed" in text for text in parsed.texts)
    assert [cell.get("class") for cell in parsed.all("td")].count("fail") == 1
    audited = "Audited: on 20 samples, with gradient attacks of 5 steps and query attacks of 7 queries."
    assert any(audited in text for text in parsed.texts)
    assert "audit failed" not in written("usual")
    assert "Not audited: " in written("usual")
    assert not any("Not audited: " in text for text in parsed.texts)


def test_verdict_is_of_the_best_spiking_network_under_all_attacks_together() -> None:
    text = verdict(USUAL).replace("\N{NO-BREAK SPACE}", " ")
    assert text.startswith("Of 100 test samples, the best spiking network “finetuned” classifies 90.0 % (")
    assert "and 50.0 % (40.4 to 59.6) under FGSM and PGD-20 combined at ε = 8/255" in text
    assert ". The least robust is the spiking network “converted” with 5.0 % (" in text
    assert text.endswith("): significant difference on the same samples (McNemar, p = 5.7e-14).")


def test_verdict_says_whether_networks_are_told_apart_on_the_same_images() -> None:
    assert verdict(run(FINETUNED)).endswith(".")
    near = row("near", result("FGSM", 8 / 255, 48))
    assert ": no significant difference on the same samples (McNemar, p = 0.5)" in verdict(run(near, FINETUNED))
    few = row("few", result("FGSM", 8 / 255, 30))
    short = few.report.results[0].model_copy(update={"broken_by": few.report.results[0].broken_by[:99]})
    other = few.model_copy(update={"report": changed(few.report, images=99, results=(short,))})
    assert verdict(run(other, FINETUNED)).endswith(": measured on different samples.")


def test_what_one_attack_left_may_fall_to_another() -> None:
    """Each leaves half of the images, and none is left by both."""
    one = result("FGSM", 8 / 255, 45)
    other = result("PGD-20", 8 / 255, 45).model_copy(
        update={"broken_by": tuple({ROBUST: 0, MISCLASSIFIED: MISCLASSIFIED}.get(b, ROBUST) for b in one.broken_by)}
    )
    both = row("both", one, other)
    assert (one.robust.value, other.robust.value) == (0.45, 0.45)
    assert both.report.worst(8 / 255) == wilson(0, 100)
    with pytest.raises(ValueError, match=r"eps 0\.5 was not measured: use 8/255, or evaluate with that eps"):
        both.report.worst(0.5)
    assert "and 0.0" in verdict(run(both))
    assert [group.robust(entry).value for group in groups({"a": run(both)}) for entry in group.entries] == [0]


def test_verdict_without_spikes_says_so() -> None:
    assert verdict(run(ANN)).startswith("No spiking network was measured; of 100 test samples, the ANN “ann” ")
    assert verdict(run()) == "No results yet."


def test_verdict_compares_at_the_largest_epsilon_only() -> None:
    text = verdict(run(FINETUNED, row("easy", result("PGD-20", 2 / 255, 1))))
    assert "easy" not in text
    assert "lowest" not in text


def test_shares_of_members_and_survivors_add_up() -> None:
    members, columns = broken(USUAL)
    assert [column.network for column in columns] == ["converted", "finetuned"]
    assert [column.attack for column in columns] == ["PGD-20, ε = 8/255"] * 2
    assert [column.correct for column in columns] == [80, 90]
    assert len(members) == len(MEMBERS)
    assert members[:2] == ["Triangle(width=1.0)", "Triangle(width=2.0)"]
    for column in columns:
        assert sum(column.shares.values()) + column.survived == pytest.approx(1)


def test_nothing_correct_has_no_shares() -> None:
    column = broken(REPORTS["nothing correct"])[1][0]
    assert column.correct == 0
    assert not column.shares


def test_figures_are_as_many_as_there_is_to_show() -> None:
    def figures(report: RunReport) -> list[int]:
        there = sections(report)
        of_sections = [len(drawn(there[key])) if key in there else 0 for key in ("layers", "energy", "time")]
        return [len(accuracy(report)), len(training(report)), *of_sections]

    assert figures(USUAL) == [1, 1, 2, 1, 1]
    assert figures(REPORTS["several eps"]) == [2, 1, 2, 1, 1]
    assert figures(REPORTS["nothing"]) == [0, 0, 0, 0, 0]


def test_keys_tell_many_networks_apart() -> None:
    looks = [(key.glyph, key.colour) for key in keys(REPORTS["many networks"])]
    assert len(set(looks)) == len(looks)


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    before = dict(dict.items(matplotlib.rcParams))  # reading "backend" in the usual way would choose one
    accuracy(USUAL)
    assert dict(dict.items(matplotlib.rcParams)) == before


def test_settings_of_matplotlib_change_nothing() -> None:
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        text = page(USUAL)
    assert text == written("usual")


@pytest.mark.parametrize(
    ("eps", "text"), [(0, "0"), (2 / 255, "2/255"), (0.031372549, "8/255"), (0.1, "0.1"), (0.2, "0.2"), (0.5, "0.5"), (1, "1")]
)
def test_radius_is_written_as_people_do(eps: float, text: str) -> None:
    assert Linf(eps).spelled == text
