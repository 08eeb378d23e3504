"""Clean and worst-case accuracy under a protocol, resumable, with its audit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor, nn

from robustsnn.data import Images
from robustsnn.evaluation.audit import Audit, Subject, audit
from robustsnn.evaluation.energy import firing_rates, operations, stored_weights, thresholds, timesteps
from robustsnn.evaluation.examples import examples
from robustsnn.evaluation.latency import correct_over_time
from robustsnn.evaluation.members import PUBLISHED_PATHS, Member, leading, members
from robustsnn.evaluation.pilot import pilot, pilots
from robustsnn.evaluation.protocols import PROTOCOLS, Protocol, Rule
from robustsnn.evaluation.protocols import protocol as find_protocol
from robustsnn.evaluation.results import MISCLASSIFIED, ROBUST, Check, PathFigures, Report, Result
from robustsnn.evaluation.shared import runs
from robustsnn.evaluation.state import Progress, State, carried
from robustsnn.evaluation.worst import Cost, Crafting, Target, attempts, wrong
from robustsnn.files import digest
from robustsnn.names import find
from robustsnn.seeds import derive, image_seeds
from robustsnn.spiking.recall import graph_bytes
from robustsnn.training.engine import Team, cpu
from robustsnn.types import GradientPath

if TYPE_CHECKING:
    import lightning_fabric

PILOTS = 64
"""Images on which a pilot ranks the gradient paths."""


def evaluate(
    net: nn.Module,
    data: Images,
    protocol: str | Protocol = "rigorous",
    eps: float | Sequence[float] = 8 / 255,
    *,
    attacks: Sequence[str] | None = None,
    rule: Rule | None = None,
    seed: int = 0,
    batch: int = 250,
    memory: int | None = None,
    crafting: Crafting = "float32",
    sources: Mapping[str, nn.Module] = {},
    pilot_images: Images | None = None,
    check: Audit = Audit(),
    shown: int = 0,
    fabric: lightning_fabric.Fabric | None = None,
    state: Path | None = None,
    on_progress: Callable[[str, float], None] = lambda what, share: None,
) -> Report:
    """Measure clean and worst-case accuracy under a protocol.

    Arguments:
        net: `SpikingNetwork`, another library's (`robustsnn.deploy`), or any ``nn.Module`` that maps pixels ``[N,C,H,W]`` in
            ``[0, 1]`` to logits; untouched.
        data: the images to judge on. Random starts follow their ids.
        protocol: ``quick``, ``paper``, ``rigorous``, ``autoattack``, the path of a TOML file (see `protocols.protocol`), or a
            `Protocol` of one's own, which the report calls ``own``.
        eps: radius or radii of the L-infinity ball, pixels in ``[0, 1]``. Under the rule ``"any"`` what a smaller one broke
            is not attacked again.
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
        on_progress: told what runs and the share done.

    Raises:
        ValueError: an unknown protocol or attack, eps out of range, no images, or a state of another evaluation.
    """
    chosen, called = (protocol, "own") if isinstance(protocol, Protocol) else (find_protocol(protocol), protocol)
    radii = tuple(eps) if isinstance(eps, Sequence) else (eps,)
    names = list(chosen.ensembles) if attacks is None else list(attacks)
    if not len(data) or not radii or not names:
        raise ValueError("evaluation needs images, at least one eps and at least one attack")
    if max(radii) > 1:
        raise ValueError(f"eps must be at most 1, since pixels are in [0, 1], not {max(radii):g}: 8 grey levels are 8/255")
    if rule not in (None, *get_args(Rule)):
        raise ValueError(f"rule must be 'any' or 'last', not {rule!r}")
    groups = {name: find(f"attack of protocol {called!r}:", chosen.ensembles, name) for name in names}
    started = time.perf_counter()
    before = digest(net.state_dict())
    team = Team(fabric or cpu())
    target = Target.of(net, find("crafting", {name: name for name in get_args(Crafting)}, crafting))
    device = next(net.parameters(), data.labels).device
    batch = batch if memory is None else fitting(target.guide, data.first(2).to(device), batch, memory)
    victim = Victim(net, target, data.near(device), device, rule or chosen.rule, seed, batch, team, on_progress)
    images = digest({"pixels": data.pixels, "labels": data.labels, "ids": data.ids})
    origins = sorted((name, digest(source.state_dict())) for name, source in sources.items())
    kept = State.resume(team.own(state), repr((before, images, chosen, names, radii, victim.rule, seed, origins, crafting)))
    kept.agree(team.agree([result.model_dump(mode="json") for result in kept.done]))
    clean = victim.clean()
    paths: dict[GradientPath, PathFigures] = {}
    if chosen.ranked or check.images:
        few = (pilot_images or pilots(data, PILOTS, seed)).to(device)
        known = leading(net, PUBLISHED_PATHS)
        paths = pilot(net, few, known, max(radii), seed, lambda i: on_progress("pilot", (i + 1) / len(known)))
    ranking = list(paths) if chosen.ranked else []
    ensembles = {(name, radius): members(groups[name], radius, net, ranking, sources) for name in names for radius in radii}
    for name in names:
        for radius in sorted(radii):
            if not any((result.attack, result.eps) == (name, radius) for result in kept.done):
                victim.measure(name, radius, ensembles[name, radius], carried(kept.done, name, radius, clean), kept)
    results = sorted(kept.done, key=lambda result: list(ensembles).index((result.attack, result.eps)))
    worst = min((r for r in results if r.eps == max(radii)), key=lambda result: result.robust.value)
    unchanged = digest(net.state_dict()) == before
    report = Report(
        protocol=called if called in PROTOCOLS else f"{called} {derive(repr(chosen)):016x}",
        images=len(data),
        seed=seed,
        timesteps=timesteps(net),
        results=tuple(results),
        pilot={str(path): figures for path, figures in paths.items()},
        audit=_audited(victim, results, paths, check, unchanged),
        weights=stored_weights(net),
        thresholds=thresholds(net),
        **_without_attack(net, data, batch, team),
        examples=examples(target, victim.data, worst, ensembles[worst.attack, worst.eps], shown, seed),
        seconds=time.perf_counter() - started,
    )
    kept.discard()
    return report


def _without_attack(net: nn.Module, data: Images, batch: int, team: Team) -> dict[str, Any]:
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


def fitting(guide: nn.Module, few: Images, batch: int, memory: int) -> int:
    """The number of images up to ``batch`` whose graph keeps at most ``memory`` bytes, judged by those of a few.

    Raises:
        ValueError: a single image needs more.
    """
    x, _, _ = next(few.batches(len(few)))
    each = graph_bytes(guide, x.requires_grad_()) // len(x) + 1
    if each > memory:
        raise ValueError(f"an attack on one image keeps {each / 2**20:.0f} MiB: allow more than {memory / 2**20:.0f} MiB")
    return min(batch, memory // each)


@dataclass(frozen=True)
class Victim:
    """The attacked network with all that stays the same over an evaluation."""

    net: nn.Module
    target: Target
    data: Images
    device: torch.device
    rule: Rule
    seed: int
    batch: int
    team: Team
    on_progress: Callable[[str, float], None]

    def clean(self) -> Tensor:
        """Flags before any attack, ``[N]``."""
        flags = torch.full((len(self.data),), ROBUST)
        for index in self.team.share(len(self.data)).split(self.batch):
            missed = wrong(self.target.judged, *self.images(index)[:2])
            flags[index[missed.cpu()]] = MISCLASSIFIED
        return self.team.merge(flags)

    def images(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels, labels and ids of the images ``index``, on the network's device."""
        place = index.to(self.data.labels.device)
        x, y = self.data.batch(place)
        return x.to(self.device), y.to(self.device), self.data.ids[place].to(self.device)

    def measure(self, name: str, eps: float, ensemble: Sequence[Member], flags: Tensor, kept: State) -> None:
        """Run one ensemble at one radius: member by member, on full batches of the images that still survive."""
        now = kept.current or Progress.begin(flags, len(ensemble))
        mine = self.team.share(len(flags))
        what = f"{name} at {eps:.4g}"
        first = 0
        for run in runs(ensemble):
            for number in range(first, first + len(run)):  # above first: where an earlier evaluation was cut short
                waiting = mine[(now.flags[mine] == ROBUST) & (now.tried[mine] == number)]
                for i, index in enumerate(waiting.split(self.batch)):
                    self.on_progress(what, (number + i * self.batch / max(1, len(waiting))) / len(ensemble))
                    if len(index):
                        self._attack(run[number - first :], number, index, now, name, kept)
            first += len(run)
        self.on_progress(what, 1.0)
        result = Result(
            attack=name,
            eps=eps,
            rule=self.rule,
            members=tuple(member.name for member in ensemble),
            broken_by=tuple(self.team.merge(now.flags).tolist()),
            white_box=tuple(member.white_box for member in ensemble),
            gradients=tuple(self.team.total(torch.tensor(now.gradients)).tolist()),
            queries=tuple(self.team.total(torch.tensor(now.queries)).tolist()),
            excess=tuple(self.team.largest(torch.tensor(now.excess)).tolist()),
        )
        kept.keep(None, (result,))

    def _attack(self, run: Sequence[Member], first: int, index: Tensor, now: Progress, name: str, kept: State) -> None:
        """Let a run, whose first member is that of the ensemble, attack the images ``index``."""
        x, y, ids = self.images(index)
        costs = [Cost() for _ in run]
        seeds = image_seeds(ids, self.seed, name)
        found = attempts(run, self.target, x, y, seeds, self.rule, costs)
        for number, ((alive, _, broken), cost) in enumerate(zip(found, costs, strict=False), first):
            now.flags[index[alive[broken].cpu()]] = number
            now.tried[index[alive.cpu()]] = number + 1
            now.gradients[number] += cost.gradients
            now.queries[number] += cost.queries
            now.excess[number] = max(now.excess[number], cost.excess)
            kept.keep(now)


def _audited(
    victim: Victim, results: Sequence[Result], paths: dict[GradientPath, PathFigures], check: Audit, unchanged: bool
) -> tuple[Check, ...]:
    """The audit at the largest radius that was measured."""
    if not check.images:
        return ()
    eps = max(result.eps for result in results)
    chosen = pilots(victim.data, check.images, victim.seed).to(victim.device)
    subject = Subject(victim.net, chosen, next(iter(paths)), eps, victim.seed)
    places = {image: place for place, image in enumerate(victim.data.ids.tolist())}
    victim.on_progress("audit", 0.0)
    return audit(subject, results, [places[image] for image in subject.ids.tolist()], paths, check, unchanged)
