import copy
import math

import pytest
import torch
from bodies import BODIES, FromInput, Reused, trained
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from robustsnn.compute import rewire
from robustsnn.conversion import calibrate, convert, reestimate, spiking
from robustsnn.data import Samples
from robustsnn.models import create
from robustsnn.seeds import generator
from robustsnn.spiking import LIF, Analog, Dynamics, SpikingNetwork

FAST = {"calibration_timesteps": 5, "dynamics": Dynamics(3)}
modes = pytest.mark.parametrize("batch_norm", ["reestimate", "reset"])


def batches(count=3, size=8):
    return list(torch.rand(count, size, 2, 8, 8, generator=generator(0, "calibration")))


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4))


def with_statistics_of(ann, net):
    """``net`` with the running statistics of ``ann``."""
    for name, buffer in ann.named_buffers():
        net.body.get_buffer(name).copy_(buffer)
    return net


@modes
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_the_converted_network_is_the_ann_with_neurons(body, batch_norm, images, unchanged):
    ann = trained(body)
    with unchanged(ann):
        net = convert(ann, batches(), batch_norm=batch_norm, **FAST)
    assert isinstance(net, SpikingNetwork)
    assert net.dynamics == Dynamics(3)
    assert net.steps(images).shape == (3, 6, 4)
    assert net(images).std() > 0
    torch.testing.assert_close(Analog()(with_statistics_of(ann, net))(images), ann(images))


def test_nothing_of_the_network_is_shared_with_the_ann(ann, unchanged):
    net = convert(ann, batches(), **FAST)
    with unchanged(ann), torch.no_grad():
        for parameter in [*net.parameters(), *net.buffers()]:
            parameter.zero_()


def test_weights_carry_over_bit_by_bit(ann):
    net = convert(ann, batches(), **FAST)
    assert all(torch.equal(net.body.get_parameter(name), value) for name, value in ann.named_parameters())


def test_what_users_hold_calibrates(ann):
    x, y = torch.cat(batches()), torch.arange(24) % 4
    expected = convert(ann, batches(), **FAST).state_dict()
    loader = convert(ann, DataLoader(TensorDataset(x, y), batch_size=8), **FAST).state_dict()
    held = [convert(ann, data, **FAST).state_dict() for data in ((x, y), Samples(x, y, 4), TensorDataset(x, y))]
    assert all(torch.equal(value, expected[name]) for name, value in loader.items())
    assert all(torch.equal(value, held[0][name]) for other in held[1:] for name, value in other.items())
    with pytest.raises(ValueError, match="begin with one, not str"):
        convert(ann, ["images"], **FAST)
    with pytest.raises(ValueError, match="data cannot be int"):
        convert(ann, 7, **FAST)


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_thresholds_are_the_calibrated_ones_scaled_and_trainable(ann, images, scale):
    net = convert(ann, batches(), scale=scale, **FAST)
    calibrated = calibrate(spiking(ann, images), batches(), timesteps=5)
    report = net.conversion_report
    assert report.calibrated == calibrated
    assert report.scale == scale
    assert {name: value.item() for name, value in net.thresholds.items()} == pytest.approx(
        {name: scale * value for name, value in calibrated.items()}
    )
    assert all(value.requires_grad for value in net.thresholds.values())


def test_reset_statistics_are_zero_and_one(ann):
    net = convert(ann, batches(), batch_norm="reset", **FAST)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 2
    for norm in norms:
        assert (norm.running_mean == 0).all()
        assert (norm.running_var == 1).all()


def test_reestimated_statistics_are_those_of_the_spiking_network_at_its_own_time_steps(ann):
    net = convert(ann, batches(), **FAST)
    current = [ann.features[0](ann.normalize(images)) for images in batches()]
    norm = net.body.features[1]
    torch.testing.assert_close(norm.running_mean, torch.stack([c.mean((0, 2, 3)) for c in current]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([c.var((0, 2, 3)) for c in current]).mean(0))
    assert norm.momentum == ann.features[1].momentum

    received = []
    net.body.features[5].register_forward_pre_hook(lambda module, inputs: received.append(inputs[0]))
    net.eval()
    reestimate(net, batches()[:1])  # earlier layers normalise by the batch as well
    (seen,) = received or [None]
    norm = net.body.features[5]
    torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, seen.var((0, 2, 3)))
    assert len(seen) == 3 * 8


