"""Spiking networks of other libraries, wrapped as stateless functions that gradient paths can change."""

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
"""Maps distances above the threshold ``u [n, ...]`` to spikes of the same shape."""

Around = Callable[[Tensor, Tensor], Tensor]
"""``around(current, spikes) -> spikes``, all ``[t, N, ...]``: replaces a neuron's own backward pass."""

Run = Callable[[nn.Module, Tensor, int], Tensor]
"""``run(net, x, timesteps) -> [T,N,K]``: runs a freshly reset network on images ``[N,C,H,W]`` as its library does."""


@dataclass(frozen=True)
class Library:
    """How the neurons of another library are found, reset and changed.

    Arguments:
        name: name of the library.
        spike: attribute that holds a neuron's `Spike` function; a module that has it is a neuron.
        reset: clears the state of a module without writing to tensors that others may hold.
        replace: ``replace(neuron, spike, detach_reset)`` gives a neuron another spike function, called once per step.
        sequences: whether a neuron receives all time steps at once, ``[T,N,...]``, instead of one after another.
    """

    name: str
    spike: str
    reset: Callable[[nn.Module], None]
    replace: Callable[[nn.Module, nn.Module, bool], None]
    sequences: Callable[[nn.Module], bool]


def _as_it_is(name: str, neuron: nn.Module) -> None:
    """Change nothing."""


class ForeignNetwork(Spiking):
    """A spiking network of another library as an ANN: pixels ``[N,C,H,W]`` in ``[0, 1]`` to logits ``[N,K]``.

    Every call runs a fresh copy of the module tree over the same tensors, for T steps on a constant input. No state survives a
    call, and the wrapped network is never changed. The forward pass is that of the library.

    Raises:
        ValueError: the network has no neuron of the library, or ``timesteps < 1``.
    """

    def __init__(self, net: nn.Module, timesteps: int, library: Library, run: Run) -> None:
        super().__init__()
        self.net = net
        self.T = Dynamics(timesteps).timesteps  # raises ValueError if out of range
        self.library = library
        self.run = run
        self.change: Callable[[str, nn.Module], None] = _as_it_is
        self.training = net.training
        if not self.neurons:
            raise ValueError(
                f"{type(net).__name__} has no neuron of {library.name}: no module has an attribute {library.spike!r}. "
                "Use the wrapper of the network's own library; an ANN needs none. Put hand-written spikes into such modules"
            )

    @property
    def timesteps(self) -> int:
        return self.T

    @property
    def fewest(self) -> int:
        """Smallest number of time steps: parallel neurons have weights for exactly ``T`` steps."""
        return max(getattr(neuron, "T", 1) for neuron in self.neurons.values())

    @property
    def neurons(self) -> dict[str, nn.Module]:
        """The neuron layers by module path, in module order."""
        return {name: module for name, module in self.net.named_modules() if hasattr(module, self.library.spike)}

    def steps(self, x: Images) -> StepLogits:
        """Return the logits of every time step, ``[N,C,H,W] -> [T,N,K]``. Raises ValueError for any other output."""
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
                f"{type(self.net).__name__} must return logits [T, N, K] for {len(x)} images, not {found}: pass a function, "
                "such as run=lambda net, x, timesteps: net(x)[1] for (spikes, potentials)"
            )
        if self.change is _as_it_is and len(logits) not in (1, self.timesteps):
            raise ValueError(f"{type(self.net).__name__} ran {len(logits)} steps: pass timesteps={len(logits)} to its wrapper")
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
        """Return whether a path needs only a neuron's current, its spikes, or its distance above the threshold."""
        return bool(getattr(path, "foreign", False))

    def spiking(self, make: Callable[[str, Spike], Spike], *, detach_reset: bool = False) -> ForeignNetwork:
        """Return a view whose neurons use the spike function ``make(name, own)``, made afresh for every forward pass."""

        def change(name: str, neuron: nn.Module) -> None:
            own: Spike = getattr(neuron, self.library.spike)
            self.library.replace(neuron, _Spiking(make(name, own)), detach_reset)

        return self._changing(change, self.timesteps)

    def around(self, make: Callable[[], Around], timesteps: int | None = None) -> ForeignNetwork:
        """Return a view in which the function from ``make()`` replaces each neuron's backward pass.

        The gradient of other outputs (potentials) goes to the current of the same step.
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
                        f"gradients cannot bypass {name!r}: its input {list(current.shape)} and its spikes "
                        f"{list(spikes.shape)} differ in shape; use Surrogate paths in a protocol of your own"
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
    """Return the spike function ``own`` with another derivative."""
    return lambda u: Spiked.apply(u, own, derivative)  # type: ignore[no-untyped-call]


class _Spiking(nn.Module):
    """A spike function as a module, which some libraries require."""

    def __init__(self, spike: Spike) -> None:
        super().__init__()
        self.spike = spike

    def forward(self, u: Tensor) -> Tensor:
        return self.spike(u)
