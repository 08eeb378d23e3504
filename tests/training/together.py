"""Train and evaluate a tiny network with some processes, and write down what came of it: ``together.py DEVICES OUT``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from robustsnn.conversion import spiking
from robustsnn.data import digits
from robustsnn.evaluation import Audit, evaluate
from robustsnn.models import create
from robustsnn.processes import Team
from robustsnn.recipes.engine import Engine
from robustsnn.spiking import Dynamics
from robustsnn.training import RobustFinetuning, Schedule, ThresholdFloor, train


class Killed(Exception):
    """What cuts an evaluation short."""


def main(devices: int, out: Path) -> None:
    """The work of each process; the first one writes."""
    torch.set_num_threads(1)
    team = Engine(accelerator="cpu", devices=devices).launch()
    images = digits().train
    body = create("digits", 10, size=8, channels=1, width=0.5).double()  # the order of a sum must not decide about a spike
    net = spiking(body, images.batch(torch.arange(8))[0], Dynamics(2), threshold=0.5)
    history = train(
        net,
        images.take(torch.arange(131)),  # the last batch has 3 images
        images.take(torch.arange(200, 230)),
        RobustFinetuning(eps=0.1, alpha=0.05),
        Schedule(epochs=3, batch=32, lr=0.01),
        after_step=[ThresholdFloor(0.03)],
        fabric=team.fabric,
    )
    test = digits().test.first(41)
    report = measured(net, test, team)
    state = out.with_suffix(".evaluation")
    cut_short(net, test, team, state)
    resumed = measured(net, test, team, state)
    statistics = torch.cat([buffer.flatten() for name, buffer in net.named_buffers() if "running" in name])
    apart = (statistics - team.agree(statistics)).abs().max()
    found = {
        "losses": [epoch.loss for epoch in history],
        "thresholds": [float(value.detach()) for value in net.thresholds.values()],
        "statistics": statistics.tolist(),
        "apart": float(team.total(apart)),
        "flags": [result.broken_by for result in report.results],
        "costs": [(result.gradients, result.queries) for result in report.results],
        "resumed": [result.broken_by for result in resumed.results],
    }
    if team.first:
        out.write_text(json.dumps(found))
    team.part()


def measured(net, data, team: Team, state: Path | None = None, on_progress=lambda what, share: None):
    """An evaluation in small batches."""
    check = Audit(images=0)
    return evaluate(
        net, data, "quick", [0.05, 0.1], batch=8, check=check, fabric=team.fabric, state=state, on_progress=on_progress
    )


def cut_short(net, data, team: Team, state: Path) -> None:
    """Leave an evaluation in the middle of its third ensemble, each process at a place of its own in the same member."""

    def kill(what: str, share: float) -> None:
        if what == "PGD-10 at 0.05" and share > 0.03 + 0.02 * team.first:
            raise Killed

    try:
        measured(net, data, team, state, kill)
    except Killed:
        pass
    else:
        raise AssertionError("the evaluation was to be cut short")
    assert team.own(state).exists()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
