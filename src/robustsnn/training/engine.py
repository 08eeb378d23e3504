"""Where training runs: lightning-fabric for devices and precision, and a scope for the randomness that torch keeps global."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from robustsnn.seeds import derive, generator
from robustsnn.training.objectives import Pass


def cpu() -> Fabric:
    """One process on the CPU."""
    return Fabric(accelerator="cpu", devices=1)


class Loss(nn.Module):
    """A loss of the network as a module, so that an engine that wraps modules (DDP, precision) sees a single forward."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, loss: Pass) -> Tensor:
        return loss(self.net)


@contextmanager
def randomness(*purpose: int | str) -> Iterator[None]:
    """A scope in which torch's global generator depends on ``purpose`` alone; afterwards it is as it was.

    ``nn.Dropout`` draws from the global generator and takes no other, so this scope is what makes a step repeatable.
    """
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator(*purpose).get_state())
        if torch.cuda.is_available():
            before = torch.cuda.get_rng_state()
            torch.cuda.manual_seed(derive(*purpose))
            try:
                yield
            finally:
                torch.cuda.set_rng_state(before)
        else:
            yield
