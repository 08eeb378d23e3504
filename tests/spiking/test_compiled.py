"""Machine code against the definition. Layers here are small, so the size from which on they are compiled is set to 0."""

import warnings
from functools import partial

import pytest
import torch

from robustsnn.attacks.goals import answer, begin
from robustsnn.compute import machine_code
from robustsnn.conversion import spiking
from robustsnn.seeds import generator
from robustsnn.spiking import (
    LIF,
    PLIF,
    Adaptive,
    Dynamics,
    Exponential,
    MultiSpike,
    PotentialDependent,
    Rectangle,
    StraightThrough,
    Triangle,
    compiled,
    unrolled,
    walk,
)
from robustsnn.spiking.kernels import Firing, fused

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture(autouse=True)
def _always(monkeypatch):
    monkeypatch.setattr(machine_code, "SMALLEST", 0)
    monkeypatch.setattr(machine_code, "EACH", 0)
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
    Dynamics(neuron=LIF(reset="subtract", start=0.5), surrogate=Triangle(0.25)),
    Dynamics(neuron=LIF(leak=0.9), surrogate=Exponential(0.3, 2.0), detach_reset=True),
    Dynamics(neuron=LIF(reset="subtract", leak=0.5), surrogate=Rectangle(0.5)),
    Dynamics(surrogate=StraightThrough()),
    Dynamics(surrogate=Triangle(0.5), relative_surrogate=True),
]


@pytest.mark.parametrize(
    ("dynamics", "channels_last", "per_channel"),
    [
        *((WHOLE, channels_last, per_channel) for channels_last in (False, True) for per_channel in (False, True)),
        *((dynamics, True, False) for dynamics in OTHERS),
        (OTHERS[0], True, True),
        (OTHERS[-1], False, True),
    ],
    ids=repr,
)
def test_machine_code_is_the_definition(dynamics, channels_last, per_channel, monkeypatch):
    given = problem(per_channel, channels_last)
    plain = outcome(unrolled, dynamics, *given)
    monkeypatch.setattr(LIF, "fast", None)
    monkeypatch.setattr("robustsnn.spiking.kernels.Firing._gradients", None)  # only machine code is left
    found = outcome(fused, dynamics, *given)
    assert torch.equal(found[0], plain[0])
    assert 0.05 < plain[0].mean() < 0.95, "the problem is too easy"
    for ours, reference in zip(found[1:], plain[1:], strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-6, atol=1e-6 * float(plain[1].norm()))
    assert found[0].stride() == given[0].stride()
    course = walk(*given[:2], dynamics)
    potentials, spikes = compiled.membrane(given[0], {"threshold": given[1]}, dynamics)
    assert torch.equal(potentials, torch.stack(course.potentials))
    assert torch.equal(spikes, torch.stack(course.spikes))


def test_a_constant_current_needs_no_memory_of_its_own():
    current, threshold, upstream = problem(False, False)
    given = (current[:1].expand(5, -1, -1, -1, -1), threshold, upstream)
    for ours, reference in zip(outcome(fused, Dynamics(), *given), outcome(unrolled, Dynamics(), *given), strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-6, atol=1e-5)


def test_all_widths_of_a_surrogate_share_one_machine_code():
    given = problem(False, False)
    outcome(fused, Dynamics(surrogate=Triangle(1.0)), *given)
    made = machine_code.code_for.cache_info().currsize
    for width in (0.5, 2.0, 3.0):
        dynamics = Dynamics(surrogate=Triangle(width))
        torch.testing.assert_close(outcome(fused, dynamics, *given)[1], outcome(unrolled, dynamics, *given)[1])
    assert machine_code.code_for.cache_info().currsize == made


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_a_trained_leak_is_compiled_once_for_all_its_values(reset, monkeypatch):
    given, leaks = problem(True, True), [torch.tensor(leak, requires_grad=True) for leak in (0.9, 0.6)]
    dynamics = [Dynamics(neuron=PLIF(leak, reset, start=0.5), surrogate=Triangle(2.0)) for leak in (0.9, 0.7)]
    plain = [outcome(partial(unrolled, leak=leak), dynamics[0], *given) for leak in leaks]
    expected, made = [leak.grad for leak in leaks], []
    monkeypatch.setattr(LIF, "fast", None)
    monkeypatch.setattr("robustsnn.spiking.kernels.Firing._gradients", None)
    for leak, how, reference in zip(leaks, dynamics, plain, strict=True):
        leak.grad = None
        found = outcome(partial(fused, leak=leak), how, *given)
        assert torch.equal(found[0], reference[0])
        torch.testing.assert_close(found[1:], reference[1:], rtol=1e-4, atol=1e-4)
        made.append(machine_code.code_for.cache_info().currsize)
    torch.testing.assert_close([leak.grad for leak in leaks], expected, rtol=1e-4, atol=1e-3)
    assert made[0] == made[1]


def test_bursts_fire_by_machine_code_and_go_back_step_by_step():
    given = problem(True, True)
    for neuron in (MultiSpike(3, start=0.5), MultiSpike(2, leak=0.9)):
        dynamics = Dynamics(neuron=neuron)
        expected = outcome(unrolled, dynamics, *given)
        assert torch.equal(compiled.spikes(given[0], {"threshold": given[1]}, dynamics), expected[0])
        torch.testing.assert_close(outcome(fused, dynamics, *given), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("path", [Adaptive(0.43), Adaptive(0.43, relative=True), PotentialDependent()], ids=str)
def test_paths_that_adapt_are_compiled(path, ann, images, monkeypatch):
    """Over the passes of a run that some images leave, with the statistics of the others kept."""
    net = spiking(ann, images, Dynamics(4, LIF(reset="subtract", start=0.5)), threshold=0.5).eval().requires_grad_(False)

    def gradients():
        view, found = path(net), []
        begin(view, len(images))
        for index in (torch.arange(len(images)), torch.tensor([0, 2, 3]), torch.tensor([3, 2])):
            x = images[index].requires_grad_()
            loss = answer(view, x, index).logsumexp(1).sum()
            found += torch.autograd.grad(loss, x)
        return found

    used = machine_code.code_for.cache_info().hits
    ours = gradients()
    assert machine_code.code_for.cache_info().hits > used
    monkeypatch.setattr(machine_code, "repays", lambda x, samples: False)
    for found, reference in zip(ours, gradients(), strict=True):
        assert reference.abs().max() > 0
        torch.testing.assert_close(found, reference, rtol=1e-5, atol=1e-6 * float(reference.abs().max()))


def test_a_surrogate_of_ones_own_runs_step_by_step():
    class Own:
        def __call__(self, u):
            return 1 / (1 + u.abs())

    current, threshold, upstream = problem(False, False)
    assert compiled.gradients(upstream, current, {"threshold": threshold}, Dynamics(surrogate=Own())) is None
    assert compiled.spikes(current, {"threshold": threshold}, Dynamics(surrogate=Own())) is not None


def test_without_a_compiler_a_warning_says_so_once_and_all_goes_on(monkeypatch):
    machine_code.compiles.cache_clear()
    monkeypatch.setattr(torch, "compile", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no compiler here")))
    given = problem(False, False)
    with pytest.warns(UserWarning, match=r"no compiler here.*step by step"):
        spikes = fused(given[0], given[1], Dynamics())
    assert torch.equal(spikes, unrolled(given[0], given[1], Dynamics()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = Firing(given[0], {"threshold": given[1]}, Dynamics()).v_pre
        assert torch.equal(seen, torch.stack(walk(given[0], given[1], Dynamics()).potentials))
    machine_code.compiles.cache_clear()
