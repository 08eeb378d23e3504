"""A measure is its file and its entry of the dict: evaluations, reports and pages then know it."""

from __future__ import annotations

import pytest
import torch
from pydantic import BaseModel

from robustsnn.data import Samples
from robustsnn.evaluation import MEASURES, Audit, Measure, Report, Row, Section, Settings, evaluate
from robustsnn.evaluation.measures import AUDIT, LATENCY, WORST_CASE
from robustsnn.reporting import RunReport, markdown, page, read_report, sections

pytestmark = pytest.mark.usefixtures("unchecked")


class Brightness(BaseModel, frozen=True):
    mean: float
    broken: int


def measured(here):
    """The mean pixel, and what another measure found; nothing on fewer than three images."""
    x = torch.cat([x for x, _, _ in here.mine.batches(here.batch)])
    broken = sum(map(sum, (result.broken for result in here.found(WORST_CASE).results)))
    return Brightness(broken=broken, **here.mean({"mean": float(x.mean())})) if len(here.data) > 2 else None


def told(rows):
    lines = [[row.network, f"{found.mean:.4f}"] for row in rows if (found := row.report.found(BRIGHTNESS))]
    return [Section("brightness", "How bright", "Mean pixel.", (["network", "mean pixel"], lines))]


BRIGHTNESS = Measure("brightness", Brightness, measured, told)


@pytest.fixture
def entered(monkeypatch):
    monkeypatch.setitem(MEASURES, "brightness", BRIGHTNESS)


@pytest.fixture
def data(net, images):
    return Samples(images, net(images).argmax(1), classes=4)


def run(net, data, **options):
    return evaluate(net, data, "quick", 0.05, attacks=["PGD-10"], check=Audit(images=0), **options)


def page_of(report):
    return RunReport(recipe={"name": "r"}, command="", versions={}, rows=(Row(network="mine", report=report),))


@pytest.mark.usefixtures("entered")
def test_its_entry_is_all_that_evaluation_and_report_need(net, data):
    report = run(net, data)
    assert report.found(BRIGHTNESS).mean == pytest.approx(float(data.values.mean()))
    assert report.found(BRIGHTNESS).broken == sum(report.results[0].broken)
    assert Report.model_validate_json(report.model_dump_json()) == report
    whole = page_of(report)
    assert read_report(whole.to_json(), "here") == whole
    assert sections(whole)["brightness"].table[1] == [["mine", f"{float(data.values.mean()):.4f}"]]
    for text in (markdown(whole), page(whole)):
        assert "How bright" in text
        assert f"{report.found(BRIGHTNESS).mean:.4f}" in text


@pytest.mark.usefixtures("entered")
def test_it_is_there_in_an_evaluation_that_goes_on(net, data, tmp_path):
    class Killed(Exception):
        pass

    def stop(what, share):
        if state.exists():
            raise Killed

    state = tmp_path / "x.evaluation"
    with pytest.raises(Killed):
        run(net, data, state=state, on_progress=stop)
    assert state.exists()
    assert run(net, data, state=state).found(BRIGHTNESS) == run(net, data).found(BRIGHTNESS)
    assert not state.exists()


@pytest.mark.usefixtures("entered")
def test_what_found_nothing_is_not_told(net, data):
    report = run(net, data.first(2))
    assert report.found(BRIGHTNESS) is None
    assert "brightness" not in report.measured
    assert "How bright" not in page(page_of(report))


def test_a_report_with_a_measure_that_nobody_knows_names_it(net, data, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(MEASURES, "brightness", BRIGHTNESS)
        text = page_of(run(net, data)).to_json()
    with pytest.raises(ValueError, match=r"here is not a report .*unknown measure 'brightness'.*evaluate the run"):
        read_report(text, "here")


def test_a_report_from_before_measures_says_what_to_do():
    old = b'{"recipe": {}, "command": "", "versions": {}, "rows": [{"network": "a", "report": {"protocol": "quick"}}]}'
    with pytest.raises(ValueError, match=r"here is not a report of this version .*: evaluate the run again"):
        read_report(old, "here")


def test_a_report_without_its_worst_case_is_refused(net, data):
    report = run(net, data)
    left = {name: found for name, found in report.measured.items() if name != "worst_case"}
    with pytest.raises(ValueError, match=r"measured\.worst_case is missing"):
        Report.model_validate(report.model_dump() | {"measured": left})


def test_measures_are_told_by_their_names(net, data):
    assert all(name == measure.name for name, measure in MEASURES.items())
    report = run(net, data)
    assert (report.found(WORST_CASE).results, report.found(AUDIT)) == (report.results, None)
    assert list(report.measured) == [name for name in MEASURES if name in report.measured]


def test_a_synchronous_network_answers_after_its_layers_times_its_steps(net, data):
    waiting = net.replace(synchronous=True)
    for each, steps, words in ((net, 4, "| mine | 4 |"), (waiting, 12, "| mine | 4 (synchronous: output after 12) |")):
        report = run(each, data)
        assert report.found(LATENCY).steps == steps == each.latency
        assert words in markdown(page_of(report))
        assert ("wait for one another" in markdown(page_of(report))) == (steps > 4)


def test_keywords_and_settings_ask_for_the_same(net, data):
    audit = {"audit_images": 0, "audit_steps": 1000, "audit_queries": 1000}
    asked = Settings(protocol="quick", attacks=["PGD-10"], eps=["0.05"], limit=5, shown=0, **audit)
    report = evaluate(net, data, asked)
    assert report.settings == asked
    for more in ({"eps": 0.1}, {"threat": "L2"}, {"batch": 3}):
        with pytest.raises(ValueError, match="Settings and keywords cannot be combined"):
            evaluate(net, data, asked, **more)
    assert report.images == 5
    other = run(net, data, limit=5)
    assert other.settings == asked
    assert [result.broken_by for result in other.results] == [result.broken_by for result in report.results]


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"atacks": ["PGD-10"]}, "no argument 'atacks': did you mean 'attacks'"),
        ({"batch": 0}, "batch: Input should be greater than or equal to 1"),
        ({"crafting": "float16"}, "crafting: Input should be 'float32' or 'bfloat16'"),
    ],
    ids=str,
)
def test_a_wrong_keyword_is_named_in_one_line(wrong, line, net, data):
    with pytest.raises(ValueError, match=line) as caught:
        run(net, data, **wrong)
    assert len(str(caught.value).splitlines()) == 1