def test_reestimation_keeps_flags_and_parameters(net):
    parameters = {name: value.clone() for name, value in net.named_parameters()}
    flags = [module.training for module in net.modules()]
    statistics = net.body.features[5].running_mean.clone()
    reestimate(net, batches())
    assert all(torch.equal(value, parameters[name]) for name, value in net.named_parameters())
    assert [module.training for module in net.modules()] == flags
    assert not torch.equal(net.body.features[5].running_mean, statistics)
    expected = copy.deepcopy(net.body.features[5].running_mean)
    reestimate(net, batches())
    torch.testing.assert_close(net.body.features[5].running_mean, expected)


def test_batches_may_be_a_generator_and_come_with_labels(ann, images):
    expected = convert(ann, batches(), **FAST)(images)
    assert torch.equal(convert(ann, ((b, torch.zeros(8)) for b in batches()), **FAST)(images), expected)


def test_only_the_first_batches_are_used(ann, images):
    expected = convert(ann, batches(2), **FAST)(images)
    assert torch.equal(convert(ann, batches(3), limit=2, **FAST)(images), expected)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_the_network_has_the_flags_of_the_ann(ann, training):
    net = convert(ann.train(training), batches(), **FAST)
    assert {module.training for module in net.modules()} == {training}


def test_linear_layers_without_bias_get_a_zero_trainable_one_in_the_network_only(unchanged):
    ann = nn.Sequential(nn.Flatten(), nn.Linear(128, 6, bias=False), nn.ReLU(), nn.Linear(6, 4, bias=False))
    with unchanged(ann):
        net = convert(ann, batches(), **FAST)
        body = spiking(ann, batches()[0]).body
    assert ann[1].bias is None
    assert body[1].weight is ann[1].weight
    for layer in (net.body[1], net.body[3], body[1], body[3]):
        assert isinstance(layer.bias, nn.Parameter)
        assert layer.bias.requires_grad
        assert (layer.bias == 0).all()


@modes
def test_conversion_is_deterministic_and_spares_the_global_generator(ann, images, batch_norm):
    state = torch.get_rng_state()
    one, other = (convert(ann, batches(), batch_norm=batch_norm, **FAST) for _ in range(2))
    assert torch.equal(one.eval()(images), other.eval()(images))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_rescaled_input_layer_gives_the_same_spikes(images):
    body = nn.Sequential(nn.Flatten(), nn.Linear(128, 12, bias=False), nn.ReLU(), nn.Linear(12, 4))
    net = convert(body, batches(), **FAST)
    with torch.no_grad():
        body[1].weight.mul_(8)
    assert torch.equal(convert(body, batches(), **FAST)(images), net(images))


def test_the_report_says_what_became_of_every_layer(ann):
    report = convert(ann, batches(), **FAST).conversion_report
    assert [layer.place for layer in report.layers if layer.action == "spiking neurons"] == list(report.calibrated)
    assert report.runs_once == ("features.2",)
    for name, threshold in report.calibrated.items():
        assert f"{threshold:.4g} x 0.3" in next(
            line for line in str(report).splitlines() if line.startswith(name) and " x " in line
        )


def test_where_the_image_is_needed_at_every_step_nothing_runs_once():
    assert convert(trained(FromInput), batches(), **FAST).conversion_report.runs_once == ()


def test_firing_order_is_that_of_execution():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.late, self.early = nn.ReLU(), nn.ReLU()
            self.a, self.b = nn.Linear(128, 8), nn.Linear(8, 4)

        def forward(self, x):
            return self.late(self.b(self.early(self.a(x.flatten(1)))))

    net = convert(Backwards(), batches(), **FAST)
    assert list(net.thresholds) == list(net.conversion_report.calibrated) == ["early", "late"]


def test_a_converted_network_finetunes_through_a_shared_activation():
    net = convert(trained(Reused), batches(), **FAST)
    net(batches()[0]).square().sum().backward()
    assert len(net.thresholds) == 3
    assert all(value.grad is not None for value in net.parameters())


class Dead(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(128, 4), nn.ReLU(), nn.Linear(4, 4))
        nn.init.zeros_(self[1].weight)
        nn.init.constant_(self[1].bias, -1.0)


class Named(Dead):
    def forward(self, x):
        return {"logits": super().forward(x)}


