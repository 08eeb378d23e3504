"""The mixing of two branches by machine code, against its definition."""

import pytest
import torch
from torch import fx

from robustsnn.compute import machine_code
from robustsnn.compute.mixing import mixed, mixture
from robustsnn.models.resnets import Mix
from robustsnn.seeds import generator

WEIGHTS = torch.tensor([0.3, 0.8], dtype=torch.float64)


@pytest.fixture
def always(monkeypatch):
    """Machine code at any size."""
    monkeypatch.setattr(machine_code, "SMALLEST", 0)
    monkeypatch.setattr(machine_code, "EACH", 0)
    machine_code.compiles.cache_clear()
    if not machine_code.compiles("cpu"):
        pytest.skip("this machine has no C++ compiler")


@pytest.fixture
def calls(always, monkeypatch):
    """How often machine code ran."""
    made, counted = machine_code.code_for, []
    monkeypatch.setattr(machine_code, "code_for", lambda *kind: counted.append(kind) or made(*kind))
    return counted


def branches(layout=torch.channels_last, dtype=torch.float32):
    rng = generator(0, "mixing")
    return [torch.randn(6, 4, 5, 7, generator=rng, dtype=dtype).contiguous(memory_format=layout) for _ in range(3)]


def outcome(mix, weights, one, other, upstream):
    """The mixture, and the gradients of all that was mixed and that has one."""
    given = [x.detach().requires_grad_(x.requires_grad) for x in (weights, one, other)]
    y = mix(*given)
    return y, torch.autograd.grad(y, [x for x in given if x.requires_grad], upstream)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["last", "first"])
@pytest.mark.parametrize("learnt", [True, False], ids=["learnt", "frozen"])
def test_machine_code_mixes_to_the_bit_and_has_the_gradients_of_the_definition(layout, learnt, calls):
    one, other, upstream = branches(layout)
    weights = WEIGHTS.float().requires_grad_(learnt)
    found, expected = (
        outcome(mix, weights, one.requires_grad_(), other.requires_grad_(), upstream) for mix in (mixed, mixture)
    )
    assert torch.equal(found[0], expected[0])
    assert found[0].stride() == one.stride()
    torch.testing.assert_close(found[1], expected[1], rtol=1e-6, atol=1e-6)
    assert len(calls) == 2  # there and back


def test_the_gradients_are_those_of_finite_differences(always):
    one, other, _ = branches(dtype=torch.float64)
    given = [x[:2, :2, :2, :2].contiguous().requires_grad_() for x in (one, other)]
    assert torch.autograd.gradcheck(mixed, (WEIGHTS.clone().requires_grad_(), *given))
    assert torch.autograd.gradgradcheck(mixed, (WEIGHTS.clone().requires_grad_(), *given))


def test_frozen_weights_keep_no_tensor_for_the_way_back(always):
    one, other, _ = branches()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda x: x):
        mixed(WEIGHTS.float(), one.requires_grad_(), other)
    assert [tuple(x.shape) for x in kept] == [(2,)]


def test_other_layouts_on_the_way_there_and_back_are_no_matter(calls):
    one, other, upstream = branches()
    apart = other.contiguous()
    assert torch.equal(mixed(WEIGHTS.float(), one, apart), mixture(WEIGHTS.float(), one, other))
    assert calls == []
    given = WEIGHTS.float().requires_grad_(), one.requires_grad_(), other, upstream.contiguous()
    torch.testing.assert_close(outcome(mixed, *given), outcome(mixture, *given))
    assert len(calls) == 1  # there, not back


def test_what_is_small_is_mixed_by_the_definition(monkeypatch):
    monkeypatch.setattr(machine_code, "code_for", None)
    one, other, _ = branches()
    assert torch.equal(mixed(WEIGHTS.float(), one, other), mixture(WEIGHTS.float(), one, other))


def test_who_follows_a_forward_pass_sees_the_definition(always):
    assert {"mul", "mul_1", "add"} <= {node.name for node in fx.symbolic_trace(Mix()).graph.nodes}
    one, other, _ = branches()
    program = torch.export.export(Mix(), (one, other))
    assert [node.name for node in program.graph.nodes if node.op == "call_function"][-3:] == ["select_1", "mul_1", "add"]
