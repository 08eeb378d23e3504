from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from robustsnn.attacks import APGD, PGD, SAPGD, Boundary, CrossEntropy
from robustsnn.attacks.own import Task, best_of
from robustsnn.attacks.sapgd import step_sizes
from robustsnn.seeds import generator, image_seeds, noise
from robustsnn.threats import Linf

EPS = 0.1
SEEDS = image_seeds(torch.arange(6), 0, "test")


def test_the_step_of_a_hundred_halves_after_22_then_after_3_fewer_each_time_but_at_least_6():
    expected = [0.5**j for j, window in enumerate([22, 19, 16, 13, 10, 7, 6, 6, 1]) for _ in range(window)]
    assert step_sizes(100) == expected


@pytest.mark.parametrize("steps", [1, 2, 5, 17, 100, 333])
def test_there_is_one_size_for_every_step(steps):
    sizes = step_sizes(steps)
    assert len(sizes) == steps
    assert sizes[0] == 1
    assert all(later in (earlier, earlier / 2) for earlier, later in pairwise(sizes))


def by_the_book(model, x, y, start, steps):
    """One image ``[1,2,8,8]`` by the formulas as they are written."""
    adv, m, v = start, None, None
    eta, counter, k = EPS, 0, max(int(0.22 * steps + 1e-9), 1)
    for _ in range(steps):
        adv = adv.detach().requires_grad_()
        (g,) = torch.autograd.grad(nn.functional.cross_entropy(model(adv), y), adv)
        unit, q = g / g.abs().mean(), g**2 / (g**2).mean()
        m = unit if m is None else 0.5 * m + unit
        v = q if v is None else 0.8 * v + q
        delta = (m / (v.sqrt() + 1e-12) * eta).clamp(-eta, eta)
        adv = torch.minimum(torch.maximum(adv.detach() + delta, x - EPS), x + EPS).clamp(0, 1)
        counter += 1
        if counter == k:
            eta, counter, k = eta / 2, 0, max(k - max(int(0.03 * steps + 1e-9), 1), max(int(0.06 * steps + 1e-9), 1))
    return adv


@pytest.mark.parametrize("steps", [1, 2, 7, 30])
def test_every_image_goes_the_way_the_formulas_say(ann, images, labels, steps):
    model, images = ann.double(), images.double()
    adv = SAPGD(steps)(model, images, labels, Linf(EPS), rng=SEEDS)
    start = Boundary()(images, Linf(EPS), noise(SEEDS))
    for i in range(6):
        each = slice(i, i + 1)
        expected = by_the_book(model, images[each], labels[each], start[each], steps)
        torch.testing.assert_close(adv[each], expected, rtol=0, atol=1e-9)


def test_the_start_touches_the_ball(images):
    x = torch.full_like(images, 0.5)
    delta = (Boundary()(x, Linf(EPS), noise(SEEDS)) - x).flatten(1)
    torch.testing.assert_close(delta.abs().amax(1), torch.full((6,), EPS))
    assert delta.abs().mean() == pytest.approx(EPS / 2, abs=0.01)


def blind(dark):
    """A linear model that does not see images whose first pixel is above ``dark``."""
    weight = torch.randn(128, 4, generator=generator(7, "blind"), dtype=torch.float64)
    return lambda x: (x.flatten(1) * (x[:, 0, 0, :1].detach() <= dark)).double() @ weight


def test_without_a_gradient_pixels_take_random_signs(images, labels):
    x = torch.full_like(images, 0.5)
    moved = (SAPGD(1)(blind(-1), x, labels, Linf(EPS), rng=SEEDS) - Boundary()(x, Linf(EPS), noise(SEEDS))).flatten(1)
    start = (Boundary()(x, Linf(EPS), noise(SEEDS)) - x).flatten(1)
    up, down = (torch.isclose(start + moved, (start + sign * EPS).clamp(-EPS, EPS), atol=1e-6) for sign in (1, -1))
    assert (up | down).all()
    assert up.float().mean() == pytest.approx(0.5, abs=0.06)
    assert (up[0] != up[1]).any()


def test_random_signs_are_new_at_every_step_and_restart(images, labels):
    x = torch.full_like(images, 0.5)
    seen = []
    watched = lambda pixels: seen.append(pixels.detach().clone()) or blind(-1)(pixels)  # noqa: E731
    SAPGD(3, restarts=2)(watched, x, labels, Linf(EPS), rng=SEEDS)
    assert ((seen[2] - seen[1]).sign() != (seen[1] - seen[0]).sign()).float().mean() > 0.2
    assert ((seen[5] - seen[4]).sign() != (seen[1] - seen[0]).sign()).float().mean() > 0.2


