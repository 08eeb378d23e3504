"""Lower and upper bounds on the same images, and the page that is made of them.

python -m benchmarks.certificates measure                          # what is not kept; trains the recipes first
python -m benchmarks.certificates measure robust --protocol quick  # of one network, with fewer attacks
python -m benchmarks.certificates more events nmnist cifar10       # other data; with ROBUSTSNN_DATA
python -m benchmarks.certificates random certified --images 100    # random members of the threat
python -m benchmarks.certificates cost                             # of one command
python -m benchmarks.certificates page                             # docs/certificates.md

Every command resumes if it was interrupted, and continues what is kept with more images.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import nn

from benchmarks.pages import markdown, render
from benchmarks.soundness import examined
from robustsnn import cli, evaluate, load
from robustsnn.certification import (
    Intervals,
    Method,
    Smoothing,
    SparseSmoothing,
    attack_smoothed,
    bounds,
    certify,
    method,
)
from robustsnn.certification.registry import Certified
from robustsnn.compute import copied
from robustsnn.data import Samples, digits, load_dataset
from robustsnn.evaluation import PROTOCOLS, Audit, percent, wilson
from robustsnn.files import digest, write_atomic
from robustsnn.reporting import versions
from robustsnn.reporting.bounds import stated, worded
from robustsnn.spiking import Rate
from robustsnn.threats import L2, Flips, Linf

KEPT = Path(__file__).parent / "certificates"
RUNS = Path("runs")
BALLS = (Linf(0.05), Linf(0.1))
SMOOTHED = (Linf(0.05), L2(0.5))


@dataclass(frozen=True)
class Network:
    """A network of the page.

    Arguments:
        what: in words.
        made: a recipe, or a checkpoint of the zoo.
        sigma: of its smoothing; 0: none.
    """

    what: str
    made: str
    sigma: float = 0.25

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods to compute: both kinds of intervals, and smoothing."""
        return Intervals(BALLS), Intervals(BALLS, rule="steps"), *((Smoothing(self.sigma),) if self.sigma else ())

    def net(self) -> nn.Module:
        """The network. It is trained first if there is no checkpoint yet."""
        if ":" in self.made:
            return load(self.made)
        checkpoint = RUNS / self.made / "snn.safetensors"
        if not checkpoint.is_file():
            assert cli.main(["run", self.made, "--out", str(checkpoint.parent), "--until", "finetune", "--quiet"]) == 0
        return load(checkpoint)


NETWORKS = {
    "certified": Network("trained for intervals (recipe `digits-certified`)", "digits-certified"),
    "smoothed": Network("trained for smoothing (recipe `digits-smoothed`)", "digits-smoothed"),
    "robust": Network("trained on adversarial images (`zoo:digits-robust`)", "zoo:digits-robust", sigma=0.0),
}


@torch.no_grad()
def tightness(net: nn.Module, data: Samples) -> dict[str, float]:
    """How much wider the logits' intervals of S-IBP are, at every radius: the mean ratio of widths, and the least."""
    exact, found = copied(net).double(), {}
    x, y = data.batch(torch.arange(len(data)))
    for threat in BALLS:
        ours, theirs = (bounds(exact, x.double(), threat, rule=rule) for rule in ("counts", "steps"))
        ratio = (theirs.high - theirs.low) / (ours.high - ours.low).clamp_min(1e-9)
        looser = (ours.margins(y) < theirs.margins(y) - 1e-9).any(1)
        found |= {f"{worded(threat)} mean": float(ratio.mean()), f"{worded(threat)} least": float(ratio.min())}
        found[f"{worded(threat)} looser"] = float(looser.sum())
    return found


