"""`outside`: a network from anybody's factory, drawn from a seed, or one line that says what is wrong with it."""

import sys
from contextlib import suppress

import pytest
import torch
from torch import nn

from robustsnn.models import outside

MODULES = {
    "mynets": """
import torch
from torch import nn

class Net(nn.Linear):
    pass

def make(width=3, classes=4):
    net = Net(width, classes)
    net.register_buffer("drawn", torch.rand(2))
    return net

def picky(width=3):
    raise ValueError(f"width {width} is odd")

def broken():
    raise KeyError("lost")

def text():
    return "no network"

number = 3
""",
    "needy": "import surely_not_installed",
    "misspelt": "def make(:",
    "exploding": "1 / 0",
}


@pytest.fixture(autouse=True)
def _modules(tmp_path, monkeypatch):
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


def state(net):
    return torch.cat([tensor.flatten() for tensor in net.state_dict().values()])


def test_the_factory_is_called_with_the_options():
    net = outside("mynets:make", width=7, classes=2)
    assert type(net).__name__ == "Net"
    assert (net.in_features, net.out_features) == (7, 2)
    assert outside("mynets:make").in_features == 3
    assert isinstance(outside("torch.nn:ReLU"), nn.ReLU)


def test_the_seed_alone_decides_the_weights():
    first = state(outside("mynets:make", seed=1))
    torch.manual_seed(7)
    assert torch.equal(state(outside("mynets:make", seed=1)), first)
    assert not torch.equal(state(outside("mynets:make", seed=2)), first)
    assert torch.equal(state(outside("mynets:make")), state(outside("mynets:make", seed=0)))


@pytest.mark.parametrize("ann", ["mynets:make", "mynets:picky", "mynets:text"])
def test_the_global_generator_is_left_alone_even_where_the_factory_fails(ann):
    before = torch.get_rng_state()
    with suppress(ValueError):
        outside(ann)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("ann", "complaint"),
    [
        *((text, "write package.module:factory") for text in ("", "mynets", "mynets.make", ":make", "mynets:", ":")),
        ("nowhere/own.py:make", r"write the module without \.py, as in nowhere\.own:make"),
        ("nowhere.at.all:make", r"No module named 'nowhere'.*install the package or put its folder on PYTHONPATH"),
        ("needy:make", r"No module named 'surely_not_installed'"),
        ("misspelt:make", r"misspelt.*SyntaxError"),
        ("exploding:make", r"exploding.*division by zero"),
        (".mynets:make", r"\.mynets"),
        ("mynets:maek", r"mynets has no factory 'maek': did you mean 'make'"),
        ("mynets:number", r"mynets has no factory 'number'"),
        ("mynets:picky", r"cannot be made with no arguments: .*width 3 is odd"),
        ("mynets:broken", r"cannot be made with no arguments: .*lost"),
        ("mynets:text", r"returns a str: let it return an nn\.Module"),
    ],
)
def test_what_cannot_be_made_is_refused_with_what_to_do(ann, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        outside(ann)
    assert f"ann {ann!r}" in str(caught.value)


def test_an_option_that_the_factory_does_not_take_is_named():
    with pytest.raises(ValueError, match=r"cannot be made with \{'depth': 3\}: .*unexpected keyword argument 'depth'"):
        outside("mynets:make", depth=3)


def test_the_names_that_are_offered_are_callable_and_public():
    with pytest.raises(ValueError, match=r"known: Net, broken, make, picky, text$"):
        outside("mynets:maek")