@pytest.mark.parametrize("chosen", [[3], [5, 4, 3, 2, 1, 0], [1, 4]], ids=["alone", "reversed", "among others"])
def test_an_image_without_a_gradient_does_not_touch_the_others_nor_they_it(images, labels, chosen):
    model, images = blind(0.4), images.double()
    assert (images[:, 0, 0, 0] > 0.5).any()
    assert (images[:, 0, 0, 0] < 0.3).any()
    everyone = SAPGD(6, restarts=2)(model, images, labels, Linf(EPS), rng=SEEDS)
    some = SAPGD(6, restarts=2)(model, images[chosen], labels[chosen], Linf(EPS), rng=SEEDS[chosen])
    torch.testing.assert_close(some, everyone[chosen], rtol=0, atol=1e-9)
    assert torch.equal(everyone, SAPGD(6, restarts=2)(model, images, labels, Linf(EPS), rng=SEEDS))


@pytest.mark.parametrize("scale", [1e-12, 1e-30])
def test_the_size_of_gradients_does_not_matter(images, labels, scale):
    weight = torch.randn(128, 4, generator=generator(7, "small"))
    small, usual = (lambda x, by=by: x.flatten(1) @ weight.to(x.dtype) * by for by in (scale, 1e-3))
    x = 0.25 + images / 2
    found = [SAPGD(5)(model, x, labels, Linf(EPS), rng=SEEDS) for model in (small, usual)]
    torch.testing.assert_close(*found, rtol=0, atol=1e-3)


def test_images_that_leave_do_not_change_what_becomes_of_the_others(ann, images, labels):
    model, images = ann.double(), images.double()
    gone, shown = torch.tensor([True, False, False, True, False, False]), []

    def judge(iterates, index):
        shown.append((iterates, index))
        return gone[index] & (len(shown) > 2)

    adv = SAPGD(8)(model, images, labels, Linf(EPS), rng=SEEDS, judge=judge)
    torch.testing.assert_close(adv[~gone], SAPGD(8)(model, images, labels, Linf(EPS), rng=SEEDS)[~gone], rtol=0, atol=1e-9)
    assert torch.equal(adv[gone], shown[2][0][gone])
    assert [len(index) for _, index in shown] == [6, 6, 6, 4, 4, 4, 4, 4]


def test_the_attack_raises_the_loss(net, images, labels):
    loss = lambda x: CrossEntropy().on(net, images, labels)(net(x), torch.arange(6)).sum()  # noqa: E731
    assert loss(SAPGD(20)(net, images, labels, Linf(EPS), rng=SEEDS)) > loss(images)


RESTARTED = pytest.mark.parametrize("make", [PGD, APGD, SAPGD])


@RESTARTED
def test_restarts_keep_what_broke_an_image_though_another_has_a_higher_loss(ann, images, labels, make):
    first = make(2)(ann, images, labels, Linf(EPS), rng=SEEDS)
    judge = lambda iterates, index: (iterates == first[index]).flatten(1).all(1)  # noqa: E731
    attack = make(2, restarts=4)
    assert torch.equal(attack(ann, images, labels, Linf(EPS), rng=SEEDS, judge=judge), first)
    assert not torch.equal(attack(ann, images, labels, Linf(EPS), rng=SEEDS), first)


@RESTARTED
def test_without_a_judge_restarts_keep_the_highest_loss(ann, images, labels, make):
    loss = lambda x: CrossEntropy().on(ann, images, labels)(ann(x), torch.arange(6))  # noqa: E731
    losses = [loss(make(2, restarts=n)(ann, images, labels, Linf(EPS), rng=SEEDS)) for n in (1, 2, 4)]
    assert (losses[1] >= losses[0] - 1e-6).all()
    assert (losses[2] >= losses[1] - 1e-6).all()
    assert losses[2].sum() > losses[0].sum()


@RESTARTED
def test_what_one_restart_broke_the_next_does_not_look_at(ann, images, labels, make):
    calls, attack = [], make(1, restarts=2)
    hook = ann.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    attack(ann, images, labels, Linf(EPS), rng=SEEDS, judge=lambda iterates, index: index < 4)
    hook.remove()
    assert calls[-1] == 2
    assert set(calls[len(calls) // 2 + 1 :]) == {2}


def test_of_several_runs_the_one_that_broke_an_image_is_kept_or_else_the_worthiest(images):
    index = torch.arange(6)
    found, shown = [images + 2, images + 1, images + 3], []

    def run(adv):
        return lambda chosen, judge: shown.append(chosen.tolist()) or adv[chosen]

    breaks = lambda adv, index: (index < 2) & ((adv - images[index]).flatten(1).mean(1) < 1.5)  # noqa: E731
    seeds, threat = image_seeds(index, 0, "test"), Linf(EPS)
    task = Task(nn.Flatten(), images, torch.zeros_like(index), threat, seeds, noise(seeds), breaks)
    best = best_of([run(adv) for adv in found], task, lambda logits, index: logits.sum(1))
    assert torch.equal(best, torch.cat([found[1][:2], found[2][2:]]))
    assert shown == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [2, 3, 4, 5]]
    unjudged = replace(task, judge=None)
    best = best_of([run(adv) for adv in found[:2]], unjudged, lambda logits, index: -logits.sum(1) - index)
    assert torch.equal(best, found[1][index])
