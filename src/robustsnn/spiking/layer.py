"""A neuron layer as a module: it holds the trained tensors and runs its neurons in time."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from robustsnn.compute.recall import again, known
from robustsnn.spiking.dynamics import Dynamics, Fire
from robustsnn.spiking.kernels import Firing, fused


class NeuronLayer(nn.Module):
    """A neuron layer in place of a ReLU, with a trainable threshold and the neuron's other trained tensors.

    The input is ``[T*N, ...]``, or with ``first`` ``[N, ...]``, the same current at every step; the output spikes are
    ``[T*N, ...]``. Under autocast, potentials and spikes keep the precision of the threshold.
    """

    def __init__(
        self,
        threshold: nn.Parameter,
        dynamics: Dynamics,
        *,
        first: bool = False,
        fire: Fire = fused,
        trained: Mapping[str, nn.Parameter] | None = None,
    ) -> None:
        super().__init__()
        self.threshold = threshold
        self.dynamics = dynamics
        self.first = first
        self.fire = fire
        for name, value in dynamics.neuron.trained.items():
            setattr(self, name, trained[name] if trained else nn.Parameter(threshold.detach().new_tensor(value)))

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The trained tensors other than the threshold, by name."""
        return {name: getattr(self, name) for name in self.dynamics.neuron.trained}

    @property
    def tensors(self) -> dict[str, nn.Parameter]:
        """The threshold and the other trained tensors, by name."""
        return {"threshold": self.threshold, **self.trained}

    def changed(
        self,
        *,
        threshold: nn.Parameter | None = None,
        dynamics: Dynamics | None = None,
        fire: Fire | None = None,
        first: bool | None = None,
    ) -> NeuronLayer:
        """Return a layer over the same parameters with another threshold, other dynamics, or another fire function."""
        threshold = self.threshold if threshold is None else threshold
        dynamics = dynamics or self.dynamics
        same = dynamics.neuron.trained == self.dynamics.neuron.trained
        first = self.first if first is None else first
        return NeuronLayer(threshold, dynamics, first=first, fire=fire or self.fire, trained=self.trained if same else None)

    @property
    def repeats(self) -> int:
        """Number of time steps at which each current is used."""
        return self.dynamics.timesteps if self.first or self.dynamics.synchronous else 1

    def spent(self, x: Tensor) -> Tensor:
        """Return the currents that are each used `repeats` times: the input, or its mean over time."""
        if self.first or not self.dynamics.synchronous:
            return x
        steps: Tensor = x.unflatten(0, (self.dynamics.timesteps, -1))
        return steps.mean(0)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.dynamics.timesteps
        current = self.spent(x.to(self.threshold.dtype)).unflatten(0, (steps // self.repeats, -1))
        current = current.expand(steps, *current.shape[1:])
        spikes = self.fire(current, dynamics=self.dynamics, **self.tensors).flatten(0, 1)
        if not spikes.requires_grad or self.fire is not fused:
            return spikes
        given, dynamics = again(current) or current.detach, self.dynamics
        tensors = {name: value.detach() for name, value in self.tensors.items()}
        return known(spikes, lambda: Firing(given(), tensors, dynamics).spikes.flatten(0, 1))

    def extra_repr(self) -> str:
        return f"threshold={self.threshold.detach().mean():.4g}, first={self.first}"
