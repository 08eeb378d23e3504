"""Adversarial images along gradient paths: what an attack through the network's own surrogate does not find, others may."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustsnn.conversion import folded
from robustsnn.seeds import given
from robustsnn.spiking import Rate, Surrogate, Triangle
from robustsnn.training.objectives import Around, Robust, RobustFinetuning
from robustsnn.types import GradientPath, Inputs, Labels, Randomness


@dataclass(frozen=True)
class Along(Around):
    """A robust objective whose attack follows a gradient path, one of several that is drawn for every batch.

    Arguments:
        inner: the objective; the loss is its own, through the network's own surrogate.
        paths: one is drawn per batch, each with the same chance; in training, every path must lead through the network.

    Raises:
        ValueError: there is no path.
    """

    inner: Robust = RobustFinetuning()
    paths: tuple[GradientPath, ...] = (Surrogate(Triangle(1.0)), Surrogate(Triangle(0.5)), Rate())

    def __post_init__(self) -> None:
        super().__post_init__()
        paths = self.paths if isinstance(self.paths, tuple) else (self.paths,)
        if not paths or not all(callable(path) for path in paths):
            raise ValueError(f"Along needs gradient paths, such as [Surrogate(Triangle(0.5)), Rate()], not {self.paths!r}")
        object.__setattr__(self, "paths", paths)

    def __call__(self, net: nn.Module, x: Inputs, y: Labels, *, rng: Randomness) -> Tensor:
        rng, count = given(rng), len(self.paths)
        if isinstance(rng, torch.Generator):
            number = int(torch.randint(count, (1,), generator=rng, device=rng.device))
        else:  # of seeds per image, what the first one says
            number = int(rng[0]) % count
        path = self.paths[number]
        return self.loss(net, x, self.crafted(path(folded(net)), x, y, rng), y)
