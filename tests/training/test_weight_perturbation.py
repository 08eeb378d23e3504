"""AWP, Fast-AT and its early stop."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustsnn.conversion import folded
from robustsnn.seeds import generator
from robustsnn.training import (
    Adversarial,
    CatastrophicOverfitting,
    Epoch,
    FastAdversarial,
    Natural,
    Trades,
    WeightPerturbed,
)

INNER = Trades(eps=0.1, steps=2)


def rng():
    return generator(0, "test")


@pytest.mark.parametrize("body", ["ann", "net"])
def test_without_perturbation_it_is_the_inner_objective(body, images, labels, request):
    network = request.getfixturevalue(body)
    plain, wrapped = (loss(network, images, labels, rng=rng()) for loss in (INNER, WeightPerturbed(INNER, gamma=0.0)))
    torch.testing.assert_close(wrapped, plain)


@pytest.mark.parametrize("body", ["ann", "net"])
def test_weights_are_restored_exactly_because_they_never_change(body, images, labels, request, unchanged):
    network = request.getfixturevalue(body)
    with unchanged(network):
        WeightPerturbed(INNER, 0.05)(network, images, labels, rng=rng())


def test_the_loss_is_that_at_weights_moved_by_gamma_along_their_gradient(ann, images, labels):
    adversarial = INNER.crafted(folded(ann), images, labels, rng())
    layers = [module for module in ann.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    gradients = torch.autograd.grad(INNER.loss(ann, images, adversarial, labels), [layer.weight for layer in layers])
    found = WeightPerturbed(INNER, 0.02)(ann, images, labels, rng=rng())
    plain = INNER.loss(ann, images, adversarial, labels)
    with torch.no_grad():
        for layer, gradient in zip(layers, gradients, strict=True):
            layer.weight += 0.02 * layer.weight.norm() * gradient / gradient.norm()
    torch.testing.assert_close(found, INNER.loss(ann, images, adversarial, labels))
    assert found > plain


def test_all_parameters_learn_and_batch_norms_see_the_outer_passes_only(ann, images, labels):
    ann.train()
    seen = {name: int(value) for name, value in ann.state_dict().items() if name.endswith("num_batches_tracked")}
    WeightPerturbed(INNER, 0.02)(ann, images, labels, rng=rng()).backward()
    assert all(parameter.grad is not None for parameter in ann.parameters())
    assert all(int(ann.state_dict()[name]) == count + 2 for name, count in seen.items())


@pytest.mark.parametrize("make", [lambda: WeightPerturbed(Natural()), lambda: WeightPerturbed(INNER, gamma=-0.1)])
def test_what_cannot_be_perturbed_is_refused(make, unchecked):
    with pytest.raises(ValueError, match=r"robust objective|gamma"):
        make()


def test_fast_adversarial_training_takes_one_long_step(ann, images, labels):
    adversarial = FastAdversarial(eps=0.1).crafted(folded(ann), images, labels, rng())
    torch.testing.assert_close(FastAdversarial(0.1)(ann, images, labels, rng=rng()), F.cross_entropy(ann(adversarial), labels))
    inside = (images > 0.1) & (images < 0.9)
    assert ((adversarial - images).abs()[inside] > 0.1 - 1e-6).float().mean() > 0.5  # 1.25 eps reaches the ball's border often
    assert FastAdversarial(0.1).attack() != Adversarial(0.1).attack()


def test_training_ends_when_robustness_has_collapsed():
    robust = [0.3, 0.5, 0.45, 0.2]
    history = [Epoch(i, 1.0, 0.9, r, 0.1, 1.0) for i, r in enumerate(robust)]
    assert [CatastrophicOverfitting(0.2)(history[: i + 1]) for i in range(4)] == [False, False, False, True]
