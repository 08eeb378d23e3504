"""Many runs on one page: only what was measured alike stands together, the most robust first."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from test_html_page import ANN, CONVERTED, FINETUNED, HOSTILE, Parsed, result, row, run

from composed import changed
from robustsnn.evaluation import Check, Row
from robustsnn.reporting import RunReport, board, different
from robustsnn.reporting.comparison import LONG, contrast, differences, groups, ranks, shortened, winner

ONE, TWO = run(ANN, CONVERTED, FINETUNED), run(ANN, row("other", result("FGSM", 8 / 255, 64), result("PGD-20", 8 / 255, 49)))
RUNS = {"runs/one": ONE, "runs/two": TWO}


def names(runs: dict[str, RunReport]) -> list[list[tuple[str, str]]]:
    return [[(entry.run, entry.row.network) for entry in group.entries] for group in groups(runs)]


def test_networks_of_all_runs_are_ranked_by_their_worst_case() -> None:
    (group,) = groups(RUNS)
    worst = [group.robust(entry).value for entry in group.entries]
    assert worst == [0.6, 0.6, 0.5, 0.49, 0.05]
    assert [name for _, name in names(RUNS)[0]] == ["ann", "ann", "finetuned", "other", "converted"]
    head, lines = ranks(group)
    assert head[4] == "ε=8/255"
    assert [line[0] for line in lines] == ["1. ann", "2. ann", "3. finetuned", "4. other", "5. converted"]
    assert lines[2][:3] == ["3. finetuned", "runs/one", "8"]
    assert lines[2][4].startswith("50.0 (")


def measured(**update: object) -> RunReport:
    """A run of one network, which was measured in another way."""
    return run(Row(network="finetuned", report=changed(FINETUNED.report, **update)))


@pytest.mark.parametrize(
    "other",
    [
        measured(protocol="quick"),
        measured(results=FINETUNED.report.results[:1]),
        measured(results=tuple(r.model_copy(update={"rule": "last"}) for r in FINETUNED.report.results)),
        run(FINETUNED, recipe={"data": {"name": "cifar10"}}),
        run(FINETUNED, versions={"test images": "0123"}),
        run(FINETUNED, recipe={"data": "<b>"}),
    ],
    ids=["protocol", "attacks", "rule", "data", "images", "no data"],
)
def test_what_was_measured_otherwise_is_not_ranked_with_the_rest(other: RunReport) -> None:
    assert [len(group) for group in names({"one": ONE, "other": other})] == [3, 1]


def test_without_a_common_radius_clean_accuracy_decides() -> None:
    low, high = row("low", result("FGSM", 0.1, 60, 70)), row("high", result("FGSM", 0.2, 10, 80))
    (group,) = groups({"a": run(low), "b": run(high)})
    assert group.threat is None
    assert [entry.row.network for entry in group.entries] == ["high", "low"]
    assert [line[4:6] for line in ranks(group)[1]] == [["-", "10.0 (5.5-17.4)"], ["60.0 (50.2-69.1)", "-"]]
    assert "by clean accuracy: 80.0" in winner(group)


def test_the_winner_spikes_and_the_next_is_named_with_it() -> None:
    text = winner(groups(RUNS)[0]).replace("\N{NO-BREAK SPACE}", " ")
    assert "“finetuned” of runs/one is the best spiking network by worst case at ε = 8/255: 50.0 % (" in text
    assert "next is “other” of runs/two with 49.0 %" in text
    assert text.endswith(", no significant difference on the same samples (McNemar, p = 1).")
    assert winner(groups({"one": run(CONVERTED, FINETUNED)})[0]).endswith(
        ", significant difference on the same samples (McNemar, p = 5.7e-14)."
    )
    assert winner(groups({"one": run(ANN)})[0]).startswith("“ann” of one is the only ANN; worst case at ε = 8/255: 60.0")
    only = winner(groups({"one": run(ANN, FINETUNED)})[0])
    assert only.startswith("Of 2 networks, “finetuned” of one is the only spiking network; worst case at ε = 8/255: 50.0")


def test_the_worst_verdict_of_the_audit_is_shown() -> None:
    checks = tuple(Check(name="a", figure=0, verdict=verdict, meaning="") for verdict in ("pass", "fail", "warn", "fail"))
    (group,) = groups({"a": measured(audit=checks)})
    assert ranks(group)[1][0][-1] == "fail (2)"
    assert ranks(groups(RUNS)[0])[1][0][-1] == "-"


OBJECTIVE = "Regularized(RobustFinetuning(eps=2/255, alpha=1/255, beta={}), MembraneMargin(0.5), 0.1)"
RECIPES: tuple[dict[str, object], ...] = (
    {"seed": 0, "weights": "", "finetune": {"epochs": 8, "objective": OBJECTIVE.format(2)}, "model": {"plan": [8, "A"]}},
    {"seed": 0, "weights": "", "finetune": {"epochs": 8, "objective": OBJECTIVE.format(4)}, "data": {"limit": 60}},
    {"seed": 0, "weights": "a.pth", "finetune": {"epochs": 9, "objective": OBJECTIVE.format(4)}, "data": {"limit": 60}},
)
DIFFERENT = {f"run {number}": run(FINETUNED, recipe=recipe) for number, recipe in enumerate(RECIPES)}


def test_what_recipes_differ_in_is_named_as_flags_are() -> None:
    assert different(RECIPES[1], RECIPES[2]) == ["weights", "finetune.epochs"]
    assert different(RECIPES[0], RECIPES[1]) == ["finetune.objective", "model", "data"]
    assert different(RECIPES[0], RECIPES[0]) == []


def test_the_keys_in_which_runs_differ_stand_beside_one_another() -> None:
    found = differences(DIFFERENT)
    assert list(found) == ["finetune.objective", "model", "data", "weights", "finetune.epochs"]
    assert found["finetune.epochs"] == {"run 0": 8, "run 1": 8, "run 2": 9}
    head, lines = contrast(DIFFERENT)
    assert head == ["recipe key", "run 0", "run 1", "run 2"]
    assert {key: cells for key, *cells in lines} == {
        "finetune.objective": [f"…1/255, beta={beta}), MembraneMargin(0.5), 0.1…" for beta in (2, 4, 4)],
        "model": ['{"plan": [8, "A"]}', "-", "-"],
        "data": ["-", '{"limit": 60}', '{"limit": 60}'],
        "weights": ["-", "-", "a.pth"],
        "finetune.epochs": ["8", "8", "9"],
    }
    assert contrast(RUNS)[1] == contrast({"one": ONE})[1] == contrast({})[1] == []


def test_what_differs_is_never_cut_off() -> None:
    long = "a" * 3 * LONG
    assert shortened(["b", f"{long}1"]) == ["b", f"{long[:LONG]}…"]
    assert shortened([f"{long}1", f"{long}2"]) == ["…" + "a" * 12 + "1", "…" + "a" * 12 + "2"]
    three = ["b", f"{long}1", f"{long}2"]
    assert shortened(three) == three


def test_the_page_says_in_what_the_runs_differ() -> None:
    parsed = Parsed(board(DIFFERENT))
    texts = [text.strip() for text in parsed.texts]
    head, lines = contrast(DIFFERENT)
    assert {*head, *(cell for line in lines for cell in line)} <= set(texts)
    assert texts.count("Recipe differences") == 2, "heading and caption"
    assert "Recipe differences" not in board(RUNS)
    hostile = board({name: run(FINETUNED, recipe={name: {name: name}}) for name in HOSTILE})
    assert "<script" not in hostile
    assert not Parsed(hostile).open


@pytest.mark.parametrize("runs", [RUNS, {}, {"empty": run()}, {name: measured(protocol=name) for name in HOSTILE}])
def test_the_page_is_well_formed_and_hostile_names_stay_text(runs: dict[str, RunReport]) -> None:
    text = board(runs, dict.fromkeys(runs, "one/report.html"))
    parsed = Parsed(text)
    assert not parsed.open
    assert "<script" not in text
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on") or name == "src"]
    assert len(parsed.all("svg")) == len(parsed.all("table")) == len(groups(runs))
    assert [link["href"] for link in parsed.all("a")] == ["one/report.html"] * len(runs)
    headings = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(headings))
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'aria-(?:labelledby|describedby)="([^"]*)"', text)) <= set(ids)
