from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from robustsnn.seeds import generator
from robustsnn.spiking import (
    LIF,
    PLIF,
    Dynamics,
    Exponential,
    MultiSpike,
    NeuronLayer,
    Rectangle,
    StraightThrough,
    Triangle,
    unrolled,
)
from robustsnn.spiking.kernels import Through, fused
from robustsnn.spiking.paths import Rate

rate_lif = Through(Rate._rule)

surrogates = pytest.mark.parametrize(
    "surrogate", [Triangle(1.0), Triangle(0.25), Exponential(0.3, 2.0), Rectangle(0.5), StraightThrough()], ids=repr
)
resets = pytest.mark.parametrize("reset", ["zero", "subtract"])
leaks = pytest.mark.parametrize("leak", [1.0, 0.9, 0.5])
relative = pytest.mark.parametrize("relative_surrogate", [False, True], ids=["absolute", "relative"])
detached = pytest.mark.parametrize("detach_reset", [False, True], ids=["through reset", "detached"])


def problem(dtype, *, per_channel=False, expanded=False):
    """Current, threshold and upstream gradient."""
    rng = generator(0, "kernels")
    current = torch.randn(1 if expanded else 6, 4, 3, 5, 5, generator=rng).to(dtype).mul(0.6).add(0.3)
    threshold = torch.tensor([0.4, 0.8, 1.2], dtype=dtype).view(3, 1, 1) if per_channel else torch.tensor(0.7, dtype=dtype)
    upstream = torch.randn(6, 4, 3, 5, 5, generator=rng).to(dtype)
    return current, threshold, upstream


def outcome(neuron, dynamics, current, threshold, upstream):
    """Spikes, gradient of the current (before expansion) and of the threshold."""
    current, threshold = current.clone().requires_grad_(), threshold.clone().requires_grad_()
    spikes = neuron(current.expand(len(upstream), *current.shape[1:]), threshold, dynamics)
    spikes.backward(upstream)
    return spikes.detach(), current.grad, threshold.grad


@surrogates
@resets
@leaks
@detached
@pytest.mark.parametrize("expanded", [False, True], ids=["current", "expanded"])
@pytest.mark.parametrize("per_channel", [False, True], ids=["scalar", "per channel"])
def test_fused_is_plain(surrogate, reset, leak, detach_reset, per_channel, expanded):
    dynamics = Dynamics(neuron=LIF(leak=leak, reset=reset), detach_reset=detach_reset, surrogate=surrogate)
    for dtype in (torch.float32, torch.float64):
        given_problem = problem(dtype, per_channel=per_channel, expanded=expanded)
        plain, ours = outcome(unrolled, dynamics, *given_problem), outcome(fused, dynamics, *given_problem)
        assert torch.equal(ours[0], plain[0])
        assert 0.05 < plain[0].mean() < 0.95, "the problem is too easy"
        tolerance = 1e-6 if dtype == torch.float32 else 1e-12
        for found, reference in zip(ours[1:], plain[1:], strict=True):
            torch.testing.assert_close(found, reference, rtol=tolerance, atol=tolerance * float(plain[1].norm()))


@resets
@leaks
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_last_bit_of_a_potential_decides_alike_in_fused_and_plain(reset, leak, dtype):
    """The last potential of every neuron is its very threshold."""
    current = torch.rand(3, 500, generator=generator(0, "ties")).to(dtype).sort(0).values  # so that potentials rise
    v = torch.zeros(500, dtype=dtype)
    for step in current:
        v = leak * v + step
    dynamics = Dynamics(neuron=LIF(leak=leak, reset=reset))
    assert torch.equal(unrolled(current, v, dynamics)[2], torch.ones(500, dtype=dtype))
    assert torch.equal(fused(current, v, dynamics), unrolled(current, v, dynamics))


@given(
    st.lists(st.integers(-4, 12), min_size=1, max_size=8), st.sampled_from([1.0, 0.5]), st.sampled_from(["zero", "subtract"])
)
def test_fused_fires_where_plain_does(eighths, leak, reset):
    current = torch.tensor(eighths).div(8)[:, None]
    dynamics = Dynamics(neuron=LIF(leak=leak, reset=reset))
    assert torch.equal(fused(current, torch.tensor(1.0), dynamics), unrolled(current, 1.0, dynamics))


@resets
@leaks
def test_rate_fires_the_same_and_passes_gradients_where_neurons_ever_fired(reset, leak):
    dynamics = Dynamics(neuron=LIF(leak=leak, reset=reset))
    current, threshold, upstream = problem(torch.float32)
    current = current - 0.3
    spikes, gradient, of_threshold = outcome(rate_lif, dynamics, current, threshold, upstream)
    assert torch.equal(spikes, unrolled(current, threshold, dynamics))
    fired = (spikes.sum(0) > 0).float()
    assert 0.05 < fired.mean() < 0.95, "the problem is too easy"
    assert torch.equal(gradient, upstream * fired)
    assert of_threshold is None


