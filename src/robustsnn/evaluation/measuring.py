"""An evaluation as a whole: what is asked for is checked, measured and reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from torch import nn

from robustsnn.attacks import accepted
from robustsnn.compute.precision import ieee
from robustsnn.compute.recall import graph_bytes
from robustsnn.data import Samples, answers, as_samples
from robustsnn.evaluation.ensemble import Target
from robustsnn.evaluation.evaluated import Evaluated
from robustsnn.evaluation.measures import MEASURES
from robustsnn.evaluation.measures.layers import timesteps
from robustsnn.evaluation.member import Group, members
from robustsnn.evaluation.protocols import PROTOCOLS, Audit, Protocol
from robustsnn.evaluation.protocols import protocol as find_protocol
from robustsnn.evaluation.report import Report
from robustsnn.names import find, first_error, number
from robustsnn.processes import Team
from robustsnn.seeds import derive
from robustsnn.settings import Settings
from robustsnn.threats import THREATS, kind
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
    memory: int | None = None,
    sources: Mapping[str, nn.Module] = {},
    pilot_images: Any = None,
    fabric: lightning_fabric.Fabric | None = None,
    state: Path | None = None,
    on_progress: Callable[[str, float], None] = lambda what, share: None,
    **settings: Any,
) -> Report:
    """Measure clean and worst-case accuracy under a protocol, and what else stands in `MEASURES`.

    Arguments:
        net: `SpikingNetwork`, another library's (`robustsnn.deploy`), or any ``nn.Module`` that maps pixels ``[N, ...]`` in
            ``[0, 1]`` to logits; untouched.
        data: the samples to judge on, as `as_samples` takes them. Random starts follow their ids.
        protocol: ``quick``, ``paper``, ``rigorous``, ``autoattack``, the path of a TOML file (see `protocols.protocol`), a
            `Protocol` of one's own, which the report calls ``own``, or whole `Settings`, which leave no more to be said.
        eps: radius or radii of the threat, such as 0.1 or ``"8/255"``; the kind's usual one if None: 8/255, under ``"L2"``
            0.5. Under the rule ``"any"`` what a smaller one broke is not attacked again.
        threat: the kind of threat, by name, see `threats.THREATS`; L-infinity if None. Or a threat with its radius, such as
            ``L2(0.5)``, instead of ``eps``.
        attacks: names of the protocol's ensembles to run; None runs all.
        check: how thoroughly the result is audited; as the protocol says if None.
        seed: of random starts, which depend on (seed, member, image) and on nothing else.
        memory: bytes that an attack's graph may keep; the batch is made as small as that needs.
        sources: networks whose adversarial examples are tried too, by name.
        pilot_images: on which a ranked protocol ranks its paths; some of ``data`` if None.
        fabric: where to run; one process if None. Several processes share the images, and all return the whole report.
        state: a file that keeps what is found, one per process; if it is there, the evaluation continues from it. Removed at
            the end.
        on_progress: told what runs (the pilot, each attack at each radius, the audit) and the share of it that is done, which
            rises to 1.
        settings: the other fields of `Settings`: ``rule``, ``limit``, ``batch``, ``crafting``, ``shown`` (0 here).

    Raises:
        ValueError: an unknown protocol, attack or threat, a threat that an attack cannot follow, eps out of range, no samples,
            a network that does not fit them, or a state of another evaluation.
    """
    if isinstance(protocol, Settings):
        if settings or not eps is threat is attacks is None:
            raise ValueError(
                "settings were given and keywords beside them: put all of it into the settings, or give keywords alone"
            )
        asked = Settings.model_validate(protocol.model_dump(include={*Settings.model_fields}))  # of a recipe's no more
    else:
        audit = {f"audit_{name}": value for name, value in asdict(check).items()} if check else {}
        called = "own" if isinstance(protocol, Protocol) else str(protocol)
        asked = _asked(called, threat, eps, attacks, {"shown": 0, **audit, **settings})
    data = as_samples(data, limit=asked.limit)
    if not len(data):
        raise ValueError("evaluation needs images, and there are none: give some")
    own = protocol if isinstance(protocol, Protocol) else asked.protocol
    called, chosen, groups = chosen_groups(own, asked.attacks, net, asked.threats[0], sources)
    asked = asked.model_copy(update={f"audit_{name}": number for name, number in asdict(chosen.audit.under(asked)).items()})
    answers(net, data)
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
        on_progress=on_progress,
        target=target,
    )
    if memory is not None:
        here.batch = fitting(here.crafted.guide, data.first(2).to(device), here.batch, memory)
    found = {name: here.found(measure) for name, measure in MEASURES.items()}
    name = called if called in PROTOCOLS else f"{called} {derive(repr(chosen)):016x}"
    report = Report(
        settings=asked.model_copy(update={"protocol": name}),
        edition=chosen.edition,
        images=len(data),
        seed=seed,
        timesteps=timesteps(net),
        measured={name: value for name, value in found.items() if value is not None},
        seconds=time.perf_counter() - started,
    )
    if here.state is not None:
        here.state.unlink(missing_ok=True)
    return report


def _asked(protocol: str, threat: Any, eps: Any, attacks: Sequence[str] | None, more: Mapping[str, Any]) -> Settings:
    """What the keywords of `evaluate` ask for."""
    if attacks is not None and not attacks:
        raise ValueError("evaluation needs at least one eps and at least one attack")
    name, radii = radii_of(eps, threat)
    try:
        return Settings(protocol=protocol, threat=name, eps=radii, attacks=tuple(attacks or ()), **more)
    except ValidationError as error:
        raise ValueError(first_error(error)) from None


def radii_of(eps: Any, threat: str | Threat | None) -> tuple[str | None, tuple[Any, ...]]:
    """The name of a kind of threat, None for the usual one, and the radii at which it is meant.

    Raises:
        ValueError: an unknown kind, no radius, or two that contradict each other.
    """
    if threat is not None and not isinstance(threat, str):
        name = type(threat).__name__
        known: object = THREATS.get(name)
        if known is not type(threat):
            raise ValueError(f"the threat {threat!r} is of no known kind: put its class into robustsnn.threats.THREATS")
        if eps is not None:
            raise ValueError(f"the threat {threat!r} has its radius, and eps={eps!r} gives another: leave eps out")
        return name, (threat.eps,)
    if eps is None:
        return threat, (kind(threat)().eps,)
    radii = (eps,) if isinstance(eps, str | float | int) else tuple(eps)
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
    """The name of a protocol, the protocol, and those of its ensembles that were asked for, by name; all if none was.

    Raises:
        ValueError: an unknown protocol or ensemble, or one that cannot attack this network within this threat.
    """
    chosen = protocol if isinstance(protocol, Protocol) else find_protocol(protocol)
    called = protocol if isinstance(protocol, str) else "own"
    groups = {name: _ensemble(called, chosen, name) for name in attacks or chosen.ensembles}
    _possible(called, groups, net, threat, sources)
    return called, chosen, groups


def _ensemble(called: str, chosen: Protocol, name: str) -> tuple[Group, ...]:
    """An ensemble of a protocol. Raises ValueError: it has none of that name; the line says which one has."""
    others = [other for other, known in PROTOCOLS.items() if name in known.ensembles]
    try:
        return find(f"attack of protocol {called!r}:", chosen.ensembles, name)
    except ValueError as error:
        raise ValueError(f"{error}; protocol {others[0]!r} has {name!r}" if others else str(error)) from None


def _possible(
    protocol: str, groups: Mapping[str, Sequence[Group]], net: nn.Module, threat: Threat, sources: Mapping[str, nn.Module]
) -> None:
    """Refuse ensembles that nobody would be a member of or that cannot follow the threat, and sources that could not look at
    the images."""
    for name, ensemble in groups.items():
        for group in ensemble:
            accepted(group.attack, threat)
        if not members(ensemble, threat, net, (), sources):
            raise ValueError(
                f"ensemble {name!r} of protocol {protocol!r} has no members, so every image would be robust: "
                "give it paths, or networks to transfer from (sources; in a recipe evaluation.transfer)"
            )
    for name, source in sources.items():
        where = {str(parameter.device) for parameter in (*source.parameters(), *net.parameters())}
        if len(where) > 1:
            raise ValueError(
                f"source {name!r} and the network are on different devices, {' and '.join(sorted(where))}: move it"
            )


def fitting(guide: nn.Module, few: Samples, batch: int, memory: int) -> int:
    """The number of images up to ``batch`` whose graph keeps at most ``memory`` bytes, judged by those of a few.

    Raises:
        ValueError: a single image needs more.
    """
    x, _, _ = next(few.batches(len(few)))
    each = graph_bytes(guide, x.requires_grad_()) // len(x) + 1
    if each > memory:
        raise ValueError(f"an attack on one image keeps {each / 2**20:.0f} MiB: allow more than {memory / 2**20:.0f} MiB")
    return min(batch, memory // each)