@dataclass(frozen=True)
class Other:
    """A network on other data, which is only smoothed.

    Arguments:
        what: in words.
        data: its data set.
        smoothing: the method.
        images: how many of the first test samples to certify.
        made: a checkpoint of the zoo; empty: trained by ``recipe`` with the flags ``changed``.
        batch: noisy copies per pass.
        attacked: how many of these samples to attack by the protocol `events`, under ``FLIPS``.
    """

    what: str
    data: str
    smoothing: Smoothing | SparseSmoothing
    images: int
    made: str = ""
    recipe: str = ""
    changed: tuple[str, ...] = ()
    batch: int = 50
    attacked: int = 0

    def net(self) -> nn.Module:
        """The network. It is trained first if there is no checkpoint yet."""
        if self.made:
            return load(self.made)
        checkpoint = RUNS / f"{self.recipe}-smoothed" / "snn.safetensors"
        if not checkpoint.is_file():
            asked = ["run", self.recipe, *self.changed, "--out", str(checkpoint.parent), "--until", "finetune", "--quiet"]
            assert cli.main([*asked, "--compare"]) == 0
        return load(checkpoint)


FLIPPED = "FlippedEvents(plus=0.05, minus=0.5)"
TRAINED = ("--pretrain.epochs", "0", "--conversion.threshold", "1.0", "--finetune.objective", FLIPPED, "--finetune.probe", "")
EVENTS = SparseSmoothing(0.05, 0.5, draws=2000)
FLIPS = Flips(2)
CHUNK = 25
"""Samples that are certified together, and kept."""
OTHERS = {
    "events": Other(
        "simulated events of digits (recipe `digits-events`, trained with the noise)",
        "digits-events",
        EVENTS,
        25,
        recipe="digits-events",
        changed=(*TRAINED, "--finetune.epochs", "10", "--finetune.lr", "0.05"),
        attacked=10,
    ),
    "nmnist": Other(
        "a subset of N-MNIST with 1,100 recordings (recipe `nmnist`, trained with the noise)",
        "nmnist",
        SparseSmoothing(0.05, 0.5, draws=1000),
        50,
        recipe="nmnist",
        changed=(*TRAINED, "--finetune.epochs", "15", "--finetune.lr", "0.05"),
    ),
    "cifar10": Other(
        "CIFAR-10 (`zoo:cifar10-robust`, not trained with noise)",
        "cifar10",
        Smoothing(0.15, draws=1000),
        200,
        made="zoo:cifar10-robust",
    ),
}


def kept_of(place: Path, weights: str) -> dict[str, Any]:
    """What a file keeps of a network; nothing if the file is of other weights."""
    known: dict[str, Any] = json.loads(place.read_bytes()) if place.is_file() else {}
    return known if known.get("weights") == weights else {"weights": weights}


def write(place: Path, value: object) -> None:
    """Write a file of results."""
    write_atomic(place, (json.dumps(value) + "\n").encode())


def more(name: str, data: Samples, say: Callable[[str], None]) -> None:
    """Certify what is not kept of a network on other data, chunk by chunk, and attack it."""
    other, place, net = OTHERS[name], KEPT / f"{name}.json", OTHERS[name].net()
    smoothing = other.smoothing
    found = {"chunks": [], "broken": {}} | kept_of(place, f"{digest(net.state_dict())}, {smoothing}")
    found |= {"network": other.made or other.recipe, "versions": versions()}
    chunks, broken = found["chunks"], found["broken"]
    for at in range(sum(len(each["labels"]) for each in chunks), min(other.images, len(data)), CHUNK):
        say(f"{name}: {smoothing}, samples from {at}")
        part = data.take(torch.arange(at, min(at + CHUNK, other.images, len(data))))
        state = RUNS / f"{name}-{at}.certification"
        chunks.append(certify(net, part, smoothing, batch=other.batch, state=state).model_dump(mode="json"))
        write(place, found)
    rights = joined(chunks).certified(FLIPS)[: other.attacked] if other.attacked else ()
    held = [index for index, right in enumerate(rights) if right]
    for group in PROTOCOLS["events"].ensembles["events"] if held else ():
        for path in group.paths:
            key = f"{group.name}, {path}"
            if key not in broken:
                say(f"{name}: {key}")
                part = data.take(torch.tensor(held))
                flags = attack_smoothed(net, part, FLIPS, smoothing, group.attack, path=path, copies=8, judges=400)[1]
                broken[key] = int(flags.sum())
                found["attacked"] = len(held)
                write(place, found)


