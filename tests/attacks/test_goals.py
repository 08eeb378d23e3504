import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from robustsnn.attacks import CrossEntropy, KullbackLeibler, kl_divergence

logits = st.lists(st.floats(-20, 20, width=32), min_size=6, max_size=6).map(lambda values: torch.tensor(values).view(2, 3))
X = torch.rand(4, 3, 1, 1, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0])


@given(logits, logits)
def test_the_divergence_is_torchs(p, q):
    expected = F.kl_div(F.log_softmax(q.double(), 1), F.log_softmax(p.double(), 1), reduction="none", log_target=True).sum(1)
    torch.testing.assert_close(kl_divergence(p.double(), q.double()), expected)


@given(logits, logits, st.floats(-10, 10))
def test_the_divergence_is_a_distance_of_answers(p, q, shift):
    assert (kl_divergence(p, q) >= -1e-5).all()
    torch.testing.assert_close(kl_divergence(p, p), torch.zeros(2))
    torch.testing.assert_close(kl_divergence(p + shift, q), kl_divergence(p, q), rtol=1e-3, atol=1e-3)


def test_gradients_flow_through_both_arguments():
    p, q = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    kl_divergence(p, q).sum().backward()
    torch.testing.assert_close(q.grad, q.softmax(1) - p.softmax(1))
    assert p.grad.norm() > 0


def test_cross_entropy_is_that_of_each_image_on_its_own_label():
    index = torch.tensor([2, 0])
    losses = CrossEntropy().on(nn.Flatten(), X, Y)
    expected = torch.stack([F.cross_entropy(X[i].flatten()[None], Y[i : i + 1]) for i in index])
    torch.testing.assert_close(losses(X[index].flatten(1), index), expected)


def test_kullback_leibler_is_measured_from_the_answer_on_the_clean_image():
    index = torch.tensor([3, 1])
    losses = KullbackLeibler().on(nn.Flatten(), X, Y)
    moved = X[index].flatten(1) * 3
    torch.testing.assert_close(losses(moved, index), kl_divergence(X[index].flatten(1), moved))
    torch.testing.assert_close(losses(X[index].flatten(1), index), torch.zeros(2))


def test_kullback_leibler_needs_no_label_and_no_gradient_of_the_clean_answer():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 3))
    losses = KullbackLeibler().on(model, X, Y)
    assert torch.equal(
        losses(model(X * 2), torch.arange(4)), KullbackLeibler().on(model, X, 0 * Y)(model(X * 2), torch.arange(4))
    )
    moved = (X * 2).requires_grad_()
    losses(moved.flatten(1), torch.arange(4)).sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("goal", [CrossEntropy(), KullbackLeibler()], ids=repr)
def test_goals_are_values(goal):
    assert goal == type(goal)()
    assert hash(goal) == hash(type(goal)())
