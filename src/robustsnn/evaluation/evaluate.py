"""What a network withstands: an image is robust only if it survives every member of an ensemble."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from robustsnn.data import Images
from robustsnn.evaluation.energy import firing_rates, thresholds
from robustsnn.evaluation.members import Member, members
from robustsnn.evaluation.protocols import PROTOCOLS, Rule
from robustsnn.evaluation.results import MISCLASSIFIED, ROBUST, Report, Result
from robustsnn.names import find
from robustsnn.seeds import image_seeds
from robustsnn.spiking import SpikingNetwork, rewire
from robustsnn.types import Judge, Randomness


def worst_case(
    members: Sequence[Member],
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    rng: Randomness,
    rule: Rule = "any",
    on_member: Callable[[int, int], None] = lambda member, survivors: None,
) -> tuple[Tensor, Tensor]:
    """Run members one after the other on the images that still survive.

    Judging is done here, on the network's own forward pass in float32, on images clipped once more to the attack's ball and
    the box.

    Arguments:
        members: in the order in which they run.
        net: ANN or `SpikingNetwork`; judged, and attacked, as a view in eval mode, itself untouched.
        x: images ``[N,C,H,W]`` in ``[0, 1]``; y: labels ``[N]``.
        rng: a generator, or one seed per image, of which each member derives its own.
        rule: ``"any"`` judges every iterate of an attack, ``"last"`` the one it returns.
        on_member: told each member's index and how many images survive it.

    Returns:
        ``x_adv [N,C,H,W]`` (the image that broke it, or the last one tried) and ``broken_by [N]``: index of the member that
        broke the image, -1 robust, -2 misclassified clean.
    """
    if rule not in ("any", "last"):
        raise ValueError(f"rule must be 'any' or 'last', not {rule!r}")
    view = rewire(net, lambda _, __: None).eval()
    seeds = _seeds(rng, len(x)).to(x.device)

    def wrong(images: Tensor, index: Tensor) -> Tensor:
        with torch.no_grad():
            predicted: Tensor = view(images).argmax(1)
        return predicted != y[index]

    everyone = torch.arange(len(x), device=x.device)
    broken_by = torch.where(wrong(x, everyone), MISCLASSIFIED, ROBUST)
    x_adv = x.clone()
    for number, member in enumerate(members):
        alive = everyone[broken_by == ROBUST]
        if len(alive):
            clean, labels = x[alive], y[alive]

            def judged(images: Tensor, index: Tensor, alive: Tensor = alive) -> Tensor:
                return wrong(images, alive[index])

            judge: Judge | None = judged if rule == "any" else None
            mine = image_seeds(seeds[alive], str(member))
            adv = member.attack(member.path(view), clean.clone(), labels, rng=mine, judge=judge)
            adv = member.attack.ball.project(torch.where(adv.isfinite(), adv, clean), clean)
            x_adv[alive] = adv
            broken_by[alive[wrong(adv, alive)]] = number
        on_member(number, int((broken_by == ROBUST).sum()))
    return x_adv, broken_by


def _seeds(rng: Randomness, count: int) -> Tensor:
    if isinstance(rng, torch.Generator):
        return torch.randint(2**62, (count,), generator=rng, device=rng.device)
    if len(rng) != count:
        raise ValueError(f"{len(rng)} seeds were given for {count} images: give one seed per image")
    return rng


def evaluate(
    net: nn.Module,
    data: Images,
    protocol: str = "paper",
    eps: float | Sequence[float] = 8 / 255,
    *,
    attacks: Sequence[str] | None = None,
    rule: Rule | None = None,
    seed: int = 0,
    batch: int = 250,
    on_progress: Callable[[str, float], None] = lambda what, share: None,
) -> Report:
    """Measure clean and worst-case accuracy under a protocol.

    Arguments:
        net: ANN or `SpikingNetwork` that maps pixels ``[N,C,H,W]`` in ``[0, 1]`` to logits; untouched.
        data: the images to judge on.
        protocol: one of ``quick``, ``paper``.
        eps: radius or radii of the L-infinity ball, pixels in ``[0, 1]``.
        attacks: names of the protocol's ensembles to run; None runs all.
        rule: overrides the protocol's rule of success.
        seed: of random starts, which depend on (seed, member, image) and on nothing else.
        batch: images attacked together; does not change the result.
        on_progress: told what runs and the share done.

    Raises:
        ValueError: an unknown protocol or attack, eps below 0, no images.
    """
    chosen = find("protocol", PROTOCOLS, protocol)
    radii = tuple(eps) if isinstance(eps, Sequence) else (eps,)
    names = list(chosen.attacks) if attacks is None else list(attacks)
    if not len(data) or not radii or not names:
        raise ValueError("evaluation needs images, at least one eps and at least one attack")
    if max(radii) > 1:
        raise ValueError(f"eps must be at most 1, since pixels are in [0, 1], not {max(radii):g}: 8 grey levels are 8/255")
    started = time.perf_counter()
    judge_by = rule or chosen.rule
    results = []
    for name in names:
        make = find(f"attack of protocol {protocol!r}:", chosen.attacks, name)
        for radius in radii:
            ensemble = members(make(radius), chosen.paths, net)
            broken: list[Tensor] = []
            what = f"{name} at {radius:.4g}"
            for start, (x, y, index) in enumerate(data.batches(batch)):
                seeds = image_seeds(index, seed, name)

                def report(number: int, survivors: int, start: int = start, what: str = what) -> None:
                    done = start + (number + 1) / len(ensemble)  # noqa: B023
                    on_progress(what, min(1.0, done * batch / len(data)))

                device = next(net.parameters(), x).device
                x, y = x.to(device), y.to(device)
                flags = worst_case(ensemble, net, x, y, rng=seeds, rule=judge_by, on_member=report)[1]
                broken.append(flags.cpu())
            results.append(
                Result(
                    attack=name,
                    eps=radius,
                    rule=judge_by,
                    members=tuple(str(member.path) for member in ensemble),
                    broken_by=tuple(torch.cat(broken).tolist()),
                )
            )
    return Report(
        protocol=protocol,
        images=len(data),
        seed=seed,
        timesteps=net.dynamics.timesteps if isinstance(net, SpikingNetwork) else None,
        results=tuple(results),
        thresholds=thresholds(net),
        firing_rates=firing_rates(net, data, batch),
        seconds=time.perf_counter() - started,
    )