def joined(chunks: Sequence[Mapping[str, Any]]) -> Any:
    """The certificates of all chunks as one value."""
    parts = [TypeAdapter(Certified).validate_python(each) for each in chunks]

    def both(one: Any, other: Any) -> Any:
        values = {name: getattr(one, name) + getattr(other, name) for name in ("labels", "predicted", "lower", "seconds")}
        return one.model_copy(update=values | ({"events": one.events + other.events} if hasattr(one, "events") else {}))

    return reduce(both, parts)


def measured(name: str, protocol: str, data: Samples, say: Callable[[str], None]) -> None:
    """Measure what is not kept of a network, and keep it: certificates, then attacks."""
    network, place = NETWORKS[name], KEPT / f"{name}.json"
    net = network.net()
    weights = digest(net.state_dict())
    found = kept_of(place, weights) | {"network": network.made}

    def keep(**more: Any) -> None:
        found.update(more, versions=versions())
        write(place, found)

    if "certificates" not in found:
        for method in network.methods:
            say(f"{network.made}: {method}")
        every = [certify(net, data, method).model_dump(mode="json") for method in network.methods]
        keep(certificates=every, tightness=tightness(net, data))
    if found.get("protocol") != protocol:
        say(f"{network.made}: {protocol}")
        state = RUNS / f"{name}-{protocol}.evaluation"
        eps = [threat.eps for threat in BALLS]
        report = evaluate(net, data, protocol, eps, check=Audit(images=0), state=state)
        keep(protocol=protocol, survives={worded(threat): list(report.withstood(threat.eps)) for threat in BALLS})
    if "smoothed broken" not in found:
        smoothed = {}
        for threat in SMOOTHED if network.sigma else ():
            say(f"{network.made}: attack on the smoothed network, {worded(threat)}")
            _, broken = attack_smoothed(net, data, threat, Smoothing(network.sigma), path=Rate(), batch=50)
            smoothed[worded(threat)] = broken.tolist()
        keep(**{"smoothed broken": smoothed})


def read(name: str) -> dict[str, Any]:
    """The kept figures of a network."""
    kept: dict[str, Any] = json.loads((KEPT / f"{name}.json").read_bytes())
    return kept


def certificates(kept: Mapping[str, Any]) -> list[Any]:
    """The certificates of a network: by running counts, by single steps, and by smoothing."""
    return [TypeAdapter(Certified).validate_python(each) for each in kept["certificates"]]


def every() -> dict[str, tuple[Network, dict[str, Any], list[Any]]]:
    """All completely measured networks with what is kept of them, and their certificates."""
    there = [name for name in NETWORKS if (KEPT / f"{name}.json").is_file()]
    known = {name: kept for name in there if "smoothed broken" in (kept := read(name))}
    return {name: (NETWORKS[name], kept, certificates(kept)) for name, kept in known.items()}


def share(right: Sequence[bool]) -> str:
    """A share of images in percent."""
    return percent(wilson(sum(right), len(right)))


def lower() -> str:
    """The table of intervals, which prove the network itself, beside the attacks on it."""
    lines = [["network", "threat", "clean", "proven", "proven by S-IBP", "survives", "attacks"]]
    for network, kept, (counts, steps, *_) in every().values():
        for threat in BALLS:
            proven = [share(each.certified(threat)) for each in (counts, steps)]
            survives = share(kept["survives"][worded(threat)])
            lines.append([network.what, worded(threat), share(counts.correct), *proven, survives, f"`{kept['protocol']}`"])
    return markdown(lines)


def smoothing() -> str:
    """The table of smoothed networks beside the attacks on them."""
    lines = [["network", "threat", "certified", "survives the attack on the smoothed network"]]
    for network, kept, (_, _, *smoothed) in every().values():
        for found in smoothed:
            for threat, certified in stated(found):
                lost = kept["smoothed broken"].get(threat)
                left = [right and not gone for right, gone in zip(found.correct, lost, strict=True)] if lost else []
                lines.append([network.what, threat, percent(certified), share(left) if left else "-"])
    return markdown(lines)


