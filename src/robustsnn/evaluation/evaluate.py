"""Clean and worst-case accuracy under a protocol, resumable, with its audit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import nn

from robustsnn.attacks import accepted
from robustsnn.compute.precision import ieee
from robustsnn.compute.recall import graph_bytes
from robustsnn.data import Samples, answers, as_samples
from robustsnn.evaluation.audit import audit, followed, transfer
from robustsnn.evaluation.energy import operations
from robustsnn.evaluation.ensemble import Target
from robustsnn.evaluation.examples import examples
from robustsnn.evaluation.figures import firing_rates, stored_weights, thresholds, timesteps
from robustsnn.evaluation.latency import correct_over_time
from robustsnn.evaluation.members import PUBLISHED_PATHS, SCALED_PATHS, Group, leading, members
from robustsnn.evaluation.pilot import pilot, pilots
from robustsnn.evaluation.protocols import PROTOCOLS, Audit, Protocol
from robustsnn.evaluation.protocols import protocol as find_protocol
from robustsnn.evaluation.results import Check, PathFigures, Report, Result
from robustsnn.evaluation.state import State, carried
from robustsnn.evaluation.subject import Subject
from robustsnn.evaluation.victim import Victim
from robustsnn.files import digest
from robustsnn.names import Precision, Rule, find, number
from robustsnn.processes import Team, one_process
from robustsnn.seeds import derive
from robustsnn.threats import kind
from robustsnn.types import GradientPath, Threat

if TYPE_CHECKING:
    import lightning_fabric

PILOTS = 64
"""Images on which a pilot ranks the gradient paths."""


@ieee()
def evaluate(
    net: nn.Module,
    data: Any,
    protocol: str | Protocol = "rigorous",
    eps: float | str | Sequence[float | str] | None = None,
    *,
    threat: str | None = None,
    attacks: Sequence[str] | None = None,
    rule: Rule | None = None,
    seed: int = 0,
    batch: int = 250,
    memory: int | None = None,
    crafting: Precision = "float32",
    sources: Mapping[str, nn.Module] = {},
    pilot_images: Any = None,
    check: Audit = Audit(),
    shown: int = 0,
    fabric: lightning_fabric.Fabric | None = None,
    state: Path | None = None,
    on_progress: Callable[[str, float], None] = lambda what, share: None,
) -> Report:
    """Measure clean and worst-case accuracy under a protocol.

    Arguments:
        net: `SpikingNetwork`, another library's (`robustsnn.deploy`), or any ``nn.Module`` that maps pixels ``[N, ...]`` in
            ``[0, 1]`` to logits; untouched.
        data: the samples to judge on, as `as_samples` takes them. Random starts follow their ids.
        protocol: ``quick``, ``paper``, ``rigorous``, ``autoattack``, the path of a TOML file (see `protocols.protocol`), or a
            `Protocol` of one's own, which the report calls ``own``.
        eps: radius or radii of the threat, such as 0.1 or ``"8/255"``; the kind's usual one if None: 8/255, under ``"L2"``
            0.5. Under the rule ``"any"`` what a smaller one broke is not attacked again.
        threat: the kind of threat, by name, see `threats.THREATS`; L-infinity if None.
        attacks: names of the protocol's ensembles to run; None runs all.
        rule: overrides the protocol's rule of success.
        seed: of random starts, which depend on (seed, member, image) and on nothing else.
        batch: images attacked together; does not change the result.
        memory: bytes that an attack's graph may keep; the batch is made as small as that needs.
        crafting: ``"bfloat16"`` lets attacks follow a network of that precision; what breaks an image is judged in float32
            either way.
        sources: networks whose adversarial examples are tried too, by name.
        pilot_images: on which a ranked protocol ranks its paths; some of ``data`` if None.
        check: how thoroughly the result is audited.
        shown: how many adversarial images the report holds.
        fabric: where to run; one process if None. Several processes share the images, and all return the whole report.
        state: a file that keeps what is found, one per process; if it is there, the evaluation continues from it. Removed at
            the end.
        on_progress: told what runs (the pilot, each attack at each radius, the audit) and the share of it that is done, which
            rises to 1.

    Raises:
        ValueError: an unknown protocol, attack or threat, a threat that an attack cannot follow, eps out of range, no samples,
            a network that does not fit them, or a state of another evaluation.
    """
    data = as_samples(data)
    chosen, called = (protocol, "own") if isinstance(protocol, Protocol) else (find_protocol(protocol), protocol)
    threats = _threats(threat, eps)
    rising = sorted(threats, key=lambda each: each.eps)
    names = list(chosen.ensembles) if attacks is None else list(attacks)
    if not len(data) or not threats or not names:
        raise ValueError("evaluation needs images, at least one eps and at least one attack")
    if rule not in (None, *get_args(Rule)):
        raise ValueError(f"rule must be 'any' or 'last', not {rule!r}")
    groups = {name: find(f"attack of protocol {called!r}:", chosen.ensembles, name) for name in names}
    _possible(called, groups, net, rising[-1], sources)
    answers(net, data)
    started = time.perf_counter()
    before = _condition(net)
    team = Team(fabric or one_process())
    target = Target.of(net, find("crafting", {name: name for name in get_args(Precision)}, crafting))
    device = next(net.parameters(), data.labels).device
    batch = batch if memory is None else fitting(target.guide, data.first(2).to(device), batch, memory)
    victim = Victim(net, target, data.near(device), device, rule or chosen.rule, seed, batch, team, on_progress)
    images = data.digest(ids=True)
    origins = sorted((name, digest(source.state_dict())) for name, source in sources.items())
    alone: dict[GradientPath, PathFigures] = {}
    known = leading(net, (*PUBLISHED_PATHS, *SCALED_PATHS))
    if chosen.ranked or check.images:
        few = (pilots(data, PILOTS, seed) if pilot_images is None else as_samples(pilot_images)).to(device)
        every = list(dict.fromkeys([*known, *_white_box_paths(groups, net, rising[-1])]))
        alone = pilot(net, few, every, rising[-1], seed, lambda i: on_progress("pilot", (i + 1) / len(every)))
    paths = {path: figures for path, figures in alone.items() if path in known}
    ranking = list(paths) if chosen.ranked else []
    ensembles = {(name, each.eps): members(groups[name], each, net, ranking, sources) for name in names for each in threats}
    order = [str(member) for ensemble in ensembles.values() for member in ensemble]  # which a pilot may have chosen
    asked = (before[0], images, chosen, names, threats, victim.rule, seed, origins, crafting, order)
    kept = State.resume(team.own(state), repr(asked))
    kept.agree(team.agree([result.model_dump(mode="json") for result in kept.done]))
    clean = victim.clean()
    for name in names:
        for each in rising:
            if not any((result.attack, result.eps) == (name, each.eps) for result in kept.done):
                victim.measure(name, each, ensembles[name, each.eps], carried(kept.done, name, each.eps, clean), kept)
    results = sorted(kept.done, key=lambda result: list(ensembles).index((result.attack, result.eps)))
    worst = min((r for r in results if r.eps == rising[-1].eps), key=lambda result: result.robust.value)
    how = replace(check, images=min(check.images, len(data)))
    checks = _audited(victim, rising[-1], results, paths, how, _condition(net) == before) if how.images else ()
    if checks:
        everyone = [member for ensemble in ensembles.values() for member in ensemble]
        checks = (*checks, followed(everyone, net, victim.images(torch.arange(1))[0]))
    if checks and any(group.transfers for ensemble in groups.values() for group in ensemble):
        checks = (*checks, transfer(sources))
    report = Report(
        protocol=called if called in PROTOCOLS else f"{called} {derive(repr(chosen)):016x}",
        edition=chosen.edition,
        images=len(data),
        seed=seed,
        timesteps=timesteps(net),
        results=tuple(results),
        pilot={str(path): figures for path, figures in alone.items()},
        audit=checks,
        audited=how if checks else None,
        weights=stored_weights(net),
        thresholds=thresholds(net),
        **_without_attack(net, data, batch, team),
        examples=examples(target, victim.data, worst, ensembles[worst.attack, worst.eps], shown, seed),
        seconds=time.perf_counter() - started,
    )
    kept.discard()
    return report


def _threats(name: str | None, eps: float | str | Sequence[float | str] | None) -> list[Threat]:
    """The threats of a kind at some radii."""
    of = kind(name)
    radii = (of().eps,) if eps is None else (eps,) if isinstance(eps, str | float | int) else eps
    return [of(number(radius)) for radius in radii]


def _white_box_paths(groups: Mapping[str, Sequence[Group]], net: nn.Module, threat: Threat) -> list[GradientPath]:
    """Along which a protocol's members follow gradients of the network."""
    everyone = [member for ensemble in groups.values() for member in members(ensemble, threat, net)]
    return [member.path for member in everyone if member.white_box]


