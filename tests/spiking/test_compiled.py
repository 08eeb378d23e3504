"""Machine code against the definition. Layers here are small, so the size from which on they are compiled is set to 0."""

import warnings

import pytest
import torch

from robustsnn.compute import machine_code
from robustsnn.seeds import generator
from robustsnn.spiking import Dynamics, Exponential, Rectangle, StraightThrough, Triangle, compiled, lif
from robustsnn.spiking.kernels import fused_lif, potentials
from robustsnn.spiking.neuron import membrane

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture(autouse=True)
def _always(monkeypatch):
    monkeypatch.setattr(machine_code, "SMALLEST", 0)
    machine_code.compiles.cache_clear()
    if not machine_code.compiles("cpu"):
        pytest.skip("this machine has no C++ compiler")


def outcome(neuron, dynamics, current, threshold, upstream):
    """Spikes, and the gradients of current and threshold."""
    current, threshold = current.detach().requires_grad_(), threshold.clone().requires_grad_()
    spikes = neuron(current, threshold, dynamics)
    spikes.backward(upstream)
    return spikes.detach(), current.grad, threshold.grad


def problem(per_channel, channels_last, steps=5):
    rng = generator(0, "compiled")
    current = torch.randn(steps * 3, 4, 5, 7, generator=rng).mul(0.6).add(0.3)
    if channels_last:
        current = current.contiguous(memory_format=torch.channels_last)
    threshold = torch.tensor([0.4, 0.8, 1.2, 0.6]).view(4, 1, 1) if per_channel else torch.tensor(0.7)
    upstream = torch.randn(steps * 3, 4, 5, 7, generator=rng)
    return current.unflatten(0, (steps, -1)), threshold, upstream.unflatten(0, (steps, -1))


WHOLE = Dynamics()
OTHERS = [
    Dynamics(surrogate=Triangle(0.25), reset="subtract", start=0.5),
    Dynamics(surrogate=Exponential(0.3, 2.0), leak=0.9, detach_reset=True),
    Dynamics(surrogate=Rectangle(0.5), reset="subtract", leak=0.5),
    Dynamics(surrogate=StraightThrough()),
]


@pytest.mark.parametrize(
    ("dynamics", "channels_last", "per_channel"),
    [
        *((WHOLE, channels_last, per_channel) for channels_last in (False, True) for per_channel in (False, True)),
        *((dynamics, True, False) for dynamics in OTHERS),
        (OTHERS[0], True, True),
    ],
    ids=repr,
)
def test_machine_code_is_the_definition(dynamics, channels_last, per_channel, monkeypatch):
    given = problem(per_channel, channels_last)
    plain = outcome(lif, dynamics, *given)
    monkeypatch.setattr("robustsnn.spiking.kernels._step_by_step", None)
    monkeypatch.setattr("robustsnn.spiking.kernels.recursion", None)  # only machine code is left
    fused = outcome(fused_lif, dynamics, *given)
    assert torch.equal(fused[0], plain[0])
    assert 0.05 < plain[0].mean() < 0.95, "the problem is too easy"
    for ours, reference in zip(fused[1:], plain[1:], strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-6, atol=1e-6 * float(plain[1].norm()))
    assert fused[0].stride() == given[0].stride()
    for ours, theirs in zip(compiled.membrane(*given[:2], dynamics), membrane(*given[:2], dynamics), strict=True):
        assert torch.equal(ours, theirs)


def test_a_constant_current_needs_no_memory_of_its_own():
    current, threshold, upstream = problem(False, False)
    given = (current[:1].expand(5, -1, -1, -1, -1), threshold, upstream)
    for ours, reference in zip(outcome(fused_lif, Dynamics(), *given), outcome(lif, Dynamics(), *given), strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-6, atol=1e-5)


def test_all_widths_of_a_surrogate_share_one_machine_code():
    given = problem(False, False)
    outcome(fused_lif, Dynamics(surrogate=Triangle(1.0)), *given)
    made = machine_code.code_for.cache_info().currsize
    for width in (0.5, 2.0, 3.0):
        dynamics = Dynamics(surrogate=Triangle(width))
        torch.testing.assert_close(outcome(fused_lif, dynamics, *given)[1], outcome(lif, dynamics, *given)[1])
    assert machine_code.code_for.cache_info().currsize == made


def test_a_surrogate_of_ones_own_and_a_trained_leak_run_step_by_step():
    class Own:
        def __call__(self, u):
            return 1 / (1 + u.abs())

    current, threshold, upstream = problem(False, False)
    assert compiled.gradients(upstream, current, threshold, Dynamics(surrogate=Own())) is None
    assert compiled.spikes(current, threshold, Dynamics(leak=torch.tensor(0.9))) is None
    assert compiled.spikes(current, threshold, Dynamics(surrogate=Own())) is not None


def test_without_a_compiler_a_warning_says_so_once_and_all_goes_on(monkeypatch):
    machine_code.compiles.cache_clear()
    monkeypatch.setattr(torch, "compile", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no compiler here")))
    given = problem(False, False)
    with pytest.warns(UserWarning, match=r"step by step.*no compiler here"):
        spikes = fused_lif(given[0], given[1], Dynamics())
    assert torch.equal(spikes, lif(given[0], given[1], Dynamics()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(potentials(given[0], given[1], Dynamics()), membrane(given[0], given[1], Dynamics())[0])
    machine_code.compiles.cache_clear()
