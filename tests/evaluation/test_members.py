"""Members: the published gradients in their order, and the one gradient of an ANN."""

from __future__ import annotations

import pytest

from robustsnn.attacks import FGSM
from robustsnn.evaluation import PUBLISHED_PATHS, Member, members
from robustsnn.seeds import generator
from robustsnn.spiking import Analog, Exponential, Plain, Rate, Rectangle, StraightThrough, Surrogate, Triangle


def test_the_published_gradients_are_these_nineteen_in_this_order():
    surrogates = [
        *(Triangle(1.0), Triangle(2.0), Triangle(3.0), Triangle(0.5), Triangle(0.25)),
        *(Exponential(0.3, 0.5), Exponential(0.3, 1.0), Exponential(0.3, 2.0)),
        *(Exponential(1.0, 0.5), Exponential(1.0, 1.0), Exponential(1.0, 2.0)),
        *(Rectangle(0.25), Rectangle(0.5), Rectangle(1.0), Rectangle(2.0), Rectangle(4.0)),
        StraightThrough(),
    ]
    assert list(PUBLISHED_PATHS) == [*map(Surrogate, surrogates), Rate(), Analog()]
    assert len(PUBLISHED_PATHS) == 19


def test_a_spiking_network_is_attacked_along_every_path(net):
    assert members(FGSM(0.1), PUBLISHED_PATHS, net) == tuple(Member(FGSM(0.1), path) for path in PUBLISHED_PATHS)


def test_a_network_without_spikes_is_attacked_along_its_only_path(ann):
    assert members(FGSM(0.1), PUBLISHED_PATHS, ann) == (Member(FGSM(0.1), Plain()),)


@pytest.mark.parametrize("path", PUBLISHED_PATHS, ids=str)
def test_every_published_path_leads_an_attack_on_the_network(path, net, images, labels, unchanged):
    with unchanged(net):
        gradient = FGSM(0.1)(path(net), images, labels, rng=generator(0, "test")) - images
    assert gradient.abs().max() > 0.05
