"""Measure the cost of `rigorous` and of variants of it: other orders of its attacks, and giving images up. Writes answer.json.

python -m benchmarks.answer                       # all networks, about two hours on one core
python -m benchmarks.answer digits --orders now   # one network, one order

The networks `robust` and `strong` are those rows of the older page, trained again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import torch

from benchmarks.refute import NETWORK, patient
from robustsnn import checkpoint
from robustsnn.attacks import SAPGD
from robustsnn.data import Samples, digits
from robustsnn.data.sources import load_dataset
from robustsnn.evaluation import PROTOCOLS, Audit, Protocol, evaluate
from robustsnn.files import write_atomic
from robustsnn.spiking import Adaptive

HERE = Path(__file__).parent
OUT = HERE / "answer.json"


@dataclass(frozen=True)
class Asked:
    """A network whose robustness is measured: its file, radius and images."""

    file: Path
    eps: float
    data: str
    images: int

    def samples(self) -> Samples:
        return (digits() if self.data == "digits" else load_dataset(self.data)).test.first(self.images)


NETWORKS = {
    "digits": Asked(NETWORK, 0.15, "digits", 450),
    "robust": Asked(HERE / "answer/robust.safetensors", 2 / 255, "cifar10", 500),
    "strong": Asked(HERE / "answer/strong.safetensors", 8 / 255, "cifar10", 500),
}

RIGOROUS = PROTOCOLS["rigorous"]


def ordered(protocol: Protocol, *names: str) -> Protocol:
    """The same without transfer, with its groups in another order."""
    groups = {group.name: group for group in protocol.ensembles["rigorous"] if not group.transfers}
    assert groups.keys() == set(names)
    return Protocol({"rigorous": tuple(groups[name] for name in names)}, protocol.rule, protocol.ranked)


def giving_up(protocol: Protocol) -> Protocol:
    """The same after one run of SA-PGD and of APGD on the DLR loss: what these do not bring near is given up by gradients."""
    shares = {"SA-PGD-100 twice": 0.35, "NES-2000 near APGD-50": 0.35, "NES-10000": 1.0, "Square-5000": 1.0}
    groups = {group.name: group for group in protocol.ensembles["rigorous"] if not group.transfers}
    middle, adaptive = Adaptive(0.43), groups["SA-PGD-100"]
    paths = tuple(dict.fromkeys((middle, *adaptive.paths)))
    groups["SA-PGD-100 twice"] = replace(adaptive, name="SA-PGD-100 twice", paths=paths)
    first = replace(adaptive, attack=SAPGD(steps=100), paths=(middle,))
    order = ("PGD-20", "APGD-CE-20", "APGD-CE-50", "APGD-T-20", *shares)
    later = (replace(groups[name], give_up=shares.get(name, 0.5)) for name in order)
    return Protocol({"rigorous": (first, groups["APGD-DLR-50"], *later)}, protocol.rule, protocol.ranked)


ORDERS = {
    "before": ordered(
        patient(RIGOROUS),
        *("PGD-20", "APGD-CE-20", "APGD-CE-50", "APGD-DLR-50", "APGD-T-20", "SA-PGD-100"),
        *("NES-2000 near APGD-50", "NES-10000", "Square-5000"),
    ),
    "now": RIGOROUS,
    "giving up": giving_up(RIGOROUS),
}
"""The strengthened protocol in the order of version 0.1, every image to the end; today's; and one that gives images up."""


def ask(asked: Asked, protocol: Protocol) -> dict[str, float]:
    """Measure once: what it broke and what it took."""
    net = checkpoint.load(asked.file).requires_grad_(False).eval()
    began = time.process_time()
    report = evaluate(net, asked.samples(), protocol, asked.eps, check=Audit(images=0))
    (result,) = report.results
    return {
        "images": asked.images,
        "clean": result.attacked,
        "broken": result.attacked - result.survivors,
        "gradients": sum(result.gradients),
        "queries": sum(result.queries),
        "processor_seconds": round(time.process_time() - began, 1),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", choices=[*NETWORKS, []], default=list(NETWORKS))
    parser.add_argument("--orders", nargs="+", choices=ORDERS, default=list(ORDERS))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for name, order in product(chosen.networks, chosen.orders):
        found = ask(NETWORKS[name], ORDERS[order])
        told = json.loads(OUT.read_text()) if OUT.exists() else {}
        told.setdefault(name, {})[order] = found
        write_atomic(OUT, (json.dumps(told, indent=1) + "\n").encode())
        print(f"{name}, {order}: {found}", flush=True)


if __name__ == "__main__":
    main()
