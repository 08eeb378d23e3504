"""Random members of the threat break no certificate, and would break a wrong one."""

import pytest
import torch
from benchmarks.soundness import examined, members, strongest
from torch import nn

from robustsnn import L2, Linf, certify
from robustsnn.certification import Intervals, Smoothing, SparseSmoothing
from robustsnn.data import Samples
from robustsnn.seeds import generator
from robustsnn.threats import Flips

pytestmark = pytest.mark.usefixtures("unchecked")
BALLS = (Linf(0.02), Linf(0.1))
METHODS = Intervals(BALLS), Smoothing(0.25, draws=200, first=20), SparseSmoothing(0.1, 0.3, draws=500, first=20)


class Count(nn.Module):
    """Class 1 where the values sum to more than 4.5."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 2)
        self.layer.weight.data = torch.stack([-torch.ones(16), torch.ones(16)])
        self.layer.bias.data = torch.tensor([4.5, -4.5])

    def forward(self, x):
        return self.layer(x.flatten(1))


@pytest.fixture
def data():
    values = (torch.rand(12, 1, 4, 4, generator=generator(0, "bits")) < torch.linspace(0.0, 0.9, 12).view(-1, 1, 1, 1)).float()
    return Samples(values, (values.flatten(1).sum(1) > 4.5).long(), 2)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_no_random_member_breaks_a_certificate(data, method):
    net = nn.Sequential(nn.Flatten(), Count().layer) if isinstance(method, Intervals) else Count()
    found, kept = certify(net, data, method), []
    broken = examined(net, data, method, found, 12, 300, {}, lambda known: kept.append(dict(known)), BALLS)
    assert len(broken) >= 4
    assert set(broken.values()) == {0}
    assert kept[-1] == broken
    assert examined(net, data, method, found, 12, 300, dict(broken), kept.append, BALLS) == broken, "nothing is tested twice"


@pytest.mark.parametrize(
    ("method", "wrong"),
    [(METHODS[0], {"robust": ((True,) * 12,) * 2}), (METHODS[1], {"lower": (1 - 1e-16,) * 12, "sigma": 9.0})],
    ids=["Intervals", "Smoothing"],
)
def test_a_wrong_certificate_is_broken(data, method, wrong):
    net = nn.Sequential(nn.Flatten(), Count().layer)
    near = Samples(data.values * 0.0 + 4.6 / 16, torch.ones(12, dtype=torch.int64), 2)
    found = certify(net, near, method).model_copy(update=wrong | {"predicted": (1,) * 12})
    broken = examined(net, near, method, found, 1, 300, {}, lambda known: None, BALLS)
    assert sum(broken.values()) > 0


def test_members_use_the_threat():
    x = torch.full((1, 1, 4, 4), 0.5)
    found = members(x, Linf(0.1), torch.arange(10), 0)
    assert (found[::2] - x).abs().amin() > 0.099, "every second member is a corner"
    assert len(found.flatten(1).unique(dim=0)) == 10
    assert L2(0.3).contains(members(x, L2(0.3), torch.arange(10), 0), x.expand(10, -1, -1, -1)).all()
    bits = members(x.round(), Flips(3), torch.arange(10), 0)
    assert ((bits - x.round()).abs().flatten(1).sum(1) == 3).all()


def test_the_strongest_threat_of_a_certificate(data):
    gaussian, sparse = (certify(Count(), data, method) for method in METHODS[1:])
    index = gaussian.radii.index(max(gaussian.radii))
    (ball,) = strongest(gaussian, index, ())
    assert gaussian.certified(ball)[index]
    (flips,) = strongest(sparse, 11, ())
    assert sparse.certified(flips)[11]
    assert not sparse.certified(Flips(flips.eps + 1))[11]
