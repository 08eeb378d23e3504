"""Checks for signs of gradient masking, after Athalye et al. 2018 and Carlini et al. 2019."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from robustsnn.attacks import FGSM, NES, CornerNoise, EventSearch, GreedyFlips, Square, UniformNoise, ascent
from robustsnn.evaluation.intervals import at_least
from robustsnn.evaluation.measures.layers import repeats, timesteps
from robustsnn.evaluation.measures.pilot import PathFigures
from robustsnn.evaluation.member import Member
from robustsnn.evaluation.protocols import Audit
from robustsnn.evaluation.results import ROBUST, Check, Result, Verdict
from robustsnn.evaluation.subject import Subject
from robustsnn.spiking import Plain, Scaled, Surrogate
from robustsnn.threats import Ball, Flips
from robustsnn.types import Attack, GradientPath, Threat

FEW, UNLIKELY = 0.01, 0.025
"""Tolerated share of images that an additional attack breaks, and the p-value below which a higher share fails the check."""

LOSSES = (0, 1, 5, 20)
"""Numbers of PGD steps after which the loss is measured."""


def trials(how: Audit, threat: Threat) -> dict[str, Attack]:
    """Return the attacks of an audit under the evaluation's threat by purpose, in order."""
    noise: dict[str, Attack] = {"uniform": UniformNoise()}
    queries: dict[str, Attack] = {"queries": EventSearch(how.queries)}
    single = ascent(threat, 1)
    climb: Callable[[int], Attack] = GreedyFlips if isinstance(threat, Flips) else partial(ascent, threat)
    if isinstance(threat, Ball):
        noise["corners"], single = CornerNoise(), FGSM()
        queries = {"queries": Square(how.queries), "slopes": NES(max(how.queries, NES.samples))}
    return {
        "iterated": climb(20),
        "single": single,
        **noise,
        **queries,
        **{f"loss {steps}": climb(steps) if steps else UniformNoise(draws=1) for steps in LOSSES},
        "long": ascent(threat, how.steps),
        "restarts": ascent(threat, restarts=5),
    }


def audit(
    subject: Subject,
    results: Sequence[Result],
    places: Sequence[int],
    paths: Mapping[GradientPath, PathFigures],
    how: Audit,
    unchanged: bool,
) -> tuple[Check, ...]:
    """Run all checks.

    Arguments:
        subject: the network on the audit's images, with its strongest path and the largest radius.
        results: results of the protocol.
        places: positions of the subject's correctly classified images in ``broken_by``.
        paths: results of the pilot.
        unchanged: whether the evaluation left the network unchanged.
    """
    count = len(subject.images)
    subject.on_share(0.0)
    if not len(subject.y):
        subject.on_share(1.0)
        none = f"no audit: all {count} audited samples are misclassified without an attack"
        return (Check(name="accuracy", figure=0.0, verdict="warn", meaning=none),)
    largest = [result for result in results if result.eps == subject.threat.eps]
    survivors = torch.stack([_flags(result, places) == ROBUST for result in largest]).all(0).to(subject.y.device)
    led = torch.stack([_by_gradients(result, places) for result in largest]).any(0).to(subject.y.device)
    tried, further = trials(how, subject.threat), subject.threat.wider(subject.x)
    subject.expect([*tried.values(), *[tried["iterated"]] * len(further)])
    iterated = subject.broken(tried["iterated"])
    single = subject.broken(tried["single"], rule="last")
    noisy = torch.zeros_like(single)
    for name in ("uniform", "corners"):
        noisy |= subject.broken(tried[name]) if name in tried else noisy
    white = iterated | single | led
    queried = ~survivors & ~white
    for name in ("queries", "slopes"):
        queried |= subject.broken(tried[name], survivors & ~queried, path=Plain()) if name in tried else queried
    checks = [_gradients(list(paths.values())), *_scale(paths)]
    checks.append(_losses([subject.loss(tried[f"loss {steps}"]) for steps in LOSSES]))
    added: Sequence[tuple[str, Tensor, str]] = (
        (
            f"PGD-{how.steps}",
            subject.broken(tried["long"], survivors),
            "samples that survive the protocol but not a much longer run",
        ),
        ("restarts", subject.broken(tried["restarts"], survivors), "samples that survive the protocol but not five restarts"),
        ("black box", queried, "samples that only queries, transfer or noise break, in the audit or in the protocol"),
        ("single step", single & ~iterated, "samples that one step breaks and 20 steps do not"),
        ("noise", noisy & ~white, "samples that noise breaks and gradients do not"),
    )
    checks += [share_found(name, int(flags.sum()), count, meaning) for name, flags, meaning in added]
    if further:
        checks.append(_sweep(subject, tried["iterated"], further))
    checks += _radii(results)
    checks += _interface(subject)
    excess = max([subject.cost.excess, *(far for result in results for far in result.excess)])
    inside = "largest distance of an attack's results outside the threat, before clipping; 1 for non-finite values"
    checks.append(Check(name="ball and box", figure=excess, verdict=_ok(excess <= 1e-6), meaning=inside))
    state = "1 if the evaluation changed parameters, buffers, or training or gradient flags of the network, else 0"
    checks.append(Check(name="state", figure=float(not unchanged), verdict=_ok(unchanged), meaning=state))
    subject.tell(subject.whole)
    return tuple(checks)


def transfer(sources: Collection[str]) -> Check:
    """Check that a protocol with transfer was given source networks."""
    if not sources:
        none = "no transfer: no source networks were given (set evaluation.transfer in a recipe, or sources in Python)"
        return Check(name="transfer", figure=0, verdict="warn", meaning=none)
    return Check(name="transfer", figure=len(sources), verdict="pass", meaning="networks whose examples were tried")


