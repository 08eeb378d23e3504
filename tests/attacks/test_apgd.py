import math

import pytest
import torch
from torch import nn

from robustsnn.attacks import APGD, DLR, PGD, SAPGD, CrossEntropy, Margin, TargetedAPGD, auto_ascend
from robustsnn.attacks.apgd import checkpoints
from robustsnn.models import create
from robustsnn.seeds import image_seeds
from robustsnn.threats import L2, Linf

EPS = 0.1
THREATS = [Linf(EPS), L2(EPS)]
SEEDS = image_seeds(torch.arange(6), 0, "test")


def curved(classes=4):
    """A smooth model with many hills, float64, whose sums do not depend on the batch."""
    weight = torch.randn(classes, 128, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return lambda x: (torch.sin(4 * x.flatten(1).double() * weight[:, None])).sum(2).T


def test_the_checkpoints_of_a_hundred_steps_are_the_papers():
    # p: 0, .22, + .19, + .16, + .13, + .10, + .07, + .06, + .06; the next one, 1.05, is past the end
    assert checkpoints(100) == (0, 22, 41, 57, 70, 80, 87, 93, 99)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 20, 37, 100, 1000])
def test_checkpoints_rise_within_the_steps(steps):
    marks = checkpoints(steps)
    assert marks[0] == 0
    assert list(marks) == sorted(set(marks))
    assert marks[-1] <= steps
    assert marks[1] == math.ceil(22 * steps / 100)


def test_few_steps_have_their_checkpoints_rounded_up():
    assert checkpoints(10) == (0, 3, 5, 6, 7, 8, 9, 10)
    assert checkpoints(20) == (0, 5, 9, 12, 14, 16, 18, 19, 20)


def climbed(loss, signs=(), eps=0.4):
    """Where an image of one grey pixel is step by step, for a ``loss [steps+1]`` and a gradient of ``signs``, then 1."""
    x, seen = torch.full((1, 1, 1, 1), 0.5), []

    def model(pixels):
        seen.append(pixels.item())
        return pixels.flatten(1)

    def losses(logits, index):
        sign = ([*signs] + [1] * len(loss))[len(seen) - 1]
        return sign * (logits[:, 0] - logits[:, 0].detach()) + loss[len(seen) - 1]

    auto_ascend(model, x, losses, worth=losses, threat=Linf(eps), start=x - eps, steps=len(loss) - 1)
    return seen


