"""Every attack under L-infinity gives the samples that it gave before threats were values (attacks.safetensors)."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from robustsnn.attacks import (
    APGD,
    DLR,
    FAB,
    FGSM,
    PGD,
    RFGSM,
    SAPGD,
    Boundary,
    CornerNoise,
    Gaussian,
    KullbackLeibler,
    Square,
    TargetedAPGD,
    UniformNoise,
)
from robustsnn.seeds import generator, image_seeds
from robustsnn.threats import Linf
from robustsnn.training.fast import NoisyStep

GOLDEN = load_file(Path(__file__).with_name("attacks.safetensors"))
ATTACKS = {
    "FGSM": FGSM(),
    "RFGSM": RFGSM(),
    "RFGSM of the divergence": RFGSM(alpha=0.5, goal=KullbackLeibler()),
    "PGD": PGD(4),
    "PGD, restarts": PGD(3, restarts=3),
    "PGD of the divergence": PGD(3, goal=KullbackLeibler(), start=Gaussian()),
    "PGD from the boundary": PGD(3, start=Boundary()),
    "APGD": APGD(7),
    "APGD of DLR, restarts": APGD(5, goal=DLR(), restarts=2),
    "TargetedAPGD": TargetedAPGD(4, targets=2),
    "SAPGD": SAPGD(8),
    "SAPGD, restarts": SAPGD(4, restarts=2),
    "Square": Square(40),
    "Square, restarts": Square(25, p=0.3, restarts=2),
    "FAB": FAB(5, restarts=2),
    "UniformNoise": UniformNoise(3),
    "CornerNoise": CornerNoise(3),
    "NoisyStep": NoisyStep(2.0),
}


def curved(shape):
    """A smooth model of four classes in float64, whose sums do not depend on the batch."""
    weight = torch.randn(4, shape[1] * shape[2] * shape[3], generator=generator(5, "golden"), dtype=torch.float64)
    return lambda x: torch.sin(2 * x.flatten(1) * weight[:, None]).sum(2).T


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("shape", [(4, 2, 5, 6), (2, 1, 9, 8)], ids=str)
def test_an_attack_gives_the_samples_that_it_gave_before(name, shape):
    model, size = curved(shape), "x".join(map(str, shape))
    x = torch.rand(shape, generator=generator(0, "golden"), dtype=torch.float64)
    y, seeds = model(x).argmax(1), image_seeds(torch.arange(len(x)), 0, "golden")
    judge = lambda adv, index: (model(adv).argmax(1) != y[index]) & (index != 1)  # noqa: E731
    ways = {"": {"rng": seeds}, ", judged": {"rng": seeds, "judge": judge}, ", drawn": {"rng": generator(1, "golden")}}
    for way, how in ways.items():
        if (key := f"{name}, {size}{way}") in GOLDEN:
            adv = ATTACKS[name](model, x, y, Linf(0.1), **how)
            torch.testing.assert_close(adv.float(), GOLDEN[key], rtol=0, atol=1e-6)


def test_all_that_was_kept_is_compared():
    assert {key.rpartition(", 4x")[0] or key.rpartition(", 2x")[0] for key in GOLDEN} == {*ATTACKS}
