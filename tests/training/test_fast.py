"""Adversarial training with one gradient step: where the noisy step lies, and what it does to the loss."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustsnn.threats import Linf
from robustsnn.training import NoisyFast
from robustsnn.training.fast import NoisyStep
from robustsnn.training.objectives import within

X = torch.rand(16, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(16) % 3
SEEDS = torch.arange(16)


def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def test_the_step_is_a_full_one_from_noise_that_is_not_projected():
    model = net()
    found = NoisyStep(2.0)(model, 0.25 + X / 2, Y, Linf(0.05), rng=SEEDS)
    far = (found - (0.25 + X / 2)).abs()
    assert 0.1 < float(far.max()) <= 0.15 + 1e-6  # beyond eps: the sum is not projected
    start = NoisyStep(2.0)(model, X, Y, Linf(0.0), rng=SEEDS)
    assert torch.equal(start, X)


def test_pixels_stay_in_their_range():
    found = NoisyStep(2.0)(net(), X.round(), Y, Linf(0.3), rng=SEEDS)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_the_step_raises_the_loss_of_the_noisy_image():
    model = net()
    noisy = NoisyStep(1e5)(model, X, Y, Linf(1e-6), rng=SEEDS)
    stepped = NoisyStep(2.0)(model, X, Y, Linf(0.05), rng=SEEDS)
    before, after = (F.cross_entropy(model(x), Y) for x in (noisy, stepped))
    assert after > before


def test_labels_are_smoothed():
    model = net()
    hard, soft = (NoisyFast(0.05, smoothing=s)(model, X, Y, rng=SEEDS) for s in (0.0, 0.5))
    assert not torch.isclose(hard, soft)


def test_its_epochs_are_chosen_at_its_radius():
    assert within(NoisyFast(0.05)) == Linf(0.05)


@pytest.mark.parametrize("options", [{"eps": -0.1}, {"noise": -1.0}, {"smoothing": 1.0}])
def test_values_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        NoisyFast(**options)
