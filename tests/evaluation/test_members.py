"""Members: the published gradients in their order, and the one gradient of an ANN."""

from __future__ import annotations

import pytest
import torch

from robustsnn.attacks import FGSM, PGD, Square
from robustsnn.evaluation import PUBLISHED_PATHS, Group, Member, Sources, Strongest, members
from robustsnn.seeds import generator
from robustsnn.spiking import Analog, Exponential, Plain, Rate, Rectangle, StraightThrough, Surrogate, Triangle
from robustsnn.threats import Linf


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


PUBLISHED = Group("FGSM", FGSM(), PUBLISHED_PATHS)


def test_a_spiking_network_is_attacked_along_every_path(net):
    assert members([PUBLISHED], Linf(0.1), net) == tuple(
        Member(FGSM(), Linf(0.1), path, str(path)) for path in PUBLISHED_PATHS
    )


def test_a_network_without_spikes_is_attacked_along_its_only_path(ann):
    assert members([PUBLISHED], Linf(0.1), ann) == (Member(FGSM(), Linf(0.1), Plain(), "Plain()"),)


def test_members_of_several_groups_are_told_apart_and_none_comes_twice(net):
    queries = Group("Square", Square(queries=5), (Plain(),))
    found = members([PUBLISHED, Group("again", FGSM(), (Rate(),)), queries], Linf(0.1), net)
    assert [member.name for member in found[-2:]] == ["FGSM along Analog()", "Square along Plain()"]
    assert len(found) == 20
    assert [member.white_box for member in found] == [True] * 19 + [False]


def test_the_strongest_go_first_and_stand_in_where_asked_for(net):
    ranking = [Analog(), Rate(), *PUBLISHED_PATHS[:-2]]
    found = members(
        [PUBLISHED, Group("more", FGSM(), (Strongest(2),)), Group("PGD", PGD(), (Strongest(2),))], Linf(0.1), net, ranking
    )
    assert [member.path for member in found] == [*ranking, Analog(), Rate()]


def test_a_transfer_follows_another_networks_gradient_and_leaves_it_alone(ann, net, images, labels, unchanged):
    found = members([Group("PGD", FGSM(), (Sources(),))], Linf(0.1), net, sources={"ann": ann})
    assert [(member.name, member.white_box) for member in found] == [("transfer from ann", False)]
    with unchanged(ann), unchanged(net):
        crafted = found[0].attack(found[0].path(net), images, labels, found[0].threat, rng=generator(0, "test"))
    assert torch.equal(crafted, FGSM()(ann, images, labels, Linf(0.1), rng=generator(0, "test")))
    assert members([Group("PGD", FGSM(), (Sources(),))], Linf(0.1), net) == ()


@pytest.mark.parametrize("path", PUBLISHED_PATHS, ids=str)
def test_every_published_path_leads_an_attack_on_the_network(path, net, images, labels, unchanged):
    with unchanged(net):
        gradient = FGSM()(path(net), images, labels, Linf(0.1), rng=generator(0, "test")) - images
    assert gradient.abs().max() > 0.05
