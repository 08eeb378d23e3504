"""Layers for frames of event cameras, and networks that begin with them."""

import pytest
import torch
from torch import nn

from robustsnn import Flips, convert, evaluate, load, models, save
from robustsnn.attacks import EventPGD
from robustsnn.data import Samples
from robustsnn.deploy.follow import follow
from robustsnn.models import Clip, Denoise, MeanOverTime
from robustsnn.seeds import generator, image_seeds
from robustsnn.spiking import Dynamics, Frames, PotentialDependent, Rate, Surrogate, Triangle

STEPS = 4
SHAPE = {"classes": 3, "size": 8, "channels": 2}


def events(count=6, share=0.1, most=1, size=8):
    drawn = torch.rand(count, STEPS, 2, size, size, generator=generator(0, "test images"))
    return (drawn < share).float() * (1 + (drawn * 1000 % most).floor())


@pytest.fixture(scope="module")
def ann():
    return models.create("digits", **SHAPE, frames=True).eval()


@pytest.fixture(scope="module")
def snn(ann):
    return convert(ann, [events(share=0.4)], Dynamics(STEPS), signal=Frames()).eval()


def filtered(x, k):
    """`Denoise` written as loops."""
    out = torch.zeros_like(x)
    n, steps, channels, height, width = x.shape
    for i in range(n):
        for t in range(steps):
            for r in range(height):
                for c in range(width):
                    near = x[i, max(t - 1, 0) : t + 1, :, max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].sum()
                    for p in range(channels):
                        if x[i, t, p, r, c] and near - 1 >= k:
                            out[i, t, p, r, c] = x[i, t, p, r, c]
    return out


def test_frames_are_averaged_and_images_are_not():
    x = events()
    assert MeanOverTime()(x).equal(x.mean(1))
    assert MeanOverTime()(x[:, 0]).equal(x[:, 0])


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("most", [1, 3])
def test_the_filter_is_its_definition(k, most):
    x = events(2, 0.06, most, size=6)
    expected = filtered(x, k)
    assert Denoise(k)(x).equal(expected)
    assert Denoise(k)(x.clone().requires_grad_()).equal(expected)
    assert 0 < expected.sum() < x.sum()


def test_the_gradient_of_the_filter_sees_support_and_new_events():
    x = torch.zeros(1, 2, 2, 5, 5)
    x[0, 1, 0, 2, 2] = 1  # alone: filtered out
    x.requires_grad_()
    Denoise()(x)[0, 1, 0, 2, 2].backward()
    support = x.grad[0].sum(1) > 0
    assert support[:, 1:4, 1:4].all()
    assert support.sum() == 18


def test_the_gradient_of_a_clipped_count_is_zero():
    x = torch.tensor([0.0, 1.0, 2.0, 3.0], requires_grad=True)
    Clip(2)(x).sum().backward()
    assert x.grad.tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("made", [lambda: Clip(0), lambda: Denoise(0), lambda: Denoise()(torch.zeros(1, 2, 4, 4))])
def test_mistakes_in_the_layers_are_errors(made):
    with pytest.raises(ValueError, match="not"):
        made()


def test_a_body_for_frames_sees_their_mean(ann):
    x = events()
    plain = models.create("digits", **SHAPE).eval()
    assert ann(x).equal(plain(x.mean(1)))
    assert ann.state_dict().keys() == plain.state_dict().keys()
    with pytest.raises(ValueError, match="frames=True"):
        plain(x)


def test_conversion_of_a_body_for_frames_is_that_of_its_images(ann, snn):
    x, plain = events(), models.create("digits", **SHAPE).eval()
    other = convert(plain, [events(share=0.4)], Dynamics(STEPS), signal=Frames()).eval()
    assert snn(x).equal(other(x))
    assert not snn.conversion_report.runs_once
    kept = convert(ann, [events(share=0.4)], Dynamics(STEPS), signal=Frames(), batch_norm="keep")
    assert kept(x).shape == (6, 3)