def pairs() -> Iterator[tuple[bool, bool]]:
    """For every image and threat that was certified and attacked: whether it is certified, and whether an attack broke it."""
    for _, kept, (counts, _, *smoothed) in every().values():
        for threat in BALLS:
            survives = kept["survives"][worded(threat)]
            yield from zip(counts.certified(threat), (not left for left in survives), strict=True)
        for found in smoothed:
            for threat in SMOOTHED:
                yield from zip(found.certified(threat), kept["smoothed broken"][worded(threat)], strict=True)


def others() -> Iterator[tuple[Other, dict[str, Any], Any]]:
    """The networks on other data that were measured, with what is kept of them and their certificates."""
    for name, other in OTHERS.items():
        if (KEPT / f"{name}.json").is_file() and (kept := read(name)).get("chunks"):
            yield other, kept, joined(kept["chunks"])


def met() -> dict[str, dict[str, int]]:
    """How many random members broke each tested certificate, by network and method."""
    found = json.loads((KEPT / "random.json").read_bytes()) if (KEPT / "random.json").is_file() else {}
    return {name: each["broken"] for name, each in found.items()}


def broken() -> int:
    """How many certified samples an attack or a random member of the threat broke."""
    attacked = sum(sum(kept.get("broken", {}).values()) for _, kept, _ in others())
    random = sum(count > 0 for each in met().values() for count in each.values())
    return sum(certified and lost for certified, lost in pairs()) + attacked + random


def random_table() -> str:
    """The table of random members of the threats."""
    lines = [["certificates", "tested certificates", "random members of each", "members that broke a certificate"]]
    for name, each in met().items():
        network, _, rest = name.partition(": ")
        how, _, members = rest.rpartition(", ")
        what = {**NETWORKS, **OTHERS}[network].what
        lines.append([f"{what}, `{how}`", str(len(each)), f"{int(members.split()[0]):,}", str(sum(each.values()))])
    return markdown(lines)


def gaussian_table() -> str:
    """The table of smoothed networks on images of other data."""
    lines = [["network", "smoothing", "samples", "threat", "certified"]]
    for other, _, found in others():
        if isinstance(other.smoothing, Smoothing):
            for threat, certified in stated(found):
                lines.append([other.what, f"`{found.method}`", str(len(found.labels)), threat, percent(certified)])
    return markdown(lines)


def sparse_tables() -> list[tuple[str, int, str, str]]:
    """For each network on events: in words, samples, method, and the table of additions and deletions."""
    tables = []
    for other, _, found in others():
        if isinstance(other.smoothing, SparseSmoothing):
            columns = [0, 1, 2, 3, 4, 5, 6, 8, 10]
            lines = [["added", *(f"-{deleted}" for deleted in columns)]]
            for added, row in enumerate(found.accuracies[:6]):
                lines.append([f"+{added}", *(f"{100 * row[deleted]:.1f}" for deleted in columns)])
            tables.append((other.what, len(found.labels), found.method, markdown(lines)))
    return tables


def events_attacked() -> dict[str, int]:
    """How many members of the protocol `events` attacked how many certified samples, and how many of these they broke."""
    kept = next((kept for _, kept, _ in others() if kept.get("broken")), {})
    found = kept.get("broken", {})
    total = sum(len(group.paths) for group in PROTOCOLS["events"].ensembles["events"])
    return {"members": len(found), "total": total, "samples": kept.get("attacked", 0), "broken": sum(found.values())}


def tightness_table() -> str:
    """The table of how much looser S-IBP is."""
    lines = [["network", "threat", "mean ratio of widths", "least ratio", "samples with a looser margin"]]
    for network, kept, _ in every().values():
        for threat in map(worded, BALLS):
            mean, least, looser = (kept["tightness"][f"{threat} {what}"] for what in ("mean", "least", "looser"))
            lines.append([network.what, threat, f"{mean:.2f}", f"{least:.2f}", f"{looser:.0f}"])
    return markdown(lines)


def cost() -> str:
    """The table of seconds and passes."""
    lines = [["network", "method", "seconds for all images", "passes per image"]]
    for network, _, found in every().values():
        lines += [[network.what, f"`{each.method}`", f"{each.seconds:.0f}", f"{each.passes:,}"] for each in found]
    return markdown(lines)


