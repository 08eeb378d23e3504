"""Spiking networks whose neurons another library wrote: one pure call, and the two places where gradient paths get in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.compute import view
from robustsnn.spiking.dynamics import Dynamics
from robustsnn.spiking.neurons.neuron import Spiked
from robustsnn.spiking.spiking import Spiking
from robustsnn.types import Images, StepLogits

Spike = Callable[[Tensor], Tensor]
"""How far potentials are above the threshold, ``u [n, ...]``, to spikes of the same shape."""

Around = Callable[[Tensor, Tensor], Tensor]
"""``around(current, spikes) -> spikes``, all ``[t, N, ...]``: what takes the place of a neuron's own way back."""

Run = Callable[[nn.Module, Tensor, int], Tensor]
"""``run(net, x, timesteps) -> [T,N,K]``: a network without state, run on images ``[N,C,H,W]`` as its library does it."""


@dataclass(frozen=True)
class Library:
    """What must be known of a library to take in its networks.

    Arguments:
        name: as people call it.
        spike: the attribute in which its neurons keep their `Spike`; having one makes a module a neuron.
        reset: forgets what a module remembers, without writing to tensors that others may hold.
        replace: ``replace(neuron, spike, detach_reset)`` makes a neuron spike by another function, called once a step.
        sequences: whether a neuron is given all time steps at once, ``[T,N,...]``, and not one after the other.
    """

    name: str
    spike: str
    reset: Callable[[nn.Module], None]
    replace: Callable[[nn.Module, nn.Module, bool], None]
    sequences: Callable[[nn.Module], bool]


class ForeignNetwork(Spiking):
    """Another library's spiking network with the signature of an ANN: pixels ``[N,C,H,W]`` in ``[0, 1]`` to logits ``[N,K]``.

    Every call runs a fresh copy of the module tree over the same tensors for T steps on a constant input, so no state
    survives it, and the wrapped network is never touched. Forward passes are the library's own, along every gradient path.

    Raises:
        ValueError: no neuron of the library in the network, or ``timesteps < 1``.
    """

    def __init__(self, net: nn.Module, timesteps: int, library: Library, run: Run) -> None:
        super().__init__()
        self.net = net
        self.T = Dynamics(timesteps).timesteps  # which refuses other numbers
        self.library = library
        self.run = run
        self.change: Callable[[str, nn.Module], None] = lambda name, neuron: None
        self.training = net.training
        if not self.neurons:
            raise ValueError(
                f"{type(net).__name__} has no neuron of {library.name}, that is, no module with an attribute "
                f"{library.spike!r}: an ANN needs no wrapping, and another library has a wrapper of its own"
            )

    @property
    def timesteps(self) -> int:
        return self.T

    @property
    def fewest(self) -> int:
        """For how few steps it can run: parallel neurons have weights for exactly ``T`` of them."""
        return max(getattr(neuron, "T", 1) for neuron in self.neurons.values())

    @property
    def neurons(self) -> dict[str, nn.Module]:
        """The layers of neurons by module path, in the order of modules."""
        return {name: module for name, module in self.net.named_modules() if hasattr(module, self.library.spike)}

    def steps(self, x: Images) -> StepLogits:
        """Logits of every time step, ``[N,C,H,W] -> [T,N,K]``. Raises ValueError: the network gives anything else."""
        fresh = view(self.net)
        for module in fresh.modules():
            self.library.reset(module)
        for name, module in list(fresh.named_modules()):
            if hasattr(module, self.library.spike):
                self.change(name, module)
        logits: Any = self.run(fresh, x, self.timesteps)
        if not isinstance(logits, Tensor) or logits.dim() != 3 or logits.shape[1] != len(x):
            found = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(
                f"{type(self.net).__name__} must give logits [T, N, K] for {len(x)} images, not {found}: "
                "pass run=lambda net, x, timesteps: ... that returns them"
            )
        return logits

    @torch.no_grad()
    def rates(self, batches: Iterable[Tensor]) -> dict[str, float]:
        spikes, chances = dict.fromkeys(self.neurons, 0.0), dict.fromkeys(self.neurons, 0)

        def counting(name: str, own: Spike) -> Spike:
            def spike(u: Tensor) -> Tensor:
                fired = own(u)
                spikes[name] += float(fired.count_nonzero())
                chances[name] += fired.numel()
                return fired

            return spike

        view = self.spiking(counting).eval()
        for x in batches:
            view(x)
        return {name: count / max(1, chances[name]) for name, count in spikes.items()}

    def leads(self, path: object) -> bool:
        """Those that need no more of a neuron than its current, its spikes, or how far it is above the threshold."""
        return bool(getattr(path, "foreign", False))

    def spiking(self, make: Callable[[str, Spike], Spike], *, detach_reset: bool = False) -> ForeignNetwork:
        """A view whose neurons spike by ``make(name, their own spike function)``, made anew for every forward pass."""

        def change(name: str, neuron: nn.Module) -> None:
            own: Spike = getattr(neuron, self.library.spike)
            self.library.replace(neuron, _Spiking(make(name, own)), detach_reset)

        return self._changing(change, self.timesteps)

    def around(self, make: Callable[[], Around], timesteps: int | None = None) -> ForeignNetwork:
        """A view in which gradients go around the neurons: ``make()`` gives what is differentiated in the place of each.

        Other outputs than spikes (potentials) pass their gradient on to the current of the same step.
        """
        sequences = self.library.sequences

        def change(name: str, neuron: nn.Module) -> None:
            own, around, whole = neuron.forward, make(), sequences(neuron)

            def forward(current: Tensor, *state: Any) -> Any:
                with torch.no_grad():
                    given = own(current, *state)
                spikes, *others = given if isinstance(given, tuple) else (given,)
                if spikes.shape != current.shape:
                    raise ValueError(
                        f"gradients cannot go around {name!r}, whose input {list(current.shape)} is not the current of its "
                        f"{list(spikes.shape)} neurons: attack it along Surrogate paths, in a protocol of your own"
                    )
                found = around(current, spikes) if whole else around(current.unsqueeze(0), spikes.unsqueeze(0)).squeeze(0)
                through = current - current.detach()
                others = [x + through if isinstance(x, Tensor) and x.shape == through.shape else x for x in others]
                return (found, *others) if isinstance(given, tuple) else found

            neuron.__dict__["forward"] = forward

        return self._changing(change, timesteps or self.timesteps)

    def _changing(self, change: Callable[[str, nn.Module], None], timesteps: int) -> ForeignNetwork:
        fresh = view(self)
        assert isinstance(fresh, ForeignNetwork)
        fresh.change, fresh.T = change, timesteps
        return fresh


def surrogate(own: Spike, derivative: Callable[[Tensor], Tensor]) -> Spike:
    """The spikes of another function with a derivative of one's choice."""
    return lambda u: Spiked.apply(u, own, derivative)  # type: ignore[no-untyped-call]


class _Spiking(nn.Module):
    """A spike function as the module that some libraries want."""

    def __init__(self, spike: Spike) -> None:
        super().__init__()
        self.spike = spike

    def forward(self, u: Tensor) -> Tensor:
        return self.spike(u)
