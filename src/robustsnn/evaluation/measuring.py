"""The entry point of an evaluation: checks its arguments, runs all measures, returns the report."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from torch import nn

from robustsnn.compute.precision import ieee
from robustsnn.compute.recall import graph_bytes
from robustsnn.data import Samples, a_network, answers, as_samples
from robustsnn.evaluation.ensemble import Target
from robustsnn.evaluation.evaluated import Evaluated
from robustsnn.evaluation.measures import MEASURES
from robustsnn.evaluation.measures.layers import timesteps
from robustsnn.evaluation.member import Group, members
from robustsnn.evaluation.protocols import PROTOCOLS, Audit, Protocol
from robustsnn.evaluation.protocols import protocol as find_protocol
from robustsnn.evaluation.report import Report
from robustsnn.names import amount, find, first_error, nearest, number
from robustsnn.processes import Team
from robustsnn.progress import shown
from robustsnn.seeds import derive
from robustsnn.settings import THREAT_OF, Settings
from robustsnn.threats import THREATS, kind, kind_of
from robustsnn.types import Threat

if TYPE_CHECKING:
    import lightning_fabric


@ieee()
def evaluate(
    net: nn.Module,
    data: Any,
    protocol: str | Protocol | Settings = "rigorous",
    eps: float | str | Sequence[float | str] | None = None,
    *,
    threat: str | Threat | None = None,
    attacks: Sequence[str] | None = None,
    check: Audit | None = None,
    seed: int = 0,
    memory: int | str | None = None,
    sources: Mapping[str, nn.Module] = {},
    pilot_images: Any = None,
    fabric: lightning_fabric.Fabric | None = None,
    state: Path | None = None,
    on_progress: Callable[[str, float], None] | None = None,
    **settings: Any,
) -> Report:
    """Measure clean and worst-case accuracy under a protocol, and all other `MEASURES`.

    Arguments:
        net: a `SpikingNetwork`, a network of another library (`robustsnn.deploy`), or any ``nn.Module`` that maps samples
            ``[N, ...]`` in ``[0, 1]`` to logits ``[N,K]``; it is not changed.
        data: the test samples, see `as_samples`. Random starts depend on their ids.
        protocol: ``quick``, ``paper``, ``rigorous``, ``autoattack``, the path of a TOML file (see `protocols.protocol`), your
            own `Protocol` (called ``own`` in the report), or complete `Settings` instead of the keywords they replace.
        eps: one or several radii, such as 0.1 or ``"8/255"``; if None, the default of the kind of threat: 8/255, or 0.5 for
            ``"L2"``, and several for threats to events. Under the rule ``"any"``, images broken at a smaller radius are not
            attacked again.
        threat: kind of threat by name (see `threats.THREATS`); if None, L-infinity, or `Flips` for ``events``. Or a threat
            with its radius, such as ``L2(0.5)``, instead of ``eps``.
        attacks: names of the protocol's ensembles to run; None: all.
        check: extent of the audit; None: as in the protocol.
        seed: seed of random starts, which depend only on seed, member and image.
        memory: maximum size of an attack's autograd graph, in bytes or as ``"8GiB"``; reduces the batch size as needed.
        sources: networks to transfer adversarial examples from, by name.
        pilot_images: samples that rank the paths of a ranked protocol; if None, a subset of ``data``.
        fabric: devices and processes; None: one process. Several processes share the samples and return the same report.
        state: file of resumable results, one per process. If it exists, the evaluation resumes; it is removed at the end.
        on_progress: called with the current task (the pilot, each attack at each radius, the audit) and its completed
            fraction, up to 1. None shows a bar if stderr is a terminal.
        settings: further fields of `Settings`: ``rule``, ``limit``, ``batch``, ``crafting``, ``shown`` (default here: 0).

    Raises:
        ValueError: the protocol, attack or threat is unknown, an attack does not support the threat, ``eps`` is out of range,
            there are no samples, the network does not fit them, or the state is of another evaluation.

    Example:
        >>> import torch
        >>> net, x, y = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.rand(8, 1, 2, 2), torch.arange(8) % 3
        >>> report = evaluate(net, (x, y), "quick", eps="8/255", attacks=["FGSM"], check=Audit(images=0))
        >>> report.result("FGSM", 8 / 255).robust.value <= report.clean.value
        True
    """
    if isinstance(protocol, Settings):
        if settings or check or not eps is threat is attacks is None:
            raise ValueError("Settings and keywords cannot be combined: set these fields in Settings, or use keywords only")
        asked = Settings.model_validate(protocol.model_dump(include={*Settings.model_fields}))  # drops a recipe's other fields
    else:
        if not isinstance(check, Audit | None):
            raise ValueError(f"check must be an Audit, not {check!r}: write Audit(images=0) to skip the audit")
        audit = {f"audit_{name}": value for name, value in asdict(check).items()} if check else {}
        called = "own" if isinstance(protocol, Protocol) else str(protocol)
        asked = _asked(called, threat, eps, attacks, {"shown": 0, **audit, **settings})
    data = as_samples(data, limit=asked.limit)
    if not len(data):
        raise ValueError("evaluation needs images, but data holds none: pass at least one image")
    if not isinstance(sources, Mapping):
        raise ValueError("sources must name each network: write sources={'its name': net}")
    a_network(net)
    own = protocol if isinstance(protocol, Protocol) else asked.protocol
    called, chosen, groups = chosen_groups(own, asked.attacks or None, net, asked.threats[0], sources)
    asked = asked.model_copy(update={f"audit_{name}": number for name, number in asdict(chosen.audit.under(asked)).items()})
    logits = answers(net, data)
    started = time.perf_counter()
    target, team = Target.of(net), Team(fabric)
    device = next(net.parameters(), data.labels).device
    here = Evaluated(
        net=net,
        data=data.near(device),
        settings=asked,
        protocol=chosen,
        groups=groups,
        seed=seed,
        batch=asked.batch,
        sources=sources,
        pilot_images=None if pilot_images is None else as_samples(pilot_images),
        team=team,
        state=team.own(state),
        on_progress=on_progress or (lambda what, share: None),
        target=target,
    )
    if (most := amount(memory)) is not None:
        here.batch = fitting(here.crafted.guide, data.first(2).to(device), here.batch, most)
    with shown(on_progress, team.first) as here.on_progress:
        found = {name: here.found(measure) for name, measure in MEASURES.items()}
    name = called if called in PROTOCOLS else f"{called} {derive(repr(chosen)):016x}"
    report = Report(
        settings=asked.model_copy(update={"protocol": name}),
        edition=chosen.edition,
        images=len(data),
        samples=here.samples_digest,
        classes=logits.shape[1],
        seed=seed,
        timesteps=timesteps(net),
        measured={name: value for name, value in found.items() if value is not None},
        seconds=time.perf_counter() - started,
    )
    if here.state is not None:
        here.state.unlink(missing_ok=True)
    return report


def _asked(protocol: str, threat: Any, eps: Any, attacks: Sequence[str] | None, more: Mapping[str, Any]) -> Settings:
    """Return the settings that the keywords of `evaluate` describe."""
    if unknown := sorted(more.keys() - Settings.model_fields):
        known = {*inspect.signature(evaluate).parameters, *Settings.model_fields} - {"settings"}
        how = "move the network itself, as with net.to('cuda'); " if unknown[0] == "device" else ""
        raise ValueError(f"evaluate has no argument {unknown[0]!r}: {how}{nearest(unknown[0], known)}")
    name, radii = radii_of(eps, threat if threat is not None else THREAT_OF.get(protocol))
    try:
        return Settings(protocol=protocol, threat=name, eps=radii, attacks=_names(attacks), **more)
    except ValidationError as error:
        raise ValueError(first_error(error)) from None


def radii_of(eps: Any, threat: str | Threat | None) -> tuple[str | None, tuple[Any, ...]]:
    """Return the name of a kind of threat (None: the default), and its radii.

    Raises:
        ValueError: the kind is unknown, there is no radius, or ``eps`` contradicts the threat's radius.
    """
    if threat is not None and not isinstance(threat, str):
        if isinstance(threat, type):
            raise ValueError(f"the threat {threat.__name__} has no radius: give it one, as in {threat.__name__}(0.1)")
        known: object = THREATS.get(type(threat).__name__)
        if known is not type(threat):
            raise ValueError(f"the threat {threat!r} is of an unknown kind: add its class to robustsnn.threats.THREATS")
        if eps is not None:
            raise ValueError(f"the threat {threat!r} already has a radius: leave out eps={eps!r}")
        return kind_of(threat), (threat.eps,)
    if eps is None:
        return threat, kind(threat)().usual
    radii = (eps,) if isinstance(eps, str) or not getattr(eps, "ndim", isinstance(eps, Iterable)) else tuple(eps)
    if not radii:
        raise ValueError("evaluation needs at least one eps and at least one attack")
    return threat, tuple(number(radius) for radius in radii)


def chosen_groups(
    protocol: str | Protocol,
    attacks: Sequence[str] | None,
    net: nn.Module,
    threat: Threat,
    sources: Mapping[str, nn.Module] = {},
) -> tuple[str, Protocol, dict[str, tuple[Group, ...]]]:
    """Return the protocol's name, the protocol, and its ensembles named in ``attacks`` (None: all).

    Raises:
        ValueError: the protocol or an ensemble is unknown, or an ensemble cannot attack this network within this threat.
    """
    chosen = protocol if isinstance(protocol, Protocol) else find_protocol(str(protocol))
    called = protocol if isinstance(protocol, str) else "own"
    groups = {name: _ensemble(called, chosen, name) for name in _names(attacks) or chosen.ensembles}
    _possible(called, groups, net, threat, sources)
    return called, chosen, groups


def _names(attacks: Sequence[str] | None) -> tuple[str, ...]:
    """Return names of ensembles, empty for all; one name may stand alone. Raises ValueError for an empty list."""
    if attacks is not None and not attacks:
        raise ValueError("evaluation needs at least one eps and at least one attack")
    return (attacks,) if isinstance(attacks, str) else tuple(attacks or ())


def _ensemble(called: str, chosen: Protocol, name: str) -> tuple[Group, ...]:
    """Return an ensemble of a protocol, or raise a ValueError that names another protocol with that ensemble."""
    others = [other for other, known in PROTOCOLS.items() if name in known.ensembles]
    try:
        return find(f"attack of protocol {called!r}:", chosen.ensembles, name)
    except ValueError as error:
        raise ValueError(f"{error}; protocol {others[0]!r} has {name!r}" if others else str(error)) from None


def _possible(
    protocol: str, groups: Mapping[str, Sequence[Group]], net: nn.Module, threat: Threat, sources: Mapping[str, nn.Module]
) -> None:
    """Raise ValueError if an ensemble has no members or does not support the threat, or if a source network is on another
    device."""
    for name, ensemble in groups.items():
        if not members(ensemble, threat, net, (), sources):
            raise ValueError(
                f"ensemble {name!r} of protocol {protocol!r} has no members, so every image would be robust: "
                "add paths, or networks to transfer from (sources, or evaluation.transfer in a recipe)"
            )
    for name, source in sources.items():
        where = {str(parameter.device) for parameter in (*source.parameters(), *net.parameters())}
        if len(where) > 1:
            raise ValueError(
                f"source {name!r} and the network are on different devices, {' and '.join(sorted(where))}: move one of them"
            )


def fitting(guide: nn.Module, few: Samples, batch: int, memory: int) -> int:
    """Return the largest batch size, up to ``batch``, with a graph of at most ``memory`` bytes, estimated on a few images.

    Raises:
        ValueError: a single image needs more.
    """
    x, _, _ = next(few.batches(len(few)))
    each = graph_bytes(guide, x.requires_grad_()) // len(x) + 1
    if each > memory:
        raise ValueError(f"an attack on one image needs {each / 2**20:.0f} MiB: allow more than {memory / 2**20:.0f} MiB")
    return min(batch, memory // each)
