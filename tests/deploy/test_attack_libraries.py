"""Attack libraries take our networks as they are, and find what our own attack finds.

``pytest -rP tests/deploy/test_attack_libraries.py`` prints the robust accuracies; with ``ROBUSTSNN_PARITY=full`` of a network
trained for longer, on 673 images, from random starts too (a minute or two on one core).
"""

import os
from functools import cache

import pytest
import torch
from torch import nn

from robustsnn import Dynamics, Rate, Surrogate, Triangle, convert, train
from robustsnn.attacks import PGD
from robustsnn.data import digits, split
from robustsnn.models import create
from robustsnn.seeds import image_seeds
from robustsnn.threats import Linf
from robustsnn.training import FastAdversarial, Schedule

pytestmark = pytest.mark.usefixtures("unchecked")

FULL = os.environ.get("ROBUSTSNN_PARITY") == "full"
COUNT, STEPS, EPS = (673, 40, 0.15) if FULL else (200, 5, 0.1)
STRIDE = 2.5 * EPS / STEPS
POINTS = 1.0
"""How far two robust accuracies may be apart, of 100."""


@cache
def victim():
    """A digits network trained against one gradient step, converted and finetuned; and images that it has not seen."""
    data = digits()
    seen, unseen = split(data.train, 0.5, seed=0)
    if FULL:
        ann = create("digits", 10, size=8, channels=1, mean=data.mean, std=data.std, width=0.5)
    else:
        hidden = nn.Flatten(), nn.Linear(288, 32), nn.ReLU(), nn.Linear(32, 10)
        ann = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), *hidden)
    train(ann, seen, data.test.first(50), FastAdversarial(eps=0.1), Schedule(10 if FULL else 6, 32, lr=0.05), probe=None)
    net = convert(ann, [x for x, _, _ in seen.first(128).batches(64)], Dynamics(4))
    train(net, seen, data.test.first(50), FastAdversarial(eps=0.1), Schedule(3 if FULL else 1, lr=0.01), probe=None)
    return net.requires_grad_(False).eval(), *unseen.first(COUNT).batch(torch.arange(COUNT))


@torch.no_grad()
def robust(net, adv, x, y):
    """Robust accuracy in percent, judged by the network itself on images that are inside ball and box."""
    assert (adv - x).abs().max() <= EPS + 1e-6
    assert adv.min() >= 0
    assert adv.max() <= 1
    return 100 * (net(adv).argmax(1) == y).float().mean().item()


def clean(x, ball, noise):
    """Begin at the image itself."""
    return x


def foolbox_pgd(model, x, y, random_start):
    foolbox = pytest.importorskip("foolbox", reason="pip install foolbox")
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    assert foolbox.accuracy(wrapped, x, y) > 0.6
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STRIDE, steps=STEPS, random_start=random_start)
    return attack(wrapped, x, y, epsilons=EPS)[1]


def torchattacks_pgd(model, x, y, random_start):
    torchattacks = pytest.importorskip("torchattacks", reason="pip install --no-deps torchattacks")
    return torchattacks.PGD(model, eps=EPS, alpha=STRIDE, steps=STEPS, random_start=random_start)(x, y)


def art_pgd(model, x, y, random_start):
    art = pytest.importorskip("art.attacks.evasion", reason="pip install adversarial-robustness-toolbox")
    from art.estimators.classification import PyTorchClassifier

    shape = tuple(x.shape[1:])
    wrapped = PyTorchClassifier(model, nn.CrossEntropyLoss(), shape, 10, clip_values=(0, 1), device_type="cpu")
    starts = int(random_start)
    attack = art.ProjectedGradientDescent(
        wrapped, eps=EPS, eps_step=STRIDE, max_iter=STEPS, num_random_init=starts, batch_size=len(x), verbose=False
    )
    return torch.from_numpy(attack.generate(x.numpy(), nn.functional.one_hot(y, 10).numpy()))


THEIRS = {"foolbox": foolbox_pgd, "torchattacks": torchattacks_pgd, "ART": art_pgd}


@pytest.mark.parametrize("path", [Surrogate(Triangle(1.0)), Rate()], ids=str)
@pytest.mark.parametrize("library", THEIRS)
def test_from_the_same_start_both_find_the_same(library, path):
    net, x, y = victim()
    view = path(net)
    mine = robust(net, PGD(STEPS, start=clean)(view, x, y, Linf(EPS), rng=image_seeds(torch.arange(COUNT), 0)), x, y)
    theirs = robust(net, THEIRS[library](view, x, y, random_start=False), x, y)
    line = f"{library} along {path}: robust accuracy {mine:.1f} % here, {theirs:.1f} % there"
    print(f"{line}, of {robust(net, x, x, y):.1f} % clean; {COUNT} images, eps {EPS}, {STEPS} steps")  # noqa: T201
    assert 20 < mine < 85, f"{line}: this shows nothing"
    assert abs(mine - theirs) <= POINTS, line


@pytest.mark.skipif(not FULL, reason="ROBUSTSNN_PARITY=full only: single starts differ by more than a point among themselves")
@pytest.mark.parametrize("library", THEIRS)
def test_from_random_starts_both_find_as_much(library):
    net, x, y = victim()
    view, starts = Surrogate(Triangle(1.0))(net), range(30)  # five means differ by a point too
    mine = [
        robust(net, PGD(STEPS)(view, x, y, Linf(EPS), rng=image_seeds(torch.arange(COUNT), seed)), x, y) for seed in starts
    ]
    theirs = [robust(net, THEIRS[library](view, x, y, random_start=True), x, y) for _ in starts]
    here, there = sum(mine) / len(mine), sum(theirs) / len(theirs)
    each = [[round(value, 1) for value in values] for values in (mine, theirs)]
    line = f"{library}: mean robust accuracy {here:.1f} % here {each[0]}, {there:.1f} % there {each[1]}"
    print(line)  # noqa: T201
    assert abs(here - there) <= POINTS, line


@pytest.mark.parametrize("library", THEIRS)
def test_they_leave_the_network_as_it_is(library):
    net, x, _ = victim()
    parts = {name: (part.training, id(part)) for name, part in net.named_modules()}
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    THEIRS[library](Surrogate(Triangle(1.0))(net), x[:4], net(x[:4]).argmax(1), random_start=False)
    assert {name: (part.training, id(part)) for name, part in net.named_modules()} == parts
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("path", [None, Surrogate(Triangle(1.0)), Rate()], ids=str)
def test_a_view_is_a_model_as_robustbench_wants_it(path):
    """``eval()``, float pixels in, logits out, image by image, differentiable, on the device that its parameters say."""
    net, x, y = victim()
    view = (path(net) if path else net).eval().to("cpu")
    pixels = x[:6].clone().requires_grad_()
    logits = view(pixels)
    assert (logits.shape, logits.dtype, next(view.parameters()).device.type) == ((6, 10), torch.float32, "cpu")
    torch.testing.assert_close(torch.cat([view(part) for part in x[:6].split(2)]), logits.detach())
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, y[:6]), pixels)
    assert gradient.count_nonzero() > 0