def _condition(net: nn.Module) -> tuple[str, list[tuple[str, bool]]]:
    """What attacks must leave as it is: parameters and buffers by their digest, and the flags of modules and parameters."""
    training = [(name, module.training) for name, module in net.named_modules()]
    return digest(net.state_dict()), training + [(name, value.requires_grad) for name, value in net.named_parameters()]


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


def _without_attack(net: nn.Module, data: Samples, batch: int, team: Team) -> dict[str, Any]:
    """What a report holds of the clean images, each process having looked at its share of them."""
    mine = data.take(team.share(len(data)).to(data.labels.device))
    spent, hits = operations(net, mine, batch), correct_over_time(net, mine, batch=batch)
    macs, acs = ({name: getattr(layer, kind) for name, layer in spent.items()} for kind in ("macs", "acs"))
    macs, acs = team.mean(macs, len(mine)), team.mean(acs, len(mine))
    right = team.mean({str(step): count / len(mine) for step, count in enumerate(hits)}, len(mine))
    return {
        "firing_rates": team.mean(firing_rates(net, mine, batch), len(mine)),
        "operations": {n: layer.model_copy(update={"macs": macs[n], "acs": acs[n]}) for n, layer in spent.items()},
        "correct_over_time": tuple(round(share * len(data)) for share in right.values()),
    }


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


def _audited(
    victim: Victim,
    threat: Threat,
    results: Sequence[Result],
    paths: dict[GradientPath, PathFigures],
    check: Audit,
    unchanged: bool,
) -> tuple[Check, ...]:
    """The audit under a threat that was measured, the largest."""
    chosen = pilots(victim.data, check.images, victim.seed).to(victim.device)
    subject = Subject(victim.net, chosen, next(iter(paths)), threat, victim.seed)
    places = {image: place for place, image in enumerate(victim.data.ids.tolist())}
    right = [places[image] for image in subject.ids.tolist()]
    return audit(subject, results, right, paths, check, unchanged, lambda share: victim.on_progress("audit", share))
