"""Training on adversarial images along several gradient paths, which find what the network's own surrogate may miss."""

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
    """A robust objective whose attack follows a gradient path drawn at random for every batch.

    Arguments:
        inner: the objective; its loss uses the network's own surrogate.
        paths: the paths, drawn with equal probability; every path must support the trained network.

    Raises:
        ValueError: there is no path.
    """

    inner: Robust = RobustFinetuning()
    paths: tuple[GradientPath, ...] = (Surrogate(Triangle(1.0)), Surrogate(Triangle(0.5)), Rate())

    def __post_init__(self) -> None:
        super().__post_init__()
        paths = self.paths if isinstance(self.paths, tuple) else (self.paths,)
        if not paths or not all(callable(path) for path in paths):
            raise ValueError(f"Along needs gradient paths such as [Surrogate(Triangle(0.5)), Rate()], not {self.paths!r}")
        object.__setattr__(self, "paths", paths)

    def __call__(self, net: nn.Module, x: Inputs, y: Labels, *, rng: Randomness) -> Tensor:
        rng, count = given(rng), len(self.paths)
        if isinstance(rng, torch.Generator):
            number = int(torch.randint(count, (1,), generator=rng, device=rng.device))
        else:  # seeds per image: use the first
            number = int(rng[0]) % count
        path = self.paths[number]
        return self.loss(net, x, self.crafted(path(folded(net)), x, y, rng), y)
