"""Attacks and threats: every attack stays within every threat it accepts, whatever the rank of the samples."""

from dataclasses import dataclass

import pytest
import torch

from robustsnn.attacks import (
    APGD,
    ATTACKS,
    DLR,
    FAB,
    FGSM,
    PGD,
    RFGSM,
    SAPGD,
    SDA,
    Boundary,
    EventPGD,
    EventSearch,
    GreedyFlips,
    Square,
    TargetedAPGD,
    accepted,
    attack,
)
from robustsnn.seeds import generator, image_seeds, noise
from robustsnn.threats import L2, THREATS, EventThreat, Flips, Linf, per_sample, positive, spread

SHAPES = {2: (6,), 3: (2, 7), 4: (2, 5, 6), 5: (3, 2, 5, 4)}
FEW = {
    "PGD": PGD(3),
    "APGD": APGD(4, restarts=2, goal=DLR()),
    "TargetedAPGD": TargetedAPGD(3, targets=2),
    "SAPGD": SAPGD(5),
    "FAB": FAB(4, targets=2, restarts=2),
    "Square": Square(15),
    "EventPGD": EventPGD(3, restarts=2),
    "GreedyFlips": GreedyFlips(3),
    "SDA": SDA(rounds=4, first=3),
    "EventSearch": EventSearch(20),
}
EVERY = [FEW.get(name, made()) for name, made in ATTACKS.items()]
OF_BALLS = [each for each in EVERY if issubclass(Linf, each.follows)]
every_attack = pytest.mark.parametrize("attack", EVERY, ids=lambda attack: type(attack).__name__)
every_attack_on_balls = pytest.mark.parametrize("attack", OF_BALLS, ids=lambda attack: type(attack).__name__)
every_rank = pytest.mark.parametrize("rank", SHAPES)
SEEDS = image_seeds(torch.arange(4), 0, "threats")


def curved(rank):
    """Samples ``[4, ...]`` of a rank, and a smooth model of four classes whose sums do not depend on the batch."""
    x = torch.rand(4, *SHAPES[rank], generator=generator(rank), dtype=torch.float64)
    weight = torch.randn(4, x[0].numel(), generator=generator(rank, "weight"), dtype=torch.float64)
    return x, lambda x: torch.sin(2 * x.flatten(1) * weight[:, None]).sum(2).T


FOLLOWED = [(attack, kind) for attack in EVERY for kind in THREATS.values() if issubclass(kind, attack.follows)]


@pytest.mark.parametrize(("attack", "kind"), FOLLOWED, ids=[f"{type(a).__name__}-{kind.__name__}" for a, kind in FOLLOWED])
@every_rank
def test_every_attack_stays_in_every_threat_it_accepts(attack, rank, kind):
    x, model = curved(rank)
    events = issubclass(kind, EventThreat)
    x = (x > 0.6).to(x) if events else x
    y = model(x).argmax(1)
    for threat in (kind(3 if events else 0.2), kind(0.0)):
        adv = attack(model, x, y, threat, rng=SEEDS)
        assert (adv.shape, adv.dtype) == (x.shape, x.dtype)
        assert threat.contains(adv, x).all()
        judge = lambda iterates, index, threat=threat: (index == 1) & threat.contains(iterates, x[index])  # noqa: E731
        assert threat.contains(attack(model, x, y, threat, rng=SEEDS, judge=judge), x).all()


@every_attack_on_balls
@pytest.mark.parametrize("threat", [Linf(0.2), L2(0.4)], ids=str)
def test_frames_are_attacked_as_the_image_of_all_their_channels(attack, threat):
    x, model = curved(5)
    y, image = model(x).argmax(1), x.flatten(1, 2)
    moving, still = attack(model, x, y, threat, rng=SEEDS), attack(model, image, y, threat, rng=SEEDS)
    torch.testing.assert_close(moving.flatten(1, 2), still, rtol=0, atol=1e-12)


@every_attack_on_balls
def test_an_attack_works_without_more_than_a_threat_and_repeats(attack):
    x, model = curved(4)
    y, state = model(x).argmax(1), torch.get_rng_state()
    assert torch.equal(attack(model, x, y, Linf(0.1)), attack(model, x, y, Linf(0.1)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("attack", [FGSM(), RFGSM(), PGD(6), APGD(8), TargetedAPGD(4), SAPGD(20), Square(60)], ids=repr)
@every_rank
def test_an_attack_beats_noise_under_either_norm(attack, rank):
    x, model = curved(rank)
    y = model(x).argmax(1)
    for threat in (Linf(0.1), L2(0.2)):
        margin = lambda x: model(x).gather(1, y[:, None])[:, 0] - model(x).scatter(1, y[:, None], -torch.inf).amax(1)  # noqa: E731
        noisy = ATTACKS["UniformNoise"](3)(model, x, y, threat, rng=SEEDS)
        assert margin(attack(model, x, y, threat, rng=SEEDS)).mean() < margin(noisy).mean()


def test_under_l2_sapgd_takes_steps_of_the_threats_length(images, labels):
    x, weight = torch.full_like(images, 0.5), torch.randn(4, 128, generator=generator(1))
    seeds = image_seeds(torch.arange(6), 0)
    start = Boundary()(x, L2(0.3), noise(seeds))
    moved = SAPGD(1)(lambda x: x.flatten(1) @ weight.T, x, labels, L2(0.3), rng=seeds)
    assert start.shape == moved.shape
    assert L2(0.3).contains(moved, x).all()
    torch.testing.assert_close((moved - x).flatten(1).norm(dim=1), torch.full((6,), 0.3))


@dataclass(frozen=True)
class Renamed:
    """A threat of another kind."""

    eps: float = 0.1


@every_attack
def test_a_threat_of_another_kind_is_refused(attack, unchecked):
    x, model = curved(4)
    for threat in (Renamed(), 0.1):
        with pytest.raises(
            ValueError, match=rf"{type(attack).__name__} does not support .*0\.1.*: use one of (Linf, L2|Flips)"
        ):
            attack(model, x, torch.zeros(4, dtype=torch.int64), threat)
    followed = L2(0.1) if attack in OF_BALLS else Flips(0.1)
    assert accepted(attack, followed) == followed


@pytest.mark.parametrize("text", ["PGD(eps=8/255)", "FGSM(norm='L2')", "Square(eps = 0.1)"])
def test_a_text_that_gives_a_radius_is_told_where_it_goes(text):
    with pytest.raises(ValueError, match=r"leave out eps and norm, which belong to the threat: set evaluation\.eps"):
        attack(text)


def test_figures_per_sample_keep_their_dimensions():
    for shape in SHAPES.values():
        x = torch.rand(4, *shape)
        sums = per_sample(torch.sum, x)
        assert sums.shape == (4, *[1] * len(shape))
        torch.testing.assert_close(sums.flatten(), x.flatten(1).sum(1))
        assert torch.equal(spread(sums.flatten(), x), sums)
    assert positive(torch.zeros(2)).min() > 0