def damaged(place, value):
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4)).eval()
    net.state_dict()[place].fill_(value)
    return net


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"scale": 0.0}, "scale must be greater than 0"),
        ({"scale": math.nan}, "scale must be greater than 0"),
        ({"batch_norm": "kept"}, "batch_norm must be"),
        ({"percentile": 0.0}, "percentile must be"),
        ({"calibration_timesteps": 0}, "timesteps must be"),
        ({"allow": {"sigmoid"}}, "only 'max_pool'"),
        ({"data": []}, "at least one batch"),
        ({"data": [torch.empty(0, 2, 8, 8)]}, "batch for calibration is empty"),
        ({"data": [torch.full((2, 2, 8, 8), math.nan)]}, "NaN"),
        ({"ann": Dead()}, "neurons of '2' receive nothing above 0"),
        *(
            ({"ann": damaged(place, value), "batch_norm": norm}, "NaN or infinite")
            for place, value in (("1.weight", math.nan), ("4.weight", math.inf), ("2.running_var", math.nan))
            for norm in ("keep", "reestimate")
        ),
        ({"ann": Named()}, r"returns a dict for \d+ inputs: return logits"),
        ({"ann": Named(), "batch_norm": "keep"}, r"Named returns a dict for \d+ inputs: return logits"),
        ({"ann": nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.Sigmoid())}, r"layer '2' \(Sigmoid\)"),
        ({"ann": nn.Sequential(nn.Flatten(), nn.Linear(128, 4))}, "no ReLU"),
        ({"ann": nn.Sequential(nn.Unflatten(0, (8, 1)), nn.Flatten(), nn.Linear(128, 4), nn.ReLU())}, "batch"),
    ],
    ids=str,
)
def test_what_cannot_be_converted_is_refused(ann, change, line, unchecked, unchanged):
    arguments = {"ann": ann, "data": batches(), **FAST} | change
    with unchanged(arguments["ann"]), pytest.raises(ValueError, match=line):
        convert(**arguments)


def test_images_that_the_ann_cannot_take_are_named(ann):
    with pytest.raises(ValueError, match=r"cannot take inputs \[4, 2, 16, 16\]"):
        convert(ann, [torch.rand(4, 2, 16, 16)], **FAST)


@pytest.mark.usefixtures("unchecked")
def test_every_channel_gets_a_threshold_of_its_own_where_asked_for(ann, images):
    net = convert(ann, [images], Dynamics(3), scale=0.5, calibration_timesteps=4, granularity="channel")
    found = calibrate(spiking(copy.deepcopy(ann), images), [images], timesteps=4, granularity="channel")
    shapes = {name: tuple(value.shape) for name, value in net.thresholds.items()}
    assert set(shapes.values()) == {(4, 1, 1), (6, 1, 1), (10,)}
    for name, value in net.thresholds.items():
        torch.testing.assert_close(value.detach(), 0.5 * found[name])
    with pytest.raises(ValueError, match="granularity"):
        convert(ann, [images], granularity="pixel")


LAYERS = {"vgg": lambda: create("vgg", 4, size=8, channels=2, plan=[8, "A", 16], hidden=[16], conv_bias=True), "mlp": mlp}


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_with_batch_norms_kept_many_time_steps_are_the_ann(make, scale):
    """Its activations are cut off at the thresholds; at the largest values of the images, nothing is."""
    torch.manual_seed(0)
    ann, x = make(), batches(1, 32)[0]
    for name, parameter in ann.named_parameters():
        if name.endswith("bias"):
            nn.init.uniform_(parameter, -0.3, 0.3)
    ann.train()(x)
    ann.eval()
    heights = {"percentile": 100.0, "scale": scale, "batch_norm": "keep"}
    net = convert(ann, [x], Dynamics(64, neuron=LIF(reset="subtract", start=0.5)), **heights).eval()
    off = []
    for steps in (64, 256):
        expected = cut(ann, net.conversion_report.calibrated, scale)(x).detach()
        off.append(float((net.replace(timesteps=steps)(x) - expected).norm() / expected.norm()))
    assert off[0] < 0.02
    assert off[1] < off[0] / 2


def cut(ann, heights, scale):
    """The ANN, its activations not above ``scale`` times their largest values."""
    return rewire(ann, lambda name, _: nn.Hardtanh(0.0, scale * heights[name]) if name in heights else None)


def test_batch_norms_kept_take_one_threshold_a_layer(ann):
    with pytest.raises(ValueError, match="granularity='layer'"):
        convert(ann, batches(), batch_norm="keep", granularity="channel", **FAST)
