"""Members that share a forward pass find what each of them finds alone."""

import pytest
import torch

from robustsnn.attacks import FGSM, PGD
from robustsnn.evaluation.ensemble import Cost, Target, attempt, attempts
from robustsnn.evaluation.members import PUBLISHED_PATHS, Member
from robustsnn.evaluation.results import ROBUST
from robustsnn.evaluation.shared import SharedForward, runs
from robustsnn.seeds import image_seeds
from robustsnn.spiking import Adaptive, Analog, Hybrid, PotentialDependent, Rate, RateApproximation, Surrogate, Triangle
from robustsnn.threats import Linf

PATHS = (*PUBLISHED_PATHS[:-1], Hybrid(), RateApproximation(), PotentialDependent())


def fgsm(paths, eps=0.05):
    return [Member(FGSM(), Linf(eps), path) for path in paths]


def test_only_single_steps_from_the_same_image_through_the_same_forward_pass_run_together():
    members = [*fgsm([Rate(), Hybrid(), Analog(), Surrogate()]), Member(PGD(), Linf(0.05), Rate()), *fgsm([Adaptive()])]
    assert [len(run) for run in runs(members)] == [2, 1, 1, 1, 1]
    assert [member for run in runs(members) for member in run] == members
    assert [len(run) for run in runs([*fgsm([Rate()], 0.1), *fgsm([Rate()], 0.2)])] == [1, 1]


@pytest.mark.parametrize("leak", [1.0, 0.6], ids=["as made", "trained leak"])
def test_every_gradient_of_one_forward_pass_is_that_of_its_own_path(net, images, labels, leak):
    if leak != 1:
        net = net.replace(train_leak=True)
        with torch.no_grad():
            for trained in net.leaks.values():
                trained.fill_(leak)
    losses = FGSM().goal.on(net, images, labels)
    everyone = torch.arange(len(images))
    found = list(SharedForward([path(net) for path in PATHS]).gradients(images, losses))
    for path, gradient in zip(PATHS, found, strict=True):
        pixels = images.clone().requires_grad_()
        losses(path(net)(pixels), everyone).sum().backward()
        torch.testing.assert_close(gradient, pixels.grad, msg=str(path))


@pytest.mark.parametrize("eps", [0.01, 0.1, 0.5])
def test_together_they_break_what_they_break_one_by_one(net, images, eps):
    target, y = Target.of(net), net(images).argmax(1)
    run, seeds = fgsm(PATHS, eps), image_seeds(torch.arange(len(y)), 0)
    expected, alive = torch.full_like(y, ROBUST), torch.arange(len(y))
    adversarial = images.clone()
    for number, member in enumerate(run):
        if len(alive):
            adversarial[alive], broken = attempt(member, target, images[alive], y[alive], seeds[alive], "any")
            expected[alive[broken]] = number
            alive = alive[~broken]
    costs = [Cost() for _ in run]
    x_adv, broken_by = images.clone(), torch.full_like(y, ROBUST)
    for number, (index, adv, broken) in enumerate(attempts(run, target, images, y, seeds, "any", costs)):
        x_adv[index] = adv
        broken_by[index[broken]] = number
    assert torch.equal(broken_by, expected)
    torch.testing.assert_close(x_adv, adversarial)
    left = [len(y) - int(((expected >= 0) & (expected < number)).sum()) for number in range(len(run))]
    assert [cost.gradients for cost in costs] == [cost.queries for cost in costs] == left


def test_the_forward_pass_is_made_once_while_half_of_its_images_survive(net, images):
    target, y = Target.of(net), net(images).argmax(1)
    seen = []
    target.guide.body.register_forward_pre_hook(lambda module, x: seen.append(len(x[0])))
    run = fgsm([Surrogate(Triangle(width)) for width in (1.0, 1.1, 1.2)], 1e-6)
    found = attempts(run, target, images, y, image_seeds(torch.arange(len(y)), 0), "any", [Cost() for _ in run])
    assert len(list(found)) == len(run)
    assert seen == [len(images)]


def test_a_gradient_that_is_no_number_breaks_nothing(net, images, monkeypatch):
    target, y = Target.of(net), net(images).argmax(1)
    run, costs = fgsm([Rate(), Hybrid()]), [Cost(), Cost()]
    monkeypatch.setattr(SharedForward, "gradients", lambda self, x, losses: iter([torch.full_like(x, torch.nan)] * 2))
    found = list(attempts(run, target, images, y, image_seeds(torch.arange(len(y)), 0), "any", costs))
    assert len(found) == 2
    for _, adv, broken in found:
        assert torch.equal(adv, images)
        assert not broken.any()
