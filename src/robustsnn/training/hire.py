"""HIRE-SNN: adversarial noise crafted during the time steps of one presentation."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustsnn.attacks import FGSM, accepted
from robustsnn.ranges import Count, Ranged
from robustsnn.spiking import Dynamics, NeuronLayer, SpikingNetwork, walk
from robustsnn.threats import Ball
from robustsnn.training.objectives import Pass, one_radius, within
from robustsnn.types import Inputs, Labels, Randomness, Threat

Potentials = dict[str, Tensor]
"""Potentials of every neuron layer by module path, each ``[N, ...]``."""


@dataclass(frozen=True)
class Hire(Ranged):
    """Train in ``periods`` of the T time steps: after each, the weights and the input noise take a step (Kundu et al. 2021).

    The noise step has size ``eps`` along the threat's direction of the noise gradient (its sign under L-infinity), which the
    same backward pass yields. The noise starts at 0, so the first period sees clean images. Potentials carry over between
    periods; gradients do not. The loss of a period is the cross-entropy of the logits averaged over all steps so far.
    """

    eps: float = 2 / 255
    periods: Count = 2
    threat: Threat | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        one_radius(self)

    def passes(self, x: Inputs, y: Labels, rng: Randomness) -> Iterator[Pass]:
        """Return the loss of each period as a function of the network; the caller runs backward and steps in between."""
        for _, loss in self._periods(x, y):
            yield loss

    def __call__(self, net: nn.Module, x: Inputs, y: Labels, *, rng: Randomness) -> Tensor:
        """Return the mean loss of the periods at the same weights."""
        losses = []
        for noise, loss in self._periods(x, y):
            losses.append(loss(net))
            losses[-1].backward(inputs=[noise], retain_graph=True)
        return torch.stack(losses).mean()

    def _periods(self, x: Inputs, y: Labels) -> Iterator[tuple[Tensor, Pass]]:
        threat: Ball = accepted(FGSM, within(self))  # its steps follow a direction
        noisy, before, logits = x.clone(), Potentials(), list[Tensor]()
        for _ in range(self.periods):
            noisy, after = noisy.detach().requires_grad_(), Potentials()

            def loss(net: nn.Module, noisy: Tensor = noisy, before: Potentials = before, after: Potentials = after) -> Tensor:
                logits.append(self._period(net, before, after)(noisy))
                return F.cross_entropy(torch.stack([*(earlier.detach() for earlier in logits[:-1]), logits[-1]]).mean(0), y)

            yield noisy, loss
            assert noisy.grad is not None
            noisy = threat.project(noisy.detach() + threat.eps * threat.direction(noisy.grad), x)
            before = after

    def _period(self, net: nn.Module, before: Potentials, after: Potentials) -> SpikingNetwork:
        """Return a view for one period that starts from the potentials ``before`` (empty: 0) and writes them to ``after``. It
        may run again in backward, so it must not read what it writes."""
        if not isinstance(net, SpikingNetwork) or net.timesteps % self.periods:
            raise ValueError(f"Hire needs a spiking network whose time steps divide into {self.periods} equal periods")
        if not net.signal.once or net.dynamics.synchronous:
            raise ValueError("Hire splits the time steps of one image: it needs signal=Constant() and synchronous=False")
        shorter = replace(net.dynamics, timesteps=net.dynamics.timesteps // self.periods)

        def carried(name: str, layer: NeuronLayer) -> NeuronLayer:
            fire = layer.fire

            def fire_on(current: Tensor, threshold: Tensor, dynamics: Dynamics, **trained: Tensor) -> Tensor:
                if name in before:  # the previous potential joins the first step
                    tensors = {"threshold": threshold, **trained}
                    if before[name].shape != current.shape[1:]:
                        raise ValueError(
                            f"Hire carries over one potential per neuron, but {dynamics.neuron} has more: use LIF"
                        )
                    first = dynamics.neuron.charge(before[name], current[:1], tensors)
                    current = torch.cat([first, current[1:]])
                    dynamics = replace(dynamics, neuron=replace(dynamics.neuron, start=0.0))  # type: ignore[type-var]
                with torch.no_grad():
                    after[name] = walk(current, threshold, dynamics, **trained).left
                return fire(current, threshold, dynamics, **trained)

            return layer.changed(dynamics=shorter, fire=fire_on)

        return net.rewired(carried, shorter)
