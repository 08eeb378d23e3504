import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustsnn.spiking import LIF, PLIF, Dynamics, Exponential, Triangle, unrolled, walk


@pytest.mark.parametrize(
    ("current", "dynamics", "spikes"),
    [
        ([0.75, 0.75, 0.75, 0.75], Dynamics(), [0, 1, 0, 1]),  # v: .75 1.5|0 .75 1.5
        ([0.75, 0.75, 0.75, 0.75], Dynamics(neuron=LIF(reset="subtract")), [0, 1, 1, 1]),  # .75 1.5|.5 1.25|.25 1.0
        ([1.0, 0.5, 0.5], Dynamics(), [1, 0, 1]),  # a potential that equals the threshold fires
        ([3.0, 0.0, 0.0, 0.0], Dynamics(), [1, 0, 0, 0]),
        ([3.0, 0.0, 0.0, 0.0], Dynamics(neuron=LIF(reset="subtract")), [1, 1, 1, 0]),
        ([0.5, 0.5, 0.5, 0.5], Dynamics(neuron=LIF(leak=0.5)), [0, 0, 0, 0]),  # .5 .75 .875 .9375: never 1
        ([0.75, 0.625, 0.0, 1.0], Dynamics(neuron=LIF(leak=0.5)), [0, 1, 0, 1]),  # .75 1.0|0 0 1.0
        ([0.75, 0.75, 0.75], Dynamics(neuron=LIF(leak=0.5, reset="subtract")), [0, 1, 0]),  # .75 1.125|.125 .8125
        ([-1.0, 1.5, 0.75], Dynamics(), [0, 0, 1]),  # negative potentials are kept
        ([1.0], Dynamics(1), [1]),
    ],
)
def test_spikes_follow_the_trace_computed_by_hand(current, dynamics, spikes):
    current = torch.tensor(current)[:, None]
    assert unrolled(current, 1.0, dynamics).flatten().tolist() == spikes
    assert torch.equal(unrolled(2 * current, torch.tensor(2.0), dynamics), unrolled(current, 1.0, dynamics))


def run(current, threshold, leak, reset):
    """Potentials before the reset and spikes, one scalar after the other."""
    v_pre, s = np.zeros_like(current), np.zeros_like(current)
    for n in range(current.shape[1]):
        v = current.dtype.type(0)
        for t in range(len(current)):
            v_pre[t, n] = leak * v + current[t, n]
            s[t, n] = v_pre[t, n] >= threshold
            v = v_pre[t, n] - s[t, n] * (v_pre[t, n] if reset == "zero" else threshold)
    return v_pre, s


values = st.integers(-8, 24).map(lambda n: n / 8) | st.floats(-2, 3)
currents = st.integers(1, 5).flatmap(
    lambda steps: st.lists(st.tuples(values, values, values), min_size=steps, max_size=steps).map(np.array)
)
leaks = st.sampled_from([1.0, 0.5, 0.9])
resets = st.sampled_from(["zero", "subtract"])


@given(currents, st.sampled_from([0.5, 1.0, 0.3]), leaks, resets)
def test_lif_is_the_loop_over_steps(current, threshold, leak, reset):
    spikes = unrolled(torch.from_numpy(current), threshold, Dynamics(neuron=LIF(leak=leak, reset=reset)))
    assert np.array_equal(spikes.numpy(), run(current, threshold, leak, reset)[1])


@pytest.mark.parametrize("threshold", [1.0, 4.0])
@pytest.mark.parametrize("surrogate", [Triangle(1.0), Triangle(0.5), Exponential()], ids=str)
def test_the_potential_left_over_is_the_error_of_the_gradient_of_a_soft_reset_count(surrogate, threshold):
    """docs/method.md, section 6: the count's derivative is ``(T - a[T]) / threshold``."""
    current = torch.linspace(0.1, 1.1, 41, dtype=torch.float64).mul_(threshold).requires_grad_()
    dynamics = Dynamics(neuron=LIF(reset="subtract", start=0.5), surrogate=surrogate, relative_surrogate=True)
    course = walk(current.expand(8, -1), threshold, dynamics)
    of_count, of_left = (
        torch.autograd.grad(x.sum(), current, retain_graph=True)[0] for x in (torch.stack(course.spikes), course.left)
    )
    torch.testing.assert_close(of_count, (8 - of_left) / threshold)
    assert of_left.abs().max() > 0.1


