"""The page of certificates is made of figures that are kept, and no attack broke what was certified."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks import certificates, certificates_page, certified
from benchmarks.certified import BALLS, NETWORKS, SMOOTHED, Network, Other
from torch import nn

from robustsnn.certification import Intervals, Smoothing, SparseSmoothing
from robustsnn.data import Samples, digits
from robustsnn.reporting.bounds import worded

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.usefixtures("unchecked")


def test_the_page_is_made_of_what_is_kept():
    assert (ROOT / "docs/certificates.md").read_text(encoding="utf-8") == certificates_page.page()


def test_no_attack_broke_what_was_certified():
    assert "certified" in certificates_page.every()
    assert certificates_page.broken() == 0


@pytest.mark.parametrize("name", certificates_page.every())
def test_both_bounds_are_of_the_same_images(name):
    kept, network = certified.read(name), NETWORKS[name]
    assert kept["network"] == network.made
    for found in certified.certificates(kept):
        assert len(found.labels) == 450
    assert {len(kept["survives"][worded(threat)]) for threat in BALLS} == {450}
    assert {len(kept["smoothed broken"][worded(threat)]) for threat in SMOOTHED if network.sigma} <= {450}
    assert [kept["tightness"][f"{worded(threat)} looser"] for threat in BALLS] == [0, 0]


class Tiny(Network):
    """A linear network, which is not trained."""

    methods = (Intervals(BALLS), Intervals(BALLS, rule="steps"))

    def net(self):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_what_is_kept_is_not_measured_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(certified, "KEPT", tmp_path)
    monkeypatch.setattr(certified, "NETWORKS", {"tiny": Tiny("tiny", "tiny", sigma=0.0)})
    said = []
    for protocol in ("quick", "quick", "autoattack"):
        certificates.measured("tiny", protocol, digits().test.first(2), said.append)
    assert [line.rpartition(" ")[2] for line in said if "Intervals" not in line] == ["quick", "autoattack"]
    assert len(said) == 4
    assert certificates_page.broken() == 0
    assert certificates_page.lower().count("`autoattack`") == len(BALLS)


def test_other_data_are_certified_chunk_by_chunk(tmp_path, monkeypatch):
    """An interrupted computation continues with the next chunk; the page has a table of what is there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr(certified, "KEPT", tmp_path)
    monkeypatch.setattr(certified, "CHUNK", 2)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    monkeypatch.setattr(certified.Other, "net", lambda self: net)
    frames = Samples((torch.rand(5, 1, 1, 2, 2) > 0.5).float(), torch.tensor([0, 1, 0, 1, 1]), 2)
    events = Other("frames", "own", SparseSmoothing(0.1, 0.3, draws=200, first=20), 3, attacked=2)
    monkeypatch.setattr(certified, "OTHERS", {"events": events, "cifar10": Other("few", "own", Smoothing(draws=20), 4)})
    said = []
    for images in (3, 5, 5):
        certified.OTHERS["events"] = replace(events, images=images)
        certificates.more("events", frames, said.append)
    certificates.more("cifar10", frames, said.append)
    assert [line.rpartition(" ")[2] for line in said if "samples" in line] == ["0", "2", "3", "0", "2"]
    assert [len(found.labels) for _, _, found in certificates_page.others()] == [5, 4]
    assert certificates_page.broken() == 0
    assert len(certificates_page.sparse_tables()) == 1
    assert "`Smoothing(" in certificates_page.gaussian_table()


def test_an_unknown_name_is_told(capsys):
    with pytest.raises(SystemExit):
        certificates.main(["measure", "other"])
    assert "certified, smoothed, robust" in capsys.readouterr().err
