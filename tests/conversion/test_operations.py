"""One table of operations: the same function in another spelling is taken, what spikes cannot stand for is not."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustsnn import convert
from robustsnn.conversion import spiking, trace
from robustsnn.conversion.operations import CALLS, KINDS
from robustsnn.data import Samples
from robustsnn.deploy import exported, to_nir
from robustsnn.evaluation import operations
from robustsnn.seeds import generator
from robustsnn.spiking import Dynamics

pytestmark = pytest.mark.usefixtures("unchecked")

X = torch.rand(5, 1, 4, 4, generator=generator(0, "test operations"))
DATA = Samples(X, torch.arange(5) % 3, 3)


class Vector(nn.Module):
    """A body whose middle is one operation on eight activations."""

    def __init__(self, operation, wide=8):
        super().__init__()
        self.first, self.head = nn.Linear(16, 8), nn.Linear(wide, 3)
        self.weight, self.scale = nn.Parameter(torch.rand(8, 8) / 4), nn.Parameter(torch.rand(8))
        self.operation = operation

    def forward(self, x):
        return self.head(self.operation(self, self.first(x.flatten(1)).relu()).relu())


SPELLINGS = {
    "@": lambda s, h: h @ s.weight,
    "matmul": lambda s, h: h.matmul(s.weight),
    "from the left": lambda s, h: (s.weight @ h.T).T,
    "addmm": lambda s, h: torch.addmm(s.scale, h, s.weight),
    "einsum": lambda s, h: torch.einsum("ni,io->no", h, s.weight),
    "tensordot": lambda s, h: torch.tensordot(h, s.weight, 1),
    "F.linear": lambda s, h: F.linear(h, s.weight),
    "clamp": lambda s, h: (h - 0.1).clamp(min=0),
    "torch.clamp_min": lambda s, h: torch.clamp_min(h - 0.1, 0),
    "clip": lambda s, h: (h - 0.1).clip(0),
    "a weight each": lambda s, h: s.scale * h,
    "divided by weights": lambda s, h: h / (s.scale + 1),
    "1 - h": lambda s, h: 1 - h,
    "twice": lambda s, h: torch.add(h, h, alpha=2),
    "clone": lambda s, h: h.clone(),
    "flip": lambda s, h: h.flip(1),
    "roll": lambda s, h: h.roll(1, 1),
    "swapaxes": lambda s, h: h.unsqueeze(2).swapaxes(1, 2).flatten(1),
    "index_select": lambda s, h: h.index_select(1, torch.arange(7, -1, -1)),
    "an index": lambda s, h: h[:, torch.arange(7, -1, -1)],
    "tensor_split": lambda s, h: torch.cat(h.tensor_split(2, 1)[::-1], 1),
    "hstack": lambda s, h: torch.hstack([h[:, 4:], h[:, :4]]),
    "unbind": lambda s, h: torch.stack(h.unbind(1), 1),
    "len": lambda s, h: h.reshape(len(h), -1),
    "pixel_unshuffle": lambda s, h: F.pixel_unshuffle(h.view(-1, 2, 2, 2), 2).flatten(1),
    "interpolate": lambda s, h: F.interpolate(h.unsqueeze(1), scale_factor=2).flatten(1)[:, ::2],
}


def follows_lists() -> bool:
    """Whether torch.fx follows a list of tensors of unknown length; that of torch 2.6 does not."""
    try:
        return bool(torch.fx.symbolic_trace(lambda x: torch.stack(x.unbind(1))))
    except TypeError:
        return False


@pytest.mark.parametrize("operation", SPELLINGS)
def test_a_linear_operation_is_taken_in_every_spelling(operation):
    if operation in ("tensor_split", "unbind") and not follows_lists():
        pytest.skip(f"torch.fx of torch {torch.__version__} cannot follow it")
    net = Vector(SPELLINGS[operation]).eval()
    torch.testing.assert_close(trace(net)[0](X), net(X))
    snn = spiking(net, X, Dynamics(3), threshold=0.1)
    assert snn(X).std() > 0
    snn(X).square().sum().backward()
    assert all(threshold.grad is not None for threshold in snn.thresholds.values())


@pytest.mark.parametrize(
    "pad",
    [nn.ReflectionPad1d(1), nn.ReplicationPad1d(1), nn.CircularPad1d(1), nn.ZeroPad1d(1), nn.ConstantPad1d(1, 0.5)],
    ids=lambda pad: type(pad).__name__,
)
def test_a_signal_is_padded_as_people_do(pad):
    net = nn.Sequential(
        nn.Flatten(2), pad, nn.Conv1d(1, 4, 3), nn.ReLU(), pad, nn.Conv1d(4, 2, 3), nn.Flatten(), nn.Linear(32, 3)
    )
    snn = spiking(net.eval(), X, Dynamics(3), threshold=0.1)
    assert set(operations(snn, DATA)) == {"2", "5", "7"}


def test_a_call_stands_for_one_thing():
    assert sum(len(kind.calls) for kind in KINDS) == len(
        CALLS - {call for call in CALLS if "clamp" in str(call) or "clip" in str(call)}
    )


def test_norms_by_the_sample_are_said_not_to_be_exact():
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.RMSNorm(8), nn.ReLU(), nn.Linear(8, 3)).eval()
    report = spiking(net, X, Dynamics(2)).conversion_report
    assert "separately: finetune" in str(report)
    assert "not exact" not in str(spiking(nn.Sequential(*net[:2], *net[3:]), X, Dynamics(2)).conversion_report)


def test_biases_that_nothing_scales_are_said():
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    fast = {"dynamics": Dynamics(2), "calibration_timesteps": 3}
    assert "batch_norm='keep'" in str(convert(net, [X], **fast).conversion_report)
    assert "batch_norm='keep'" not in str(convert(net, [X], batch_norm="keep", **fast).conversion_report)


class Optional(nn.Module):
    """What is not given is left at its default."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x, mask=None, *more, doubled=False, **options):
        x = x if mask is None else x * mask
        return self.body(x) * 2 if doubled or more or options else self.body(x)


