"""The worst case over an ensemble: who broke which image, whatever the batch, and whatever an attack claims."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn.attacks import FGSM, PGD, RFGSM
from robustsnn.conversion import spiking
from robustsnn.data import digits
from robustsnn.evaluation import MISCLASSIFIED, ROBUST, Member, worst_case
from robustsnn.models import create
from robustsnn.seeds import generator, image_seeds
from robustsnn.spiking import Analog, Dynamics, Plain, Rate, StraightThrough, Surrogate, Triangle
from robustsnn.threats import Ball, Linf
from robustsnn.training import Natural, Schedule, train

pytestmark = pytest.mark.usefixtures("unchecked")

COUNT = 16
SEEDS = image_seeds(torch.arange(COUNT), "test worst case")
EPS = 0.06
NEAR = Linf(EPS)
ENSEMBLE = (
    Member(FGSM(), NEAR, Surrogate(Triangle(1.0))),
    Member(PGD(3), NEAR, Rate()),
    Member(RFGSM(), NEAR, Analog()),
    Member(PGD(4), NEAR, Surrogate(StraightThrough())),
)


@cache
def victims():
    """A briefly trained ANN and an SNN of it, images, and labels that the SNN gets right but for two."""
    images = digits().train
    ann = create("digits", 10, size=8, channels=1, mean=(0.305,), std=(0.376,), width=0.25)
    train(ann, images.take(torch.arange(400)), images.take(torch.arange(400, 420)), Natural(), Schedule(6, 32), probe=None)
    x, _ = images.batch(torch.arange(500, 500 + COUNT))
    net = spiking(ann, x, Dynamics(3), threshold=0.5).eval()
    y = net(x).argmax(1)
    y[[3, 9]] = (y[[3, 9]] + 1) % 10
    return ann, net, x, y


@cache
def measured(members=ENSEMBLE, rule="any", which="snn"):
    ann, net, x, y = victims()
    return worst_case(members, net if which == "snn" else ann, x, y, rng=SEEDS, rule=rule)


def broken(*args):
    return measured(*args)[1]


def test_the_ensemble_leaves_something_to_see():
    """Every fate occurs, so that the laws below can fail."""
    assert {ROBUST, MISCLASSIFIED} < set(broken().tolist())
    assert len(set(broken().tolist()) - {ROBUST, MISCLASSIFIED}) >= 2


def test_who_is_misclassified_without_an_attack_is_marked_so():
    _, net, x, y = victims()
    assert torch.equal(broken() == MISCLASSIFIED, net(x).argmax(1) != y)
    assert (broken() == MISCLASSIFIED).nonzero().flatten().tolist() == [3, 9]


@settings(max_examples=8)
@given(st.permutations(range(COUNT)), st.integers(1, COUNT), st.sampled_from(["any", "last"]))
def test_neither_order_nor_size_of_a_batch_decides_who_breaks_an_image(order, size, rule):
    _, net, x, y = victims()
    adv, flags = measured(ENSEMBLE, rule)
    for part in torch.tensor(order).split(size):
        found = worst_case(ENSEMBLE, net, x[part], y[part], rng=SEEDS[part], rule=rule)
        assert torch.equal(found[1], flags[part])
        assert torch.equal(found[0], adv[part])


@pytest.mark.parametrize("rule", ["any", "last"])
@pytest.mark.parametrize("member", ENSEMBLE, ids=str)
def test_the_robust_set_of_an_ensemble_is_inside_every_members(member, rule):
    """Also of one whose random start breaks an image now and then: it starts there in every ensemble."""
    _, net, x, y = victims()
    for start in range(8):
        seeds = image_seeds(SEEDS, "start", start)
        together, alone = (worst_case(some, net, x, y, rng=seeds, rule=rule)[1] for some in (ENSEMBLE, (member,)))
        assert (alone[together == ROBUST] == ROBUST).all()


@pytest.mark.parametrize("count", range(len(ENSEMBLE)))
def test_a_further_member_only_changes_the_fate_of_survivors(count):
    fewer, more = broken(ENSEMBLE[:count]), broken(ENSEMBLE[: count + 1])
    settled = fewer != ROBUST
    assert torch.equal(fewer[settled], more[settled])
    assert set(more[~settled].tolist()) <= {ROBUST, count}


@pytest.mark.parametrize("which", ["ann", "snn"])
def test_judging_every_iterate_is_at_least_as_strong_as_judging_the_last(which):
    members = ENSEMBLE if which == "snn" else (Member(PGD(6), NEAR, Plain()),)
    every, last = (broken(members, rule, which) for rule in ("any", "last"))
    assert (last[every == ROBUST] == ROBUST).all()


def test_judging_every_iterate_finds_what_the_last_one_passed_over():
    class Passing(PGD):
        def __call__(self, model, x, y, threat, *, rng, judge=None):
            if judge is None:
                return x
            return super().__call__(model, x, y, threat, rng=rng, judge=judge)

    member = (Member(Passing(5), Linf(0.3), Surrogate(Triangle(1.0))),)
    assert (broken(member, "last") != 0).all()
    assert (broken(member, "any") == 0).any()


@pytest.mark.parametrize("rule", ["any", "last"])
def test_the_images_prove_the_verdict(rule):
    _, net, x, y = victims()
    adv, flags = worst_case(ENSEMBLE, net, x, y, rng=SEEDS, rule=rule)
    assert torch.equal(net(adv).argmax(1) != y, flags != ROBUST)
    assert (adv - x).abs().max() <= EPS + 1e-6
    assert 0 <= adv.min() <= adv.max() <= 1
    assert torch.equal(adv[flags == MISCLASSIFIED], x[flags == MISCLASSIFIED])


@dataclass(frozen=True)
class Liar:
    """An attack that returns what ``image(x)`` says, whatever it was asked for."""

    image: object
    follows = (Ball,)

    def __call__(self, model, x, y, threat, *, rng, judge=None):
        return self.image(x)


LIES = {
    "outside the ball": lambda x: x + 0.5,
    "outside the box": lambda x: x * 100 - 50,
    "NaN": lambda x: torch.full_like(x, torch.nan),
    "infinity": lambda x: torch.full_like(x, -torch.inf),
    "the very images it was given, moved": lambda x: x.sub_(0.5),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_an_attack_returns_is_clipped_and_judged_by_the_caller(lie):
    _, net, x, y = victims()
    adv, flags = worst_case([Member(Liar(LIES[lie]), Linf(0.1), Plain())], net, x, y, rng=SEEDS)
    assert (adv - x).abs().max() <= 0.1 + 1e-6
    assert 0 <= adv.min() <= adv.max() <= 1
    assert torch.equal(flags != ROBUST, net(adv).argmax(1) != y)


def test_an_attack_that_claims_success_is_not_believed():
    @dataclass(frozen=True)
    class Claim(Liar):
        def __call__(self, model, x, y, threat, *, rng, judge=None):
            y.add_(1)
            return self.image(x)

    _, net, x, y = victims()
    before = y.clone()
    flags = worst_case([Member(Claim(lambda x: x), Linf(0.1), Plain())], net, x, y, rng=SEEDS)[1]
    assert torch.equal(y, before)
    assert (flags == ROBUST).sum() == COUNT - 2


@pytest.mark.parametrize("which", ["ann", "snn"])
@pytest.mark.parametrize("training", [False, True])
def test_the_network_stays_as_it_is_and_is_judged_in_eval_mode(which, training, unchanged):
    ann, net, x, y = victims()
    victim, members = (ann, [Member(PGD(2), NEAR, Plain())]) if which == "ann" else (net, ENSEMBLE)
    images = x.clone()
    victim.train(training)
    try:
        with unchanged(victim):
            flags = worst_case(members, victim, x, y, rng=SEEDS)[1]
    finally:
        victim.eval()
    assert torch.equal(flags, worst_case(members, victim, x, y, rng=SEEDS)[1])
    assert torch.equal(x, images)


def test_members_to_whom_nobody_is_left_are_not_asked():
    asked = []

    class Recorder(PGD):
        def __call__(self, model, x, y, threat, *, rng, judge=None):
            asked.append(len(x))
            return x

    _, net, x, y = victims()
    first, after = Member(PGD(5), Linf(0.9), Analog()), Member(Recorder(3), NEAR, Rate())
    left = int((worst_case((first,), net, x, y, rng=SEEDS)[1] == ROBUST).sum())
    worst_case((first, after), net, x, y, rng=SEEDS)
    assert asked == ([left] if left else [])


@dataclass(frozen=True)
class Noting(PGD):
    """PGD that keeps the images that it was asked to attack."""

    asked: tuple[object, ...] = field(default=(), compare=False, repr=False)

    def __call__(self, model, x, y, threat, *, rng=None, judge=None):
        self.asked[0].append(x.clone())
        return super().__call__(model, x, y, threat, rng=rng, judge=judge)


def margin(net, x, y):
    others = net(x).scatter(1, y[:, None], -torch.inf)
    return others.amax(1) - net(x).gather(1, y[:, None])[:, 0]


@pytest.mark.parametrize("share", [1.0, 0.8, 0.5, 0.0])
def test_a_member_gives_up_images_that_nobody_before_it_brought_near(share):
    """FGSM judges one iterate, its result, so the margin that it reached can be computed again from that."""
    _, net, x, y = victims()
    asked = []
    first = Member(FGSM(), Linf(0.03), Surrogate(Triangle(1.0)))
    after = Member(Noting(3, asked=(asked,)), NEAR, Rate(), give_up=share)
    adv, alone = worst_case((first,), net, x, y, rng=SEEDS)
    with torch.no_grad():
        clean, reached = margin(net, x, y), torch.maximum(margin(net, x, y), margin(net, adv, y))
    attacked = (alone == ROBUST) & ((reached >= share * clean) | (share == 1))
    worst_case((first, after), net, x, y, rng=SEEDS)
    assert torch.equal(torch.cat([*asked, x[:0]]), x[attacked])
    if share == 0.8:
        assert 0 < attacked.sum() < (alone == ROBUST).sum()


@settings(max_examples=5)
@given(st.permutations(range(COUNT)), st.integers(1, COUNT))
def test_what_is_given_up_depends_on_no_other_image(order, size):
    _, net, x, y = victims()
    members = [replace(member, give_up=share) for member, share in zip(ENSEMBLE, (1.0, 0.9, 0.7, 0.5), strict=True)]
    adv, flags = worst_case(members, net, x, y, rng=SEEDS)
    for part in torch.tensor(order).split(size):
        found = worst_case(members, net, x[part], y[part], rng=SEEDS[part])
        assert torch.equal(found[1], flags[part])
        assert torch.equal(found[0], adv[part])


def test_a_generator_draws_the_seeds_of_the_images():
    _, net, x, y = victims()
    first, again = (worst_case(ENSEMBLE, net, x, y, rng=generator(0, "test"))[0] for _ in range(2))
    other = worst_case(ENSEMBLE, net, x, y, rng=generator(1, "test"))[0]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_members_random_start_is_its_own_and_the_same_in_every_ensemble():
    drawn = []

    class Recorder(PGD):
        def __call__(self, model, x, y, threat, *, rng, judge=None):
            drawn.append(rng)
            return x

    _, net, x, y = victims()
    one, other = (Member(Recorder(3), NEAR, path) for path in (Rate(), Analog()))
    for ensemble in ((one, other), (other,)):
        worst_case(ensemble, net, x, y, rng=SEEDS)
    assert torch.equal(drawn[1], drawn[2])
    assert not (drawn[0] == drawn[1]).any()


def test_without_images_nothing_is_broken():
    _, net, x, y = victims()
    adv, flags = worst_case(ENSEMBLE, net, x[:0], y[:0], rng=SEEDS[:0])
    assert (len(adv), len(flags)) == (0, 0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("wrong", "line"), [({"rule": "best"}, "rule must be"), ({"rng": SEEDS[:3]}, "one seed per image")], ids=["rule", "seeds"]
)
def test_what_cannot_be_measured_is_refused(wrong, line):
    _, net, x, y = victims()
    with pytest.raises(ValueError, match=line):
        worst_case(ENSEMBLE, net, x, y, **{"rng": SEEDS, **wrong})