def test_where_too_few_steps_raise_the_loss_the_step_halves_and_the_best_point_is_taken_up():
    # eps = .4, start = .1; every z is the top, .9, while eta = .8. A checkpoint after steps 3 and 5.
    falling = climbed([10.0, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    after_three = [0.1 + 0.75 * 0.4 + 0.25 * (0.1 - 0.9)]  # back at .1, eta = .4, the last iterate was .9
    after_three.append(after_three[0] + 0.75 * 0.4 + 0.25 * (after_three[0] - 0.1))
    after_five = [0.1 + 0.75 * 0.2 + 0.25 * (0.1 - after_three[0])]  # back at .1 again, eta = .2
    assert falling[:7] == pytest.approx([0.1, 0.9, 0.9, 0.9, *after_three, *after_five], abs=1e-6)


def test_the_first_step_has_no_momentum_and_the_later_ones_have():
    steps = climbed([0.0, 1, 2, 3, 4], eps=0.4)
    assert steps == pytest.approx([0.1, 0.9, 0.9, 0.9, 0.9])


def test_while_the_loss_rises_the_step_stays():
    assert climbed([float(step) for step in range(21)])[1:] == pytest.approx([0.9] * 20)


def test_three_quarters_of_rising_steps_are_enough_and_fewer_are_not():
    # of the window of 4 steps from 5 to 9, after 5 steps that all rose; the start is never the best again
    ahead = [0.0, 1, 2, 3, 4, 5]
    enough, fewer = [1.0, 6, 7, 8], [1.0, 0, 7, 8]
    # the best is at the top either way: what tells is how far a step down from there is
    for window, halved in ((enough, False), (fewer, True)):
        steps = climbed([*ahead, *window, 9.0, *[0.0] * 10], signs=[1] * 9 + [-1] * 12)
        assert steps[:10] == pytest.approx([0.1, *[0.9] * 9])
        assert steps[10] == pytest.approx(0.9 - 0.75 * (0.4 if halved else 0.8), abs=1e-6)


def test_where_neither_step_nor_best_changed_the_step_halves():
    # 4 of 5 steps rise, which is enough, but the start stays the best
    assert climbed([10.0, 1, 2, 3, 4, 5, *[0.0] * 15])[6] == pytest.approx(0.2, abs=1e-6)


def test_what_is_taken_up_again_is_the_best_points_gradient_and_loss():
    uphill_at_the_start_alone = climbed([10.0, 9, 8, 7, *[0.0] * 7], signs=[1] + [-1] * 10)
    assert uphill_at_the_start_alone[:4] == pytest.approx([0.1, 0.9, 0.5, 0.1], abs=1e-6)
    assert uphill_at_the_start_alone[4] == pytest.approx(0.1 + 0.75 * 0.4 + 0.25 * (0.1 - 0.5), abs=1e-6)
    # 7 is more than the 5 of the iterate left behind, less than the 10 taken up: 2 of 4 rise, not 3
    assert climbed([10.0, 9, 8, 7, 6, 5, 7, 8, 9, 6, *[0.0] * 11])[10] == pytest.approx(0.1, abs=1e-6)


def test_a_step_just_halved_is_given_a_window_to_prove_itself():
    # halved after 5 falling steps; then 3 of 4 rise and the best stays: not again; after that, again
    steps = climbed([10.0, 9, 8, 7, 6, 5, 1, 2, 3, 4, 5, 6, 7, *[0.0] * 8])
    assert steps[6:9] == pytest.approx([0.2, 0.525, 0.525 + 0.75 * 0.375 + 0.25 * 0.325], abs=1e-6)
    assert steps[9:13] == pytest.approx([0.9] * 4, abs=1e-6)
    assert steps[13] == pytest.approx(0.1, abs=1e-6)  # .1 + .75 * .2 + .25 * (.1 - .9) is below the ball


@pytest.mark.parametrize("threat", [Linf(0.3), L2(0.3)], ids=str)
def test_without_a_judge_the_iterate_of_the_highest_loss_is_returned(ann, images, labels, threat):
    seen, hook = [], ann.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    adv = APGD(25)(ann, images, labels, threat, rng=SEEDS)
    hook.remove()
    assert len(seen) == 26
    loss = torch.stack([CrossEntropy().on(ann, images, labels)(ann(each), torch.arange(6)) for each in seen])
    best = torch.stack(seen)[loss.argmax(0), torch.arange(6)]
    assert torch.equal(adv, best)


def test_targets_leave_the_iterate_of_the_largest_margin(ann, images, labels):
    seen, hook = [], ann.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    adv = TargetedAPGD(10, targets=2)(ann, images, labels, Linf(0.3), rng=SEEDS)
    hook.remove()
    margin = lambda x: Margin().on(ann, images, labels)(ann(x), torch.arange(6))  # noqa: E731
    torch.testing.assert_close(margin(adv), torch.stack([margin(each) for each in seen[3:]]).amax(0))


@pytest.mark.parametrize(("classes", "targets", "runs"), [(2, 9, 1), (3, 9, 2), (4, 9, 3), (10, 9, 9), (10, 4, 4)])
def test_there_are_no_more_targets_than_wrong_classes(images, classes, targets, runs):
    model, calls = curved(classes), []
    attack = TargetedAPGD(2, targets=targets)
    counted = lambda x: calls.append(len(x)) or model(x)  # noqa: E731
    adv = attack(counted, images, torch.arange(6) % 2, Linf(EPS), rng=SEEDS)
    assert adv.isfinite().all()
    assert len(calls) == 1 + runs + 3 * runs + (runs if runs > 1 else 0)


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
@pytest.mark.parametrize("attack", [APGD(5, goal=DLR()), APGD(5), TargetedAPGD(5)], ids=repr)
def test_every_number_of_classes_is_attacked(images, classes, attack):
    model = curved(classes)
    labels = model(images).argmax(1)  # the ratio is 1 for every third place, and climbs no more
    worth = getattr(attack, "goal", Margin()).on(model, images, labels)
    before, after = (worth(model(x), torch.arange(6)) for x in (images, attack(model, images, labels, Linf(EPS), rng=SEEDS)))
    assert (after > before).all()


@pytest.mark.parametrize("attack", [APGD(20), APGD(20, goal=DLR()), TargetedAPGD(8)], ids=repr)
@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("chosen", [[3], [5, 4, 3, 2, 1, 0], [1, 4]], ids=["alone", "reversed", "among others"])
def test_every_image_decides_for_itself(images, labels, attack, threat, chosen):
    images = images.double()
    everyone = attack(curved(), images, labels, threat, rng=SEEDS)
    some = attack(curved(), images[chosen], labels[chosen], threat, rng=SEEDS[chosen])
    torch.testing.assert_close(some, everyone[chosen], rtol=0, atol=1e-9)


@pytest.mark.parametrize("attack", [APGD(20), TargetedAPGD(8)], ids=repr)
@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_images_that_leave_do_not_change_what_becomes_of_the_others(images, labels, attack, threat):
    images = images.double()
    alone = attack(curved(), images, labels, threat, rng=SEEDS)
    gone = torch.tensor([True, False, False, True, False, False])
    shown = []

    def judge(iterates, index):
        shown.append((iterates, index))
        return gone[index] & (len(shown) > 3)

    adv = attack(curved(), images, labels, threat, rng=SEEDS, judge=judge)
    torch.testing.assert_close(adv[~gone], alone[~gone], rtol=0, atol=1e-9)
    iterates, index = shown[3]
    assert torch.equal(adv[gone], iterates[torch.isin(index, torch.tensor([0, 3]))])
    if isinstance(attack, APGD):  # what a run among several found is judged once more
        assert all(not gone[index].any() for _, index in shown[4:])


def test_the_start_is_judged_too(images, labels):
    calls, images = [], torch.full_like(images, 0.5)
    model = lambda x: calls.append(len(x)) or curved()(x)  # noqa: E731
    start = APGD(10)(model, images, labels, Linf(EPS), rng=SEEDS, judge=lambda adv, index: index >= 0)
    assert calls == []
    torch.testing.assert_close((start - images).abs().flatten(1).amax(1), torch.full((6,), EPS))


@pytest.mark.parametrize("attack", [APGD(12), TargetedAPGD(6), SAPGD(12)], ids=repr)
@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("classes", [2, 4])
def test_a_model_that_answers_always_the_same_makes_no_trouble(images, attack, threat, classes):
    flat = lambda x: 0 * x.flatten(1)[:, :classes]  # noqa: E731
    adv = attack(flat, images, torch.arange(6) % classes, threat, rng=SEEDS)
    assert adv.isfinite().all()
    assert threat.contains(adv, images).all()


def test_auto_pgd_climbs_at_least_as_high_as_pgd(ann, images, labels):
    body = create("vggmini", classes=4, size=8, channels=2, seed=3).eval()
    for model in (ann, body, nn.Sequential(body, nn.Tanh())):
        high = {}
        for attack in (PGD(30), APGD(30)):
            adv = attack(model, images, labels, Linf(EPS), rng=SEEDS)
            high[type(attack)] = CrossEntropy().on(model, images, labels)(model(adv), torch.arange(6)).mean().item()
        assert high[APGD] >= high[PGD] - 1e-3 * abs(high[PGD])


@pytest.mark.parametrize(
    ("make", "line"),
    [
        *((lambda made=made: made(steps=0), r"steps of .* at least 1, not 0") for made in (APGD, TargetedAPGD, SAPGD)),
        *((lambda made=made: made(restarts=1.5), r"restarts of .* whole .*, not 1.5") for made in (APGD, TargetedAPGD, SAPGD)),
        (lambda: TargetedAPGD(targets=0), "targets of TargetedAPGD must be a whole number of at least 1"),
    ],
)
def test_counts_out_of_range_are_refused(make, line, unchecked):
    with pytest.raises(ValueError, match=line):
        make()
