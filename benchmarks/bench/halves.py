"""A network and images of which attacks break one half and leave the other, whatever rounding does."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.bench.forms import Case
from robustsnn.compute.layout import layout
from robustsnn.models import weight_layers
from robustsnn.seeds import generator, randomness

STEPS, BATCH = 20, 8


def halves(case: Case, count: int) -> tuple[Tensor, Tensor]:
    """Images ``[count, 3, 32, 32]`` and the labels that ``case.ours``, trained to tell red from green, gives them.

    Every other image is red or green and stays what it is under any small perturbation; those between hold as much of
    both, and their label changes.
    """
    _train(case)
    shares = torch.tensor([1.0, 0.5, 0.0, 0.5]).repeat(count)[:count]
    x, even = _noise(shares, seed=0).to(case.device), slice(1, None, 2)
    net = case.ours.eval()
    *_, last = weight_layers(net).values()
    assert last.bias is not None
    with torch.no_grad():
        logits = net(x)[even]
        last.bias[0] -= (logits[:, 0] - logits[:, 1]).median()
        y: Tensor = net(x).argmax(1)
    return x, y


@randomness("bench")
def _train(case: Case) -> None:
    """A few steps of the body, as an ANN."""
    body = case.body.train()
    optimizer = torch.optim.SGD(body.parameters(), lr=0.02, momentum=0.9)
    for step in range(STEPS):
        red = torch.arange(BATCH) % 2
        x = _noise(red.float(), seed=step + 1).to(case.device, memory_format=layout(body))
        optimizer.zero_grad()
        F.cross_entropy(body(x), 1 - red.to(case.device)).backward()
        optimizer.step()
    body.eval()


def _noise(red: Tensor, seed: int) -> Tensor:
    """Random pixels with that share of red in their colour, the rest green, ``[N] -> [N, 3, 32, 32]``."""
    x = torch.rand(len(red), 3, 32, 32, generator=generator(seed, "bench")) / 2
    x[:, 0] += red.view(-1, 1, 1) / 2
    x[:, 1] += (1 - red).view(-1, 1, 1) / 2
    return x
