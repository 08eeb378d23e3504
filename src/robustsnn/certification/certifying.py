"""The entry point of certification: checks its arguments, and runs one method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from robustsnn.certification.registry import method as built
from robustsnn.certification.task import Certificates, Method, Task
from robustsnn.compute import view
from robustsnn.compute.precision import ieee
from robustsnn.data import a_network, answers, as_samples
from robustsnn.files import digest
from robustsnn.processes import Team

if TYPE_CHECKING:
    import lightning_fabric


@ieee()
def certify(
    net: nn.Module,
    data: Any,
    method: Method | str = "Smoothing(sigma=0.25)",
    *,
    limit: int | None = None,
    batch: int = 250,
    seed: int = 0,
    fabric: lightning_fabric.Fabric | None = None,
    state: Path | None = None,
    on_progress: Callable[[str, float], None] = lambda what, share: None,
) -> Certificates:
    """Bound from below what a network withstands: no attack, known or unknown, breaks a certified sample.

    Arguments:
        net: see `evaluate`. Smoothing takes any network, intervals a `SpikingNetwork` or an ANN of ReLUs.
        data: the samples, see `as_samples`. Noise depends on their ids.
        method: a value such as ``Smoothing(sigma=0.25)``, or its text; see `certification.METHODS`.
        limit: certify at most this many samples, the first ones.
        batch: samples, or noisy copies of them, per forward pass; does not change the result.
        seed: seed of the noise, which depends only on seed, sample and draw.
        fabric: devices and processes; None: one process. Several processes share the samples and return the same result.
        state: file of resumable counts, one per process. If it exists, the computation resumes; it is removed at the end.
        on_progress: called with the current task and its completed fraction, up to 1.

    Returns:
        Certificates per sample; ``certified(threat)`` and ``accuracy(threat)`` read them.

    Raises:
        ValueError: the method is unknown or does not support the network, the network does not fit the samples, or the state
            is of another computation.

    Example:
        >>> import torch
        >>> from robustsnn import L2
        >>> net, x, y = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.rand(8, 1, 2, 2), torch.arange(8) % 3
        >>> found = certify(net, (x, y), "Smoothing(sigma=0.25, draws=100, first=10)")
        >>> found.accuracy(L2(0.25)) <= found.accuracy(L2(0.0)) <= 1
        True
    """
    samples = as_samples(data, limit=limit)
    if not len(samples):
        raise ValueError("certification needs samples, but data holds none: pass at least one")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, not {batch}")
    a_network(net)
    answers(net, samples)
    chosen, team = built(method) if isinstance(method, str) else method, Team(fabric)
    if not hasattr(chosen, "certify"):
        raise ValueError(f"method must be a method such as Smoothing(0.25), or its text, not {method!r}")
    device = next(net.parameters(), samples.labels).device
    key = repr((digest(net.state_dict()), samples.digest(ids=True), chosen, seed))
    mine = team.own(state)
    task = Task(view(net).eval(), samples.near(device), seed, batch, team, mine, key, on_progress)
    found = chosen.certify(task)
    if mine is not None:
        mine.unlink(missing_ok=True)
    return found
