"""Averaged weights: what they are after a few steps, what validation and the end of training see, and that a resumed training
averages on."""

import pytest
import torch
from torch import nn

from robustsnn.data import Samples
from robustsnn.training import Natural, Schedule, train
from robustsnn.training.averaging import Average


def data(seed, count=24):
    rng = torch.Generator().manual_seed(seed)
    return Samples(torch.rand(count, 1, 4, 4, generator=rng), torch.randint(3, (count,), generator=rng), 3)


def body():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


def run(net, epochs=3, average=0.9, **options):
    return train(net, data(0), data(1, 12), Natural(), Schedule(epochs, 8, 0.1, average=average), **options)


def test_the_average_follows_its_equation():
    net = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(0.0)
        average = Average.of(net, 0.5)
        for step, value in enumerate([1.0, 2.0, 3.0]):
            net.weight.fill_(value)
            average.update(net, step)
    kept = 0.0
    for step, value in enumerate([1.0, 2.0, 3.0]):
        decay = min(0.5, (1 + step) / (10 + step))
        kept = decay * kept + (1 - decay) * value
    assert float(average.values["weight"]) == pytest.approx(kept)


def test_training_ends_with_averages_and_norms_of_their_own(monkeypatch):
    seen = {}
    network = Average.network

    def spied(self, net):
        made = network(self, net)
        seen.update(made=made, live=net, values={name: value.clone() for name, value in self.values.items()})
        return made

    monkeypatch.setattr(Average, "network", spied)
    net = body()
    run(net, epochs=1)
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter, seen["values"][name])
    plain = body()
    plain.load_state_dict(body().state_dict())
    assert torch.equal(net[1].running_mean, seen["made"][1].running_mean)


def test_no_average_is_training_as_before():
    torch.manual_seed(1)
    one, other = body(), body()
    other.load_state_dict(one.state_dict())
    run(one, average=0.0)
    train(other, data(0), data(1, 12), Natural(), Schedule(3, 8, 0.1))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


class Interrupted(Exception):
    pass


def test_a_resumed_training_averages_on_to_the_bit(tmp_path):
    torch.manual_seed(1)
    whole, parts = body(), body()
    start = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    parts.load_state_dict(start)
    expected = run(whole)

    def stop(epoch, step):
        if (epoch, step) == (1, 1):
            raise Interrupted

    with pytest.raises(Interrupted):
        run(parts, state=tmp_path / "x.state", keep_every=0.0, on_step=stop)
    again = body()
    again.load_state_dict(start)
    found = run(again, state=tmp_path / "x.state")
    assert [(e.loss, e.clean) for e in found] == [(e.loss, e.clean) for e in expected]
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), whole.state_dict().values(), strict=True))


def test_weights_decay_alone_where_asked():
    net = body()
    groups = Schedule(1, decay="weights", weight_decay=0.1).optimizer(net).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert {tuple(p.shape) for p in groups[0]["params"]} == {(4, 1, 3, 3), (3, 16)}
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))
    assert len(Schedule(1).optimizer(net).param_groups) == 1


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("options", [{"average": 1.0}, {"average": -0.1}, {"decay": "norms"}])
def test_values_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Schedule(**options)