def tables() -> dict[str, Any]:
    """The values of the page."""
    _, _, (counts, _, smoothed) = every()["certified"]
    machines = {f"{v['processor']}, {v['threads']} thread" for v in (kept["versions"] for _, kept, _ in every().values())}
    return {
        "images": len(counts.labels),
        "lower": lower(),
        "smoothing": smoothing(),
        "tightness": tightness_table(),
        "cost": cost(),
        "broken": broken(),
        "certificates": sum(certified for certified, _ in pairs()),
        "random": random_table(),
        "gaussian": gaussian_table(),
        "sparse": sparse_tables(),
        "events": events_attacked(),
        "command": json.loads((KEPT / "cost.json").read_bytes()) if (KEPT / "cost.json").is_file() else None,
        "expected": f"{smoothed.expected_wrong:.2g}",
        "machine": "; ".join(sorted(machines)),
    }


SOUND = ("certified", "smoothed", "events")
"""The networks whose certificates meet random members of the threat."""


def random_members(name: str, images: int, members: int, say: Callable[[str], None]) -> None:
    """Test the certificates of a network against random members of the threat, and keep how many of them broke each."""
    place, kept = KEPT / "random.json", read(name)
    if name in OTHERS:
        other = OTHERS[name]
        net, data, every = other.net(), load_dataset(other.data).test, [joined(kept["chunks"])]
    else:
        net, data, every = NETWORKS[name].net(), digits().test, certificates(kept)
    results = json.loads(place.read_bytes()) if place.is_file() else {}
    for found in every:
        certifier = method(found.method)
        if isinstance(certifier, Intervals) != (name == "certified") or found.method.endswith("'steps')"):
            continue
        say(f"{name}: {found.method}")
        key = f"{name}: {found.method}, {members} members"
        known = results.setdefault(key, {"weights": digest(net.state_dict()), "broken": {}})
        if known["weights"] != digest(net.state_dict()):
            known |= {"weights": digest(net.state_dict()), "broken": {}}

        def keep(broken: dict[str, int], known: dict[str, Any] = known) -> None:
            known["broken"] = broken
            write(place, results)

        examined(net, data, certifier, found, images, members, known["broken"], keep, BALLS)


def cost_of_one() -> None:
    """Measure the processor time of one command that certifies 200 digits with 10,000 noisy copies each, and keep it."""
    NETWORKS["smoothed"].net()
    words = ["certify", str(RUNS / "digits-smoothed/snn.safetensors"), "--limit", "200", "--method", "Smoothing(sigma=0.25)"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "robustsnn", *words, "--quiet"], check=True, env=os.environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    write(KEPT / "cost.json", {"command": " ".join(("robustsnn", *words)), "seconds": seconds, "versions": versions()})


def page() -> str:
    """docs/certificates.md."""
    return render("certificates.md.jinja", **tables())


def main(args: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "more", "random", "cost", "page"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*NETWORKS, *OTHERS]))
    parser.add_argument("--protocol", default="rigorous", help="of the attacks on the networks themselves")
    parser.add_argument("--images", type=int, default=100, help="of random: test the certificates of the first images")
    parser.add_argument("--members", type=int, default=10_000, help="of random: members per certificate")
    given = parser.parse_args(args)
    known = {"measure": NETWORKS, "more": OTHERS}.get(given.what, {**NETWORKS, **OTHERS})
    if unknown := set(given.names) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(known)}")
    match given.what:
        case "page":
            write_atomic(Path(__file__).parents[1] / "docs/certificates.md", page().encode())
        case "cost":
            cost_of_one()
        case "measure":
            for name in given.names or NETWORKS:
                measured(name, given.protocol, digits().test, print)
        case "more":
            for name in given.names or OTHERS:
                more(name, load_dataset(OTHERS[name].data).test, print)
        case _:
            for name in given.names or SOUND:
                random_members(name, given.images, given.members, print)


if __name__ == "__main__":
    main()
