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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import certificates_page, certified
from benchmarks.certified import BALLS, FLIPS, SMOOTHED, certificates, joined, kept_of, read, write
from benchmarks.soundness import examined
from robustsnn import evaluate
from robustsnn.certification import Intervals, Smoothing, attack_smoothed, bounds, certify, method
from robustsnn.compute import copied
from robustsnn.data import Samples, digits, load_dataset
from robustsnn.evaluation import PROTOCOLS, Audit
from robustsnn.files import digest, write_atomic
from robustsnn.reporting import versions
from robustsnn.reporting.bounds import worded
from robustsnn.spiking import Rate


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


def more(name: str, data: Samples, say: Callable[[str], None]) -> None:
    """Certify what is not kept of a network on other data, chunk by chunk, and attack it."""
    other, place, net = certified.OTHERS[name], certified.KEPT / f"{name}.json", certified.OTHERS[name].net()
    smoothing = other.smoothing
    found = {"chunks": [], "broken": {}} | kept_of(place, f"{digest(net.state_dict())}, {smoothing}")
    found |= {"network": other.made or other.recipe, "versions": versions()}
    chunks, broken = found["chunks"], found["broken"]
    for at in range(sum(len(each["labels"]) for each in chunks), min(other.images, len(data)), certified.CHUNK):
        say(f"{name}: {smoothing}, samples from {at}")
        part = data.take(torch.arange(at, min(at + certified.CHUNK, other.images, len(data))))
        state = certified.RUNS / f"{name}-{at}.certification"
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


def measured(name: str, protocol: str, data: Samples, say: Callable[[str], None]) -> None:
    """Measure what is not kept of a network, and keep it: certificates, then attacks."""
    network, place = certified.NETWORKS[name], certified.KEPT / f"{name}.json"
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
        state = certified.RUNS / f"{name}-{protocol}.evaluation"
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


SOUND = ("certified", "smoothed", "events")
"""The networks whose certificates meet random members of the threat."""


def random_members(name: str, images: int, members: int, say: Callable[[str], None]) -> None:
    """Test the certificates of a network against random members of the threat, and keep how many of them broke each."""
    place, kept = certified.KEPT / "random.json", read(name)
    if name in certified.OTHERS:
        other = certified.OTHERS[name]
        net, data, every = other.net(), load_dataset(other.data).test, [joined(kept["chunks"])]
    else:
        net, data, every = certified.NETWORKS[name].net(), digits().test, certificates(kept)
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
    certified.NETWORKS["smoothed"].net()
    words = [
        "certify",
        str(certified.RUNS / "digits-smoothed/snn.safetensors"),
        "--limit",
        "200",
        "--method",
        "Smoothing(sigma=0.25)",
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "robustsnn", *words, "--quiet"], check=True, env=os.environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    write(
        certified.KEPT / "cost.json", {"command": " ".join(("robustsnn", *words)), "seconds": seconds, "versions": versions()}
    )


def main(args: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "more", "random", "cost", "page"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*certified.NETWORKS, *certified.OTHERS]))
    parser.add_argument("--protocol", default="rigorous", help="of the attacks on the networks themselves")
    parser.add_argument("--images", type=int, default=100, help="of random: test the certificates of the first images")
    parser.add_argument("--members", type=int, default=10_000, help="of random: members per certificate")
    given = parser.parse_args(args)
    known = {"measure": certified.NETWORKS, "more": certified.OTHERS}.get(
        given.what, {**certified.NETWORKS, **certified.OTHERS}
    )
    if unknown := set(given.names) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(known)}")
    match given.what:
        case "page":
            write_atomic(Path(__file__).parents[1] / "docs/certificates.md", certificates_page.page().encode())
        case "cost":
            cost_of_one()
        case "measure":
            for name in given.names or certified.NETWORKS:
                measured(name, given.protocol, digits().test, print)
        case "more":
            for name in given.names or certified.OTHERS:
                more(name, load_dataset(certified.OTHERS[name].data).test, print)
        case _:
            for name in given.names or SOUND:
                random_members(name, given.images, given.members, print)


if __name__ == "__main__":
    main()