@resets
@pytest.mark.parametrize(
    "make",
    [lambda kept: lambda u: torch.ones(()).expand_as(u), lambda kept: lambda u: kept, lambda kept: torch.sigmoid],
    ids=["expanded", "kept", "function"],
)
def test_any_function_of_the_potential_serves_as_surrogate(make, reset):
    kept = torch.full((4, 3, 5, 5), 0.5)
    dynamics = Dynamics(neuron=LIF(reset=reset), surrogate=make(kept))
    given_problem = problem(torch.float32)
    plain, ours = outcome(unrolled, dynamics, *given_problem), outcome(fused, dynamics, *given_problem)
    torch.testing.assert_close(ours[:2], plain[:2])
    torch.testing.assert_close(ours[2], plain[2], rtol=1e-4, atol=1e-4)
    assert (kept == 0.5).all(), "what the surrogate returned was written to"


@resets
@pytest.mark.parametrize("neuron", [fused, rate_lif])
def test_an_upstream_gradient_without_memory_of_its_own_is_as_good(neuron, reset):
    current, threshold, upstream = problem(torch.float32)
    ones = torch.ones(()).expand_as(upstream)
    dynamics = Dynamics(neuron=LIF(reset=reset))
    torch.testing.assert_close(
        outcome(neuron, dynamics, current, threshold, ones), outcome(neuron, dynamics, current, threshold, ones.clone())
    )


def test_forward_keeps_only_its_input_and_no_copies_of_an_expanded_one():
    saved = []
    current, threshold = torch.rand(3, 4, requires_grad=True), torch.tensor(0.5, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        fused(current.expand(8, 3, 4), threshold, Dynamics())
    assert {tensor.data_ptr() for tensor in saved} == {current.data_ptr(), threshold.data_ptr()}


@pytest.mark.parametrize("neuron", [fused, rate_lif])
def test_inputs_are_left_as_they_are(neuron):
    current, threshold, upstream = problem(torch.float32)
    before = [tensor.clone() for tensor in (current, threshold, upstream)]
    outcome(neuron, Dynamics(), current, threshold, upstream)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip((current, threshold, upstream), before, strict=True))


@resets
@detached
@pytest.mark.parametrize("expanded", [False, True], ids=["current", "expanded"])
@pytest.mark.parametrize("per_channel", [False, True], ids=["scalar", "per channel"])
@relative
def test_a_start_and_a_trained_leak_are_fused_as_in_plain(reset, detach_reset, relative_surrogate, per_channel, expanded):
    current, threshold, upstream = problem(torch.float64, per_channel=per_channel, expanded=expanded)

    def run(neuron):
        leak = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
        dynamics = Dynamics(6, PLIF(reset=reset, start=0.5), Triangle(), detach_reset, relative_surrogate=relative_surrogate)
        return *outcome(partial(neuron, leak=leak), dynamics, current, threshold, upstream), leak.grad

    plain, ours = run(unrolled), run(fused)
    assert torch.equal(ours[0], plain[0])
    assert plain[3].abs() > 1e-3
    for found, reference in zip(ours[1:], plain[1:], strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-10, atol=1e-10)


def test_half_a_threshold_at_the_start_rounds_the_rate_to_the_nearest():
    current = torch.tensor([0.3, 0.4, 0.6, 0.7]).expand(4, 4)
    rounded = unrolled(current, 1.0, Dynamics(4, neuron=LIF(reset="subtract", start=0.5))).mean(0)
    floored = unrolled(current, 1.0, Dynamics(4, neuron=LIF(reset="subtract"))).mean(0)
    assert rounded.tolist() == [0.25, 0.5, 0.5, 0.75]
    assert floored.tolist() == [0.25, 0.25, 0.5, 0.5]


@surrogates
@detached
@pytest.mark.parametrize("neuron", [MultiSpike(1), MultiSpike(3), MultiSpike(2, leak=0.9, start=0.5)], ids=repr)
@pytest.mark.parametrize("per_channel", [False, True], ids=["scalar", "per channel"])
@relative
def test_bursts_are_fused_as_in_plain(neuron, surrogate, detach_reset, relative_surrogate, per_channel):
    dynamics = Dynamics(2, neuron, surrogate, detach_reset, relative_surrogate=relative_surrogate)
    given_problem = problem(torch.float64, per_channel=per_channel)
    plain, ours = outcome(unrolled, dynamics, *given_problem), outcome(fused, dynamics, *given_problem)
    assert torch.equal(ours[0], plain[0])
    for found, reference in zip(ours[1:], plain[1:], strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-10, atol=1e-10)


class Waits(TorchDispatchMode):
    """Counts how often the processor must know a number that a GPU holds."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@resets
def test_a_trained_leak_makes_no_one_wait_for_a_number(reset):
    layer = NeuronLayer(nn.Parameter(torch.tensor(0.7)), Dynamics(6, neuron=PLIF(0.8, reset)))
    current = torch.rand(24, 3, generator=generator(0, "waits")).requires_grad_()
    with Waits() as waits:
        layer(current).sum().backward()
    assert waits.count == 0
    assert layer.leak.grad != 0
    with Waits() as waits:
        float(layer.leak.detach())
    assert waits.count == 1
