"""Lower and upper bounds on the same images, and the page that is made of them.

python -m benchmarks.certificates measure                          # what is not kept; trains the recipes first
python -m benchmarks.certificates measure robust --protocol quick  # of one network, with fewer attacks
python -m benchmarks.certificates page                             # docs/certificates.md
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.pages import markdown, render
from robustsnn import cli, evaluate, load
from robustsnn.certification import Intervals, Method, Smoothing, attack_smoothed, bounds, certify
from robustsnn.certification.registry import Certified
from robustsnn.compute import copied
from robustsnn.data import Samples, digits
from robustsnn.evaluation import Audit, percent, wilson
from robustsnn.files import digest, write_atomic
from robustsnn.reporting import versions
from robustsnn.reporting.bounds import stated, worded
from robustsnn.spiking import Rate
from robustsnn.threats import L2, Linf

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


def measured(name: str, protocol: str, data: Samples, say: Callable[[str], None]) -> None:
    """Measure what is not kept of a network, and keep it: certificates, then attacks."""
    network, place = NETWORKS[name], KEPT / f"{name}.json"
    net = network.net()
    weights = digest(net.state_dict())
    known = json.loads(place.read_bytes()) if place.is_file() else {}
    found = known if known.get("weights") == weights else {"network": network.made, "weights": weights}

    def keep(**more: Any) -> None:
        found.update(more, versions=versions())
        write_atomic(place, (json.dumps(found) + "\n").encode())

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
    from pydantic import TypeAdapter

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


def broken() -> int:
    """How many certified samples an attack broke."""
    return sum(certified and lost for certified, lost in pairs())


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
        "expected": f"{smoothed.expected_wrong:.2g}",
        "machine": "; ".join(sorted(machines)),
    }


def page() -> str:
    """docs/certificates.md."""
    return render("certificates.md.jinja", **tables())


def main(args: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "page"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NETWORKS))
    parser.add_argument("--protocol", default="rigorous", help="of the attacks on the networks themselves")
    given = parser.parse_args(args)
    if unknown := set(given.names) - set(NETWORKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(NETWORKS)}")
    if given.what == "page":
        write_atomic(Path(__file__).parents[1] / "docs/certificates.md", page().encode())
        return
    for name in given.names or NETWORKS:
        measured(name, given.protocol, digits().test, print)


if __name__ == "__main__":
    main()