def followed(members: Iterable[Member], net: nn.Module, x: Tensor) -> Check:
    """Check that a network that runs over time steps was attacked along more than one gradient path.

    Arguments:
        members: all members of the protocol.
        net: the attacked network.
        x: an image, ``[1,C,H,W]``, to detect time steps in a network of unknown kind.
    """
    count = len({str(member.path) for member in members if member.white_box})
    spiking = timesteps(net) is not None
    meaning = "gradient paths that the protocol followed"
    if count > 1 or not (spiking or repeats(net, x)):
        return Check(name="paths", figure=count, verdict="pass", meaning=meaning)
    if spiking:
        meaning += " through a spiking network: choose a protocol with more, such as quick or rigorous"
    else:
        meaning += (
            ", although weight layers run several times per pass. If these are time steps, only one surrogate was tested: "
            "convert the network, or import it with its neurons (docs/interop.md)"
        )
    return Check(name="paths", figure=count, verdict="warn", meaning=meaning)


def _flags(result: Result, places: Sequence[int]) -> Tensor:
    return torch.tensor(result.broken_by)[list(places)]


def _by_gradients(result: Result, places: Sequence[int]) -> Tensor:
    """Return which images were broken by gradients of the attacked network, not by queries or transfer."""
    white = [number for number, follows in enumerate(result.white_box) if follows]
    return torch.isin(_flags(result, places), torch.tensor(white, dtype=torch.int64))


def _ok(good: bool) -> Verdict:
    return "pass" if good else "fail"


def share_found(name: str, hits: int, count: int, meaning: str) -> Check:
    """Warn above a share of 1 %; fail if a true share of 1 % would make that many hits too unlikely."""
    share = hits / count
    verdict: Verdict = "pass" if share <= FEW else "fail" if at_least(hits, count, FEW) < UNLIKELY else "warn"
    return Check(name=name, figure=share, verdict=verdict, meaning=f"share of {meaning}")


def _gradients(paths: Sequence[PathFigures]) -> Check:
    shares = [path.zero_gradient for path in paths]
    least, middle = min(shares), statistics.median(shares)
    verdict: Verdict = "fail" if least > 0.05 else "warn" if middle > 0.25 else "pass"
    meaning = f"share of samples without a usable gradient on the best path (median over paths {middle:.1%})"
    return Check(name="gradients", figure=least, verdict=verdict, meaning=meaning)


def _scale(paths: Mapping[GradientPath, PathFigures]) -> list[Check]:
    """Check that surrogates of the published widths are not much weaker than surrogates in units of the thresholds. No check
    if the network has no such paths: an ANN, and a network of another library, whose thresholds are not known."""
    widths, scaled = (
        max((figures.broken for path, figures in paths.items() if isinstance(path, kind)), default=0.0)
        for kind in (Surrogate, Scaled)
    )
    less, scales = scaled - widths, any(isinstance(path, Scaled) for path in paths)
    verdict: Verdict = "pass" if less <= 0.1 else "fail" if widths <= scaled / 2 else "warn"
    meaning = (
        "additional share of pilot samples that surrogates in units of the thresholds break: "
        f"{scaled:.1%} against {widths:.1%} with the published widths, which do not fit thresholds far from 1"
    )
    return [Check(name="scale", figure=less, verdict=verdict, meaning=meaning)] if scales and (scaled or widths) else []


def _losses(losses: Sequence[float]) -> Check:
    start, one, five, twenty = losses
    verdict: Verdict = "fail" if twenty < start + 1e-3 else "warn" if not one <= five * 1.02 <= twenty * 1.04 else "pass"
    meaning = f"rise of the loss from random start to 20 steps (start {start:.3g}, then {one:.3g}, {five:.3g}, {twenty:.3g})"
    return Check(name="loss", figure=twenty - start, verdict=verdict, meaning=meaning)


def _sweep(subject: Subject, swept: Attack, further: Sequence[Threat]) -> Check:
    """Check that robust accuracy falls to 0 % at large radii. Each radius attacks what the previous one left."""
    share, last = 0.0, torch.ones_like(subject.y, dtype=torch.bool)
    for threat in further:
        last = last & ~subject.broken(swept, last, threat=threat)
        share = int(last.sum()) / len(subject.images)
        if not share:
            return Check(
                name="sweep", figure=threat.eps, verdict="pass", meaning="radius at which no sample survives 20 steps"
            )
    return Check(name="sweep", figure=share, verdict=_ok(not share), meaning="share of samples that survive any radius")


def _radii(results: Sequence[Result]) -> list[Check]:
    """Check that accuracy does not rise with the radius; no check for a single radius."""
    attacks: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda result: result.eps):
        attacks.setdefault(result.attack, []).append(result)
    rises = [more.survivors - less.survivors for each in attacks.values() for less, more in pairwise(each)]
    meaning = "samples by which the protocol's accuracy rises from one radius to the next larger one"
    return [share_found("radii", max(0, *rises, 0), len(results[0].broken_by), meaning)] if rises else []


def _interface(subject: Subject) -> list[Check]:
    with torch.no_grad():
        first, second = subject.view(subject.x), subject.view(subject.x)
    gap = float((first - second).abs().max())
    sums = (first.sum(1) - 1).abs().max()
    probabilities = bool(sums < 1e-4) and bool((first >= 0).all())
    largest = float(first.abs().max())
    same = gap <= 1e-5 * max(1.0, largest)
    repeats, logits = "difference between two identical passes", "largest output; probabilities would mask gradients"
    if not same:
        repeats += ": the network is random, or keeps state between calls, as unwrapped neurons do (docs/interop.md)"
    return [
        Check(name="repeats", figure=gap, verdict=_ok(same), meaning=repeats),
        Check(name="logits", figure=largest, verdict=_ok(not probabilities), meaning=logits),
    ]