@pytest.mark.parametrize(("width", "swings"), [(0.25, True), (0.5, False), (1.0, False)])
def test_a_triangle_of_at_least_half_a_threshold_keeps_that_error_from_growing(width, swings):
    current = torch.linspace(0.1, 0.9, 401, dtype=torch.float64).requires_grad_()
    neuron = LIF(reset="subtract", start=0.5)
    course = walk(current.expand(32, -1), 1.0, Dynamics(neuron=neuron, surrogate=Triangle(width)))
    (error,) = torch.autograd.grad(course.left.sum(), current)
    assert bool(error.abs().max() > 32) == swings


def recursion(current, threshold, dynamics, upstream):
    """Gradients by the backward recursion of the method, section 1."""
    v_pre, s = run(current, threshold, dynamics.neuron.leak, dynamics.neuron.reset)
    g = dynamics.surrogate(torch.from_numpy(v_pre - threshold)).numpy()
    a, d_current, d_threshold = np.zeros(current.shape[1]), np.zeros_like(current), 0.0
    for t in reversed(range(len(current))):
        if dynamics.neuron.reset == "zero":
            sigma = (upstream[t] - a * v_pre[t] * (not dynamics.detach_reset)) * g[t]
            d_current[t] = a * (1 - s[t]) + sigma
            d_threshold -= sigma.sum()
        else:
            sigma = (upstream[t] - a * threshold * (not dynamics.detach_reset)) * g[t]
            d_current[t] = a + sigma
            d_threshold -= sigma.sum() + (a * s[t]).sum()
        a = dynamics.neuron.leak * d_current[t]
    return d_current, d_threshold


@given(currents, leaks, resets, st.booleans(), st.sampled_from([Triangle(1.0), Exponential(1.0, 2.0)]), st.integers(0, 99))
def test_gradients_follow_the_backward_recursion(current, leak, reset, detach_reset, surrogate, seed):
    dynamics = Dynamics(neuron=LIF(leak=leak, reset=reset), detach_reset=detach_reset, surrogate=surrogate)
    upstream = np.random.default_rng(seed).normal(size=current.shape)
    given_current = torch.tensor(current, requires_grad=True)
    threshold = torch.tensor(0.75, dtype=torch.float64, requires_grad=True)
    unrolled(given_current, threshold, dynamics).backward(torch.from_numpy(upstream))
    d_current, d_threshold = recursion(current, 0.75, dynamics, upstream)
    np.testing.assert_allclose(given_current.grad, d_current, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(threshold.grad, d_threshold, rtol=1e-9, atol=1e-12)


def test_the_gradient_through_the_reset_can_be_left_out():
    def gradient(detach_reset):
        current = torch.tensor([[1.25], [0.75]], requires_grad=True)
        unrolled(current, 1.0, Dynamics(detach_reset=detach_reset))[1].sum().backward()
        return current.grad.flatten().tolist()

    assert gradient(True) == [0.0, 0.75]  # the spike at step 1 wiped the potential: no way back
    assert gradient(False) == [-0.75 * 1.25 * 0.75, 0.75]  # a lower current would have spared it


def test_a_threshold_per_channel_acts_on_its_channel():
    current = torch.rand(4, 5, 3, 2, 2)
    threshold = torch.tensor([0.2, 0.7, 1.5]).view(3, 1, 1)
    spikes = unrolled(current, threshold, Dynamics())
    for channel, value in enumerate(threshold.flatten()):
        assert torch.equal(spikes[:, :, channel], unrolled(current[:, :, channel], value, Dynamics()))


@pytest.mark.parametrize("kind", [LIF, PLIF])
@pytest.mark.parametrize(
    "wrong", [{"leak": 0.0}, {"leak": 1.5}, {"leak": math.nan}, {"reset": "none"}, {"start": 1.0}], ids=str
)
def test_what_is_out_of_range_is_refused(kind, wrong, unchecked):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(**wrong)


def test_a_tensor_is_no_leak_of_a_value(unchecked):
    with pytest.raises(ValueError, match="leak must be a number"):
        LIF(leak=torch.tensor(0.9))