@pytest.mark.parametrize("kind", ["digits", "resnet20", "wideresnet16_4"])
def test_a_network_for_frames_is_saved_and_loaded(tmp_path, kind):
    options = {"name": kind, **SHAPE, "frames": True, "width": 0.25}
    net = convert(models.create(**options), [events(share=0.4)], Dynamics(STEPS), signal=Frames()).eval()
    save(tmp_path / "net.safetensors", net, {"model": options})
    assert load(tmp_path / "net.safetensors")(events()).equal(net(events()))


def test_a_functional_network_with_the_layer_is_traced_saved_and_loaded(tmp_path):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean, self.one, self.two = MeanOverTime(), nn.Conv2d(2, 4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return self.two(torch.relu(self.one(self.mean(x))).mean((2, 3)))

    net = convert(Own(), [events(share=0.4)], Dynamics(STEPS), signal=Frames()).eval()
    save(tmp_path / "net.safetensors", net)
    assert load(tmp_path / "net.safetensors", Own())(events()).equal(net(events()))


def test_filters_before_a_network_are_evaluated_with_it(snn):
    data = Samples(events(), torch.arange(6) % 3, 3)
    filtering = nn.Sequential(Denoise(), Clip(1), snn)
    report = evaluate(filtering, data, protocol="quick", eps=(0.1,))
    expected = (filtering(data.values).argmax(1) == data.labels).float().mean()
    assert report.clean.value == pytest.approx(float(expected))


def test_filters_of_a_spiking_network_are_attacked_along_its_paths(snn, tmp_path):
    x, filtering = events(), snn.filtered(Denoise()).filtered(Clip(1))
    assert snn.filters is None
    assert filtering(x).equal(nn.Sequential(Denoise(), Clip(1), snn)(x))
    assert filtering.replace(timesteps=2)(x[:, :2]).equal(snn.replace(timesteps=2)(Denoise()(x[:, :2])))
    isolated = Denoise()(x).eq(0) & x.eq(1)
    for path in (Surrogate(Triangle()), Rate(), PotentialDependent()):
        seen = path(filtering)
        assert seen(x).equal(filtering(x))
        given = x.clone().requires_grad_()
        seen(given)[:, 0].sum().backward()
        assert given.grad[isolated].abs().sum() > 0
    report = evaluate(filtering, Samples(x, torch.arange(6) % 3, 3), protocol="quick", eps=(0.1,), audit_images=0)
    assert len(report.result("strong", 0.1).members) > 1
    with pytest.raises(ValueError, match="filters before a network are not saved"):
        save(tmp_path / "net.safetensors", filtering)
    with pytest.raises(ValueError, match="filters cannot be exported"):
        follow(filtering, (STEPS, 2, 8, 8))


def test_networks_for_frames_leave_as_nir_and_onnx(snn):
    pytest.importorskip("nir")
    from robustsnn.deploy import to_nir

    graph = to_nir(snn, (STEPS, 2, 8, 8))
    assert graph.nodes["input"].input_type["input"].tolist() == [2, 8, 8]
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    from robustsnn.deploy.onnx import to_onnx

    session = runtime.InferenceSession(to_onnx(snn, (STEPS, 2, 8, 8)))
    (found,) = session.run(None, {"images": events().numpy()})
    assert torch.from_numpy(found).allclose(snn(events()), atol=1e-4)


def test_an_attack_that_ignores_the_filter_is_beaten_by_one_that_does_not(snn):
    """Flips chosen on the network without its filter are mostly isolated events, which the filter removes."""
    x, filtering = events(24), snn.filtered(Denoise(3))
    y, threat, attack = filtering(x).argmax(1), Flips(12), EventPGD(20)
    seeds = image_seeds(torch.arange(len(x)), 0)

    def broken(guide):
        adversarial = attack(PotentialDependent()(guide), x, y, threat, rng=seeds)
        assert threat.contains(adversarial, x).all()
        return int((filtering(adversarial).argmax(1) != y).sum())

    ignoring, through = broken(snn), broken(filtering)
    assert through > max(5, 2 * ignoring)
