"""The report as a value: there and back, and its tables."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from composed import changed, composed, told
from robustsnn.cli.terminal import Terminal
from robustsnn.evaluation import Audit, Result, Row, percent, wilson
from robustsnn.evaluation.measures.audit import audited
from robustsnn.reporting import (
    RunReport,
    failures,
    markdown,
    read_report,
    sections,
    summary,
    table,
    versions,
    warned,
    write_pages,
    write_report,
)
from robustsnn.reporting.comparison import groups
from robustsnn.reporting.tables import columns
from robustsnn.threats import Linf
from robustsnn.training import Epoch

layers, audits, pilots, costs, energies, over_time = (
    partial(told, key) for key in ("layers", "audit", "alone", "cost", "energy", "time")
)


def result(attack: str, eps: float, broken_by: tuple[int, ...], members: tuple[str, ...] = ("Plain()",)) -> Result:
    return Result(attack=attack, eps=eps, rule="last", members=members, broken_by=broken_by)


def row(network: str, *results: Result, timesteps: int | None = None, layers: tuple[str, ...] = ()) -> Row:
    thresholds = {name: 0.5 + i for i, name in enumerate(layers)}
    report = composed(
        protocol="paper",
        images=len(results[0].broken_by),
        seed=3,
        timesteps=timesteps,
        results=results,
        thresholds=thresholds,
        weights=(12_000, 12_000),
        firing_rates=dict.fromkeys(layers, 0.125),
        seconds=1.5,
    )
    return Row(network=network, report=report)


EPOCH = Epoch(epoch=0, loss=2.25, clean=0.5, robust=0.25, lr=0.1, seconds=3.0)
REPORT = RunReport(
    recipe={"name": "small", "pretrain": {"epochs": 2, "eps": 8 / 255, "probe": None, "plan": [8, "A"]}},
    command="robustsnn run small",
    versions={"robustsnn": "0", "python": "3"},
    rows=(
        row("ann", result("FGSM", 8 / 255, (-1, -1, 0, -2)), result("PGD-20", 8 / 255, (-1, 0, 0, -2))),
        row("snn", result("PGD-20", 8 / 255, (-1, 1, -1, -1), ("a", "b")), timesteps=8, layers=("one", "two")),
    ),
    curves={"pretrain": (EPOCH, replace(EPOCH, epoch=1, loss=1.0)), "finetune": ()},
)


def test_json_there_and_back_changes_nothing() -> None:
    assert read_report(REPORT.to_json(), "here") == REPORT
    assert read_report(REPORT.to_json(), "here").to_json() == REPORT.to_json()


def test_an_empty_run_survives_json_too() -> None:
    empty = RunReport(recipe={}, command="", versions={})
    assert read_report(empty.to_json(), "here") == empty


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", REPORT.to_json().replace(b'"broken_by"', b'"broken"')])
def test_what_is_no_report_is_refused_with_its_place_and_a_remedy(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"^run/report\.json is not a report .*: evaluate the run again$"):
        read_report(text, "run/report.json")


def test_the_complaint_names_the_key() -> None:
    text = REPORT.to_json().replace(b'"rule": "last"', b'"rule": "first"', 1)
    with pytest.raises(ValueError, match=r"rows\.0\.report\.measured: .*worst_case\.results\.0\.rule: "):
        read_report(text, "here")


def test_columns_are_every_pair_once_in_order_of_appearance() -> None:
    assert columns(REPORT) == [("FGSM", Linf(8 / 255)), ("PGD-20", Linf(8 / 255))]


def test_table_shows_what_was_measured_with_its_wilson_interval() -> None:
    head, (ann, snn) = table(REPORT)
    assert head == ["network", "clean", "FGSM ε=8/255", "PGD-20 ε=8/255"]
    assert ann == ["ann", *(percent(wilson(hits, 4)) for hits in (3, 2, 1))]
    assert snn == ["snn", percent(wilson(4, 4)), "-", percent(wilson(3, 4))]


def test_table_without_bounds_keeps_the_shares() -> None:
    assert table(REPORT, bounds=False)[1] == [["ann", "75.0", "50.0", "25.0"], ["snn", "100.0", "-", "75.0"]]


@pytest.mark.parametrize(("hits", "count"), [(0, 7), (7, 7), (1, 7), (250, 500)])
def test_percent_shows_share_and_interval_in_order(hits: int, count: int) -> None:
    value, low, high = (
        float(n) for n in percent(wilson(hits, count)).replace("(", "").replace(")", "").replace("-", " ").split()
    )
    assert 0 <= low <= value <= high <= 100
    assert value == pytest.approx(100 * hits / count, abs=0.05)


def test_layers_are_of_networks_with_thresholds_only() -> None:
    head, lines = layers(REPORT)
    assert head == ["neurons", "snn: threshold / rate"]
    assert lines == [["one", "0.500 / 0.125"], ["two", "1.500 / 0.125"]]


def test_layers_that_a_network_lacks_are_a_dash() -> None:
    other = row("other", result("PGD-20", 8 / 255, (-1,)), timesteps=8, layers=("one",))
    lines = layers(REPORT.model_copy(update={"rows": (*REPORT.rows, other)}))[1]
    assert [line[2] for line in lines] == ["0.500 / 0.125", "-"]


def test_markdown_is_a_table_of_the_same_cells() -> None:
    text = markdown(REPORT)
    assert text.startswith("# small\n")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head, rows = table(REPORT)
    assert cells[0] == head
    assert cells[2:4] == rows
    assert "robustsnn run small" in text


def test_markdown_says_under_its_title_what_was_run() -> None:
    plan = ("small: digits, at most 60\n# images", "measured: quick")
    text = markdown(REPORT.model_copy(update={"plan": plan}))
    assert text.startswith("# small\n\n- small: digits, at most 60 # images\n- measured: quick\n\nProtocol paper")
    assert markdown(REPORT).startswith("# small\n\nProtocol paper")


def test_a_report_from_before_it_said_what_was_run_is_read() -> None:
    before = REPORT.to_json().replace(b'\n "plan": [],', b"")
    assert before != REPORT.to_json()
    assert read_report(before, "here") == REPORT


def test_markdown_keeps_a_bar_in_a_name_inside_its_cell() -> None:
    assert "| a\\|b |" in markdown(REPORT.model_copy(update={"rows": (row("a|b", result("FGSM", 0.1, (-1,))),)}))


def test_nothing_measured_is_said() -> None:
    assert summary(RunReport(recipe={}, command="", versions={})) == "No results yet."


def test_summary_names_protocol_rule_images_and_seed() -> None:
    text = summary(REPORT)
    assert all(part in text for part in ("paper", "last", "4 test samples", "up to 2 ", "seed 3", "95 % interval"))
    assert "interval" not in summary(REPORT, bounds=False)


def test_a_report_is_written_as_files(tmp_path: Path) -> None:
    write_pages(REPORT, tmp_path / "pages")
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {"report.md", "report.html"}
    write_report(REPORT, tmp_path / "a/b")
    assert read_report((tmp_path / "a/b/report.json").read_bytes(), "there") == REPORT
    assert (tmp_path / "a/b/report.md").read_text("utf-8") == markdown(REPORT)
    assert (tmp_path / "a/b/report.html").read_text("utf-8").startswith("<p>drawn")


def test_versions_name_what_figures_depend_on() -> None:
    assert {"robustsnn", "python", "torch"} <= versions().keys()


def test_energy_is_told_with_its_share_of_the_anns() -> None:
    layers = {"a": {"macs": 1000, "acs": 0, "dense": 1000}, "b": {"macs": 0, "acs": 2000, "dense": 3000}}
    report = REPORT.model_copy(update={"rows": (REPORT.rows[0], measured_row(operations=layers))})
    head, ((network, macs, accumulates, fp32, *_),) = energies(report)
    assert head[3].endswith("fp32")
    assert (network, macs, accumulates, fp32) == ("more", "1,000", "2,000", "6.4 (34.8 %)")  # 4.6 + 1.8 of 4 * 4.6 nJ
    assert sections(report)["energy"].detail[1] == (["layer", "more"], [["a", "1,000 MAC"], ["b", "2,000 AC"]])
    assert "| 6.4 (34.8 %) |" in markdown(report)


def test_accuracy_over_time_is_of_all_images() -> None:
    report = REPORT.model_copy(update={"rows": (*REPORT.rows, measured_row(correct_over_time=[1, 2, 4]))})
    assert over_time(report) == (["network", "T", "1", "2", "3"], [["more", "8", "25.0", "50.0", "100.0"]])
    assert "| more | 8 | 25.0 | 50.0 | 100.0 |" in markdown(report)


def test_weights_of_sparse_networks_are_counted_below_the_layers() -> None:
    sparse = REPORT.rows[-1].model_copy(
        update={"report": changed(REPORT.rows[-1].report, weights=(1_200, 12_000)), "network": "sparse"}
    )
    lines = layers(REPORT.model_copy(update={"rows": (*REPORT.rows, sparse)}))[1]
    assert lines[-1][0] == "nonzero weights"
    assert lines[-1][-1] == "1,200 of 12,000"


def measured_row(**fields: object) -> Row:
    """The spiking row of the report with further figures."""
    old = REPORT.rows[-1]
    return Row(network="more", report=changed(old.report, **fields))


def test_audit_cost_and_paths_are_tables_of_the_markdown() -> None:
    result = REPORT.rows[-1].report.results[0].model_dump()
    counted = result | {"members": ["PGD-20 along a", "Square along b"], "gradients": [30, 0], "queries": [6, 60]}
    check = {"name": "noise", "figure": 0.25, "verdict": "fail", "meaning": "share of images"}
    pilot = {"Rate()": {"broken": 0.5, "zero_gradient": 0.125}}
    report = REPORT.model_copy(update={"rows": (measured_row(results=[counted], audit=[check], pilot=pilot),)})
    assert audits(report) == (["check", "more"], [["noise", "fail (0.25)"]])
    assert failures(report) == ["more: check 'noise' failed: share of images: 0.25"]
    warning = measured_row(audit=[check | {"verdict": "warn"}, check | {"verdict": "warn", "name": "loss"}])
    assert warned(REPORT.model_copy(update={"rows": (warning,)})) == ["more: warnings: 'noise', 'loss'"]
    assert pilots(report) == (["gradient path", "more"], [["Rate()", "50.0 / 12.5"]])
    assert costs(report)[1] == [["more", "PGD-20 ε=8/255", "7.5", "16.5", "1.7"]]
    text = markdown(report)
    assert all(word in text for word in ("fail (0.25)", "50.0 / 12.5", "- noise: share of images", "| 16.5 |"))
    assert audits(REPORT)[1] == pilots(REPORT)[1] == costs(REPORT)[1] == failures(REPORT) == warned(REPORT) == []


CHECK = {"name": "noise", "figure": 0.25, "verdict": "fail", "meaning": "share of images"}
THOROUGH = "on 64 samples, with gradient attacks of 1,000 steps and query attacks of 1,000 queries"


def audited_row(network: str, how: Audit) -> Row:
    asked = {"audit_images": how.images, "audit_steps": how.steps, "audit_queries": how.queries, "images": 64}
    result = REPORT.rows[-1].report.results[0]
    row = measured_row(audit=[CHECK], results=[result.model_copy(update={"broken_by": result.broken_by * 16})], **asked)
    return row.model_copy(update={"network": network})


def test_the_audit_says_on_how_many_images_and_by_what_it_was_done() -> None:
    same = REPORT.model_copy(update={"rows": (audited_row("a", Audit()), audited_row("b", Audit()))})
    assert read_report(same.to_json(), "here") == same
    assert audited(same.rows) == THOROUGH
    assert f"Audited: {THOROUGH}." in sections(same)["audit"].about
    assert f"Audited: {THOROUGH}." in markdown(same)
    assert "Not audited" not in summary(same)


def test_networks_that_were_audited_in_different_ways_are_named_with_their_own() -> None:
    rows = (audited_row("a", Audit()), audited_row("few", Audit(20, 5, 7)), audited_row("b", Audit()), REPORT.rows[0])
    assert audited(rows) == (
        f"a, b: {THOROUGH}; few: on 20 samples, with gradient attacks of 5 steps and query attacks of 7 queries; "
        "ann: not at all"
    )


def test_only_a_report_without_any_check_is_called_unaudited() -> None:
    assert audited(REPORT.rows) == ""
    assert summary(REPORT).endswith(" Not audited: gradient masking is not excluded, so accuracies may be too high.")
    assert " Not audited: " in markdown(REPORT)
    some = REPORT.model_copy(update={"rows": (REPORT.rows[0], audited_row("a", Audit()))})
    assert "Not audited" not in summary(some)


def test_the_terminal_says_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().report(REPORT.model_copy(update={"rows": (audited_row("a", Audit()),)}))
    said = capsys.readouterr().out
    assert f"audit: {THOROUGH}\n" in said
    assert "Not audited" not in said
    Terminal().report(REPORT)
    assert "Not audited: " in capsys.readouterr().out


def test_what_to_know_about_the_data_is_in_every_summary() -> None:
    noted = REPORT.model_copy(update={"note": "simulated events"})
    assert " Data: simulated events. Not audited" in summary(noted)
    assert " Data: simulated events." in markdown(noted)
    assert "Data: " not in summary(REPORT)
    assert "(simulated events): " in groups({"a": noted})[0].title
