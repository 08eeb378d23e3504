"""What a row of the pages of results is: how a network is made and measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

KEPT = Path(__file__).parent / "results"
"""Reports of the rows, by row, seed and measure, and the networks that several rows start from."""

MEASURES: dict[str, tuple[str, ...]] = {
    "published": ("--attacks", "PGD-20", "--eps", "2/255", "8/255", "--limit", "1000", "--audit-images", "0", "--shown", "0"),
    "strong": (
        *("--protocol", "quick", "--attacks", "strong", "--eps", "2/255", "8/255", "--limit", "500"),
        *("--audit-images", "0", "--shown", "0"),
    ),
    "few": ("--protocol", "rigorous", "--eps", "8/255", "--limit", "200", "--audit-images", "0", "--shown", "0"),
    "few_near": ("--protocol", "rigorous", "--eps", "2/255", "--limit", "200", "--audit-images", "0", "--shown", "0"),
    "paper": ("--limit", "1000", "--audit-images", "0", "--shown", "0"),
    "rigorous": ("--protocol", "rigorous", "--eps", "8/255", "--limit", "500", "--shown", "0"),
    "rigorous_near": ("--protocol", "rigorous", "--eps", "2/255", "--limit", "500", "--audit-images", "0", "--shown", "0"),
    "audit_near": ("--protocol", "rigorous", "--eps", "2/255", "--limit", "64", "--shown", "0"),
    "whole": ("--audit-images", "0", "--shown", "0"),
    "whole_rigorous": ("--protocol", "rigorous", "--eps", "8/255", "--shown", "0"),
    "pgd": ("--attacks", "PGD-20", "--eps", "8/255", "--limit", "500", "--audit-images", "0", "--shown", "0"),
    "pgd_near": ("--attacks", "PGD-20", "--eps", "2/255", "--limit", "500", "--audit-images", "0", "--shown", "0"),
}
"""Flags of `robustsnn evaluate` on top of the recipe's own evaluation, which is `paper` with FGSM and PGD-20."""


@dataclass(frozen=True)
class Row:
    """One network.

    Arguments:
        what: the name in tables.
        recipe, changes: what makes it: a recipe and flags of `robustsnn run`.
        network: which checkpoint of the run it is.
        source: the row whose networks it starts from; empty: its own.
        takes: the networks that it takes from there, in the order of the pipeline.
        timesteps: for how many steps the network that it takes is run; 0: for as many as it was made for.
        measures: how it is measured.
        seeds: how often it is made.
        predicted: of an experiment, what was expected before it was run.
    """

    what: str
    recipe: str = "cifar10-small"
    changes: tuple[str, ...] = ()
    network: str = "snn"
    source: str = ""
    takes: tuple[str, ...] = ("ann",)
    timesteps: int = 0
    measures: tuple[str, ...] = ("pgd",)
    seeds: tuple[int, ...] = (0,)
    predicted: str = ""
