"""The page of certificates, made of the figures that `benchmarks.certificates` keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import certified
from benchmarks.certified import BALLS, SMOOTHED, Network, Other, certificates, joined, read
from benchmarks.pages import markdown, render
from robustsnn.certification import Smoothing, SparseSmoothing
from robustsnn.evaluation import PROTOCOLS, percent, wilson
from robustsnn.reporting.bounds import stated, worded


def every() -> dict[str, tuple[Network, dict[str, Any], list[Any]]]:
    """All completely measured networks with what is kept of them, and their certificates."""
    there = [name for name in certified.NETWORKS if (certified.KEPT / f"{name}.json").is_file()]
    known = {name: kept for name in there if "smoothed broken" in (kept := read(name))}
    return {name: (certified.NETWORKS[name], kept, certificates(kept)) for name, kept in known.items()}


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
            for threat, shown in stated(found):
                lost = kept["smoothed broken"].get(threat)
                left = [right and not gone for right, gone in zip(found.correct, lost, strict=True)] if lost else []
                lines.append([network.what, threat, percent(shown), share(left) if left else "-"])
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
    for name, other in certified.OTHERS.items():
        if (certified.KEPT / f"{name}.json").is_file() and (kept := read(name)).get("chunks"):
            yield other, kept, joined(kept["chunks"])


def met() -> dict[str, dict[str, int]]:
    """How many random members broke each tested certificate, by network and method."""
    found = json.loads((certified.KEPT / "random.json").read_bytes()) if (certified.KEPT / "random.json").is_file() else {}
    return {name: each["broken"] for name, each in found.items()}


def broken() -> int:
    """How many certified samples an attack or a random member of the threat broke."""
    attacked = sum(sum(kept.get("broken", {}).values()) for _, kept, _ in others())
    random = sum(count > 0 for each in met().values() for count in each.values())
    return sum(held and lost for held, lost in pairs()) + attacked + random


def random_table() -> str:
    """The table of random members of the threats."""
    lines = [["certificates", "tested certificates", "random members of each", "members that broke a certificate"]]
    for name, each in met().items():
        network, _, rest = name.partition(": ")
        how, _, members = rest.rpartition(", ")
        what = {**certified.NETWORKS, **certified.OTHERS}[network].what
        lines.append([f"{what}, `{how}`", str(len(each)), f"{int(members.split()[0]):,}", str(sum(each.values()))])
    return markdown(lines)


def gaussian_table() -> str:
    """The table of smoothed networks on images of other data."""
    lines = [["network", "smoothing", "samples", "threat", "certified"]]
    for other, _, found in others():
        if isinstance(other.smoothing, Smoothing):
            for threat, shown in stated(found):
                lines.append([other.what, f"`{found.method}`", str(len(found.labels)), threat, percent(shown)])
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
        "certificates": sum(held for held, _ in pairs()),
        "random": random_table(),
        "gaussian": gaussian_table(),
        "sparse": sparse_tables(),
        "events": events_attacked(),
        "command": json.loads((certified.KEPT / "cost.json").read_bytes())
        if (certified.KEPT / "cost.json").is_file()
        else None,
        "expected": f"{smoothed.expected_wrong:.2g}",
        "machine": "; ".join(sorted(machines)),
    }


def page() -> str:
    """docs/certificates.md."""
    return render("certificates.md.jinja", **tables())
