"""The page of certificates is made of figures that are kept, and no attack broke what was certified."""

from pathlib import Path

import pytest
import torch
from benchmarks import certificates
from benchmarks.certificates import BALLS, NETWORKS, SMOOTHED, Network
from torch import nn

from robustsnn.certification import Intervals
from robustsnn.data import digits
from robustsnn.reporting.bounds import worded

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.usefixtures("unchecked")


def test_the_page_is_made_of_what_is_kept():
    assert (ROOT / "docs/certificates.md").read_text(encoding="utf-8") == certificates.page()


def test_no_attack_broke_what_was_certified():
    assert "certified" in certificates.every()
    assert certificates.broken() == 0


@pytest.mark.parametrize("name", certificates.every())
def test_both_bounds_are_of_the_same_images(name):
    kept, network = certificates.read(name), NETWORKS[name]
    assert kept["network"] == network.made
    for found in certificates.certificates(kept):
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
    monkeypatch.setattr(certificates, "KEPT", tmp_path)
    monkeypatch.setattr(certificates, "NETWORKS", {"tiny": Tiny("tiny", "tiny", sigma=0.0)})
    said = []
    for protocol in ("quick", "quick", "autoattack"):
        certificates.measured("tiny", protocol, digits().test.first(2), said.append)
    assert [line.rpartition(" ")[2] for line in said if "Intervals" not in line] == ["quick", "autoattack"]
    assert len(said) == 4
    assert certificates.broken() == 0
    assert certificates.lower().count("`autoattack`") == len(BALLS)


def test_an_unknown_name_is_told(capsys):
    with pytest.raises(SystemExit):
        certificates.main(["measure", "other"])
    assert "certified, smoothed, robust" in capsys.readouterr().err
