"""Frames that are all the same image are that image, through everything."""

import pytest
import torch
from torch import nn

from robustsnn import load, save
from robustsnn.conversion import calibrate, convert, folded
from robustsnn.seeds import generator
from robustsnn.spiking import (
    LIF,
    PLIF,
    Adaptive,
    Analog,
    Constant,
    Dynamics,
    Frames,
    Hybrid,
    MultiSpike,
    Plain,
    PotentialDependent,
    Rate,
    RateApproximation,
    SpikingNetwork,
    Surrogate,
)
from robustsnn.training import Hire

STEPS = 4
PATHS = [Plain(), Surrogate(), Rate(), RateApproximation(), Hybrid(), PotentialDependent(), Adaptive()]


@pytest.fixture
def frames(images):
    """Every image as frames ``[N,T,C,H,W]``."""
    return torch.stack([images] * STEPS, 1)


@pytest.fixture
def moving(net):
    """The network, shown frames."""
    return net.replace(signal=Frames())


def gradient(view, x):
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(view(x).square().sum(), x)
    return found


def test_a_repeated_image_is_the_image(net, moving, images, frames):
    assert moving.begun(frames).shape == (STEPS * 6, 2, 8, 8)
    assert not any(layer.first for layer in moving.neurons.values())
    torch.testing.assert_close(moving.steps(frames), net.steps(images))
    assert moving.replace(signal=Constant()).neurons["features.2"].first
    assert torch.equal(moving.replace(signal=Constant())(images), net(images))


@pytest.mark.parametrize("neuron", [LIF(), PLIF(0.9, "subtract", 0.5), MultiSpike(3)], ids=repr)
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_gradients_of_all_frames_add_up_to_that_of_the_image(path, neuron, net, images, frames):
    if isinstance(path, RateApproximation) and not isinstance(neuron, LIF):
        pytest.skip("a path of LIF")
    net = net.replace(neuron=neuron)
    found, expected = gradient(path(net.replace(signal=Frames())), frames), gradient(path(net), images)
    assert expected.norm() > 0
    assert found.shape == frames.shape
    torch.testing.assert_close(found.sum(1), expected, rtol=1e-4, atol=1e-5)


def test_frames_come_one_after_another(moving, images):
    clip = torch.stack([images, 1 - images, images.flip(0), images.flip(-1)], 1)
    assert torch.equal(moving.begun(clip)[6:12], 1 - images)
    later = clip.clone()
    later[:, 3] = 0.5
    torch.testing.assert_close(moving.steps(later)[:3], moving.steps(clip)[:3])
    assert not torch.allclose(moving(later), moving(clip))


@pytest.mark.parametrize("granularity", ["layer", "channel"])
def test_calibration_finds_the_same(net, moving, images, frames, granularity):
    expected = calibrate(net, [images, images / 2], timesteps=STEPS, granularity=granularity)
    found = calibrate(moving, [frames, frames / 2], granularity=granularity)
    assert list(found) == list(expected)
    for name, threshold in expected.items():
        torch.testing.assert_close(torch.as_tensor(found[name]), torch.as_tensor(threshold))


@pytest.mark.parametrize("batch_norm", ["reset", "keep"])
def test_conversion_folding_and_checkpoints_make_the_same(ann, images, frames, batch_norm, tmp_path):
    settings = {"dynamics": Dynamics(STEPS), "batch_norm": batch_norm}
    still = convert(ann, [images], calibration_timesteps=STEPS, **settings).eval()
    moving = convert(ann, [frames], signal=Frames(), **settings).eval()
    assert moving.slots == still.slots
    torch.testing.assert_close(dict(moving.state_dict()), dict(still.state_dict()))
    torch.testing.assert_close(moving(frames), still(images))
    torch.testing.assert_close(folded(moving)(frames), folded(still)(images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(Analog()(moving)(images), Analog()(still)(images))
    save(tmp_path / "net.safetensors", moving)
    back = load(tmp_path / "net.safetensors", ann)
    assert back.signal == Frames()
    assert torch.equal(back(frames), moving(frames))


def test_statistics_are_those_of_as_many_more_images(ann, images, frames):
    """Unbiased variances depend on how many values there are."""
    still = convert(ann, [images], Dynamics(STEPS), calibration_timesteps=STEPS)
    moving = convert(ann, [frames], Dynamics(STEPS), signal=Frames())
    first, second = (dict(net.body.features[1].named_buffers()) for net in (moving, still))
    torch.testing.assert_close(first["running_mean"], second["running_mean"])
    torch.testing.assert_close(first["running_var"] * (1 - 1 / 1536), second["running_var"] * (1 - 1 / 384))


def test_what_is_forgotten_for_the_way_back_is_recalled(net, moving, images, frames):
    net.train(), moving.train()
    found = []
    for view, x in ((net, images), (moving, frames)):
        net.zero_grad()
        view(x).square().sum().backward()
        found.append([parameter.grad.clone() for parameter in net.parameters()])
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 2, 8, 8), (2, 3, 2, 8, 8), (2, 4)])
def test_frames_that_are_not_as_many_as_time_steps_are_refused(moving, shape):
    with pytest.raises(ValueError, match=r"are not frames \[N, T, ...\] with T = 4, .*: set Dynamics"):
        moving(torch.rand(shape))


def test_samples_have_any_rank():
    body = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
    net = SpikingNetwork(body, Dynamics(3), Frames())
    assert net(torch.rand(7, 3, 5, generator=generator(0))).shape == (7, 2)


def test_noise_crafted_between_periods_needs_one_image(moving, frames, labels, unchecked):
    with pytest.raises(ValueError, match=r"needs signal=Constant\(\)"):
        Hire()(moving, frames, labels, rng=torch.Generator())