def test_arguments_with_a_default_are_left_at_it():
    snn = spiking(Optional().eval(), X, Dynamics(2), threshold=0.1).eval()
    assert set(operations(snn, DATA)) == {"body.1", "body.3"}
    assert torch.allclose(exported(snn, (1, 4, 4)).module()(X), snn(X), atol=1e-5)
    pytest.importorskip("nir")
    assert to_nir(snn, (1, 4, 4)).nodes


@pytest.mark.parametrize("places", [2, 3])
def test_a_block_in_several_places_has_neurons_in_each(places):
    block = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), *[block] * (places - 1), nn.Sequential(block), nn.Linear(8, 3)).eval()
    snn = spiking(net, X, Dynamics(2), threshold=0.1)
    assert len(snn.thresholds) == places
    thresholds = {id(threshold) for threshold in snn.thresholds.values()}
    assert len(thresholds) == places


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.optim.swa_utils.AveragedModel], ids=lambda wrap: wrap.__name__)
def test_a_wrapper_is_taken_off(wrap):
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    fast = {"dynamics": Dynamics(2), "calibration_timesteps": 3}
    wrapped, plain = convert(wrap(nn.DataParallel(net)).eval(), [X], **fast), convert(net, [X], **fast)
    assert list(wrapped.state_dict()) == list(plain.state_dict())
    assert torch.equal(wrapped(X), plain(X))


REFUSED = {
    "compiled": (lambda: torch.compile(Optional(), backend="eager"), "pass the plain nn.Module"),
    "spiking": (
        lambda: spiking(Optional().eval(), X, Dynamics(2)),
        r"is already a spiking network: use net.replace\(timesteps",
    ),
    "two inputs": (lambda: Two(), "cannot take inputs .*missing 1 required"),
    "synchronised": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.SyncBatchNorm(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).eval(),
        r"'1' \(SyncBatchNorm\).*plain batch norms",
    ),
    "no statistics": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
        ),
        r"'1' \(BatchNorm2d\) normalises by batch statistics.*track_running_stats=True",
    ),
    "attention": (lambda: Vector(lambda s, h: h * h.softmax(1)), "mul .*multiplies activations with each other"),
}


class Two(nn.Module):
    def forward(self, x, z):
        return x + z


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_spikes_can_stand_for_is_named(what):
    make, line = REFUSED[what]
    with pytest.raises(ValueError, match=line):
        convert(make(), [X], Dynamics(2), calibration_timesteps=3)
