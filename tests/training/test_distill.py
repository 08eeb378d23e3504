"""Robust distillation: its equation, its teacher's silence, and that a training knows under whom it learns."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from robustsnn.attacks import PGD, kl_divergence
from robustsnn.data import Samples
from robustsnn.spiking import Surrogate, Triangle
from robustsnn.threats import Linf
from robustsnn.training import ARD, Along, Distilled, Natural, Regularized, Schedule, WeightPerturbed, bound, train

X = torch.rand(8, 1, 3, 3, generator=torch.Generator().manual_seed(0))
Y, SEEDS = torch.arange(8) % 3, torch.arange(8)


def net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 3), nn.Dropout(0.5))


def test_the_loss_is_its_equation_and_the_teacher_learns_nothing():
    student, teacher = net(0).eval(), net(1).train()
    value = Distilled(teacher, eps=0.1, clean=0.25)
    far = value.attack()(student, X, Y, Linf(0.1), rng=SEEDS)
    loss = value(student, X, Y, rng=SEEDS)
    answer = teacher.eval()(X)
    expected = 0.25 * kl_divergence(answer, student(X)).mean() + 0.75 * kl_divergence(answer, student(far)).mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_the_loss_of_ard_is_its_equation():
    student, teacher = net(0).eval(), net(1).eval()
    value = ARD(teacher, eps=0.1, temperature=4.0, share=0.75)
    far = PGD(2)(student, X, Y, Linf(0.1), rng=SEEDS)
    soft = kl_divergence(teacher(X) / 4, student(far) / 4).mean()
    torch.testing.assert_close(value(student, X, Y, rng=SEEDS), 12 * soft + 0.25 * cross_entropy(student(X), Y))
    torch.testing.assert_close(replace(value, share=0.0)(student, X, Y, rng=SEEDS), cross_entropy(student(X), Y))


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_attack_drives_student_and_teacher_apart(adaptive):
    student, teacher = net(0).eval(), net(1).eval()
    found = Distilled(teacher, eps=0.1, steps=5, adaptive=adaptive).crafted(student, X, Y, SEEDS)
    before, after = (kl_divergence(teacher(x if adaptive else X), student(x)).mean() for x in (X, found))
    assert after > before
    assert float((found - X).abs().max()) <= 0.1 + 1e-6


def test_a_name_is_bound_wherever_it_stands():
    teacher = net(1)
    for value in (
        Distilled("ann"),
        ARD("ann"),
        WeightPerturbed(Distilled("ann")),
        Along(Distilled("ann"), (Surrogate(Triangle()),)),
        Regularized(Along(Distilled("ann")), Nothing(), 0.1),
    ):
        found = bound(value, {"ann": teacher}.__getitem__)
        while not hasattr(found, "teacher"):
            found = getattr(found, "inner", None) or found.objective
        assert found.teacher is teacher
    assert bound(Natural(), {}.__getitem__) == Natural()


class Nothing:
    def __call__(self, net, x, y):
        return torch.zeros(())


def test_a_teacher_that_is_only_a_name_is_asked_for():
    for kind in (Distilled, ARD):
        with pytest.raises(ValueError, match=f"{kind.__name__} has no teacher"):
            kind("ann")(net(0), X, Y, rng=SEEDS)


def test_a_training_under_another_teacher_is_another_one(tmp_path):
    data = Samples(X, Y, 3)
    state, schedule = tmp_path / "x.state", Schedule(1, 4, 0.1)
    train(net(0), data, data, Distilled(net(1), eps=0.1), schedule, probe=None, state=state)
    train(net(0), data, data, Distilled(net(1), eps=0.1), schedule, probe=None, state=state)
    with pytest.raises(ValueError, match="other settings"):
        train(net(0), data, data, Distilled(net(2), eps=0.1), schedule, probe=None, state=state)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Distilled, {"clean": 1.5}),
        (Distilled, {"eps": -0.1}),
        (ARD, {"steps": 0}),
        (ARD, {"share": 2}),
        (ARD, {"temperature": 0}),
    ],
)
def test_values_out_of_range_are_refused(kind, options):
    with pytest.raises(ValueError, match=next(iter(options)).rstrip("s")):
        kind(**options)
