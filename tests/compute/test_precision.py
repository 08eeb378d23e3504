"""What is measured keeps all digits of float32, and the caller's settings stay."""

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from robustsnn import Dynamics, convert
from robustsnn.attacks import FGSM
from robustsnn.compute.precision import _kinds, ieee
from robustsnn.evaluation import PUBLISHED_PATHS, Member, worst_case
from robustsnn.seeds import generator
from robustsnn.threats import Linf


def settings():
    return [getattr(kind, name) for kind, name, _ in _kinds()]


def wanted():
    return [exact for *_, exact in _kinds()]


@pytest.fixture
def coarse():
    """TF32 wherever torch would take it, as users set it for training."""
    before = settings()
    for kind, name, exact in _kinds():
        setattr(kind, name, "tf32" if isinstance(exact, str) else True)
    yield settings()
    for (kind, name, _), value in zip(_kinds(), before, strict=True):
        setattr(kind, name, value)


def test_it_holds_inside_and_is_undone_outside_even_by_an_error(coarse):
    def fail():
        with ieee():
            assert settings() == wanted()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert settings() == coarse


def test_conversion_attacks_and_judging_are_exact(coarse):
    seen = []
    body = nn.Sequential(nn.Conv2d(1, 3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(3, 3))
    x, y = torch.rand(4, 1, 4, 4, generator=generator(0, "x")), torch.tensor([0, 1, 2, 0])
    hook = register_module_forward_pre_hook(lambda module, _: seen.append(settings()))
    with hook:
        net = convert(body, [x], Dynamics(2))
        calls = len(seen)
        worst_case([Member(FGSM(), Linf(0.1), PUBLISHED_PATHS[0])], net, x, y, rng=generator(0, "attack"))
    assert 0 < calls < len(seen)
    assert all(found == wanted() for found in seen)
    assert settings() == coarse
