"""Figures of `benchmarks.bench`, kept, and the page of performance that is made of them.

python -m benchmarks.performance measure              # what is not kept, on a machine that does nothing else: half an hour
python -m benchmarks.performance measure resnet20     # again
python -m benchmarks.performance page                 # docs/performance.md
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.bench import NONE, Timing
from benchmarks.costs import costs, machines
from benchmarks.pages import markdown, render
from robustsnn.files import write_atomic
from robustsnn.reporting import versions

KEPT = Path(__file__).parent / "performance"
STEPS, BATCHES = (4, 8, 16, 32), (4, 16, 64)
RESNET = ("--networks", "resnet20", "--rows")

MEASURED: dict[str, tuple[str, ...]] = {
    "resnet20": (*RESNET, "lif", "forward", "gradient", "finetuning", "adversarial training", "FGSM-19", "calibration"),
    "ensemble": (*RESNET, "PGD-20-19", "--few", "64", "--repeats", "1"),
    "vgg11": (
        *("--networks", "vgg11", "--batch", "16", "--rows"),
        *("forward", "gradient", "finetuning", "adversarial training", "calibration"),
    ),
    **{f"steps-{T}": (*RESNET, "finetuning", "--batch", "16", "--timesteps", str(T)) for T in STEPS},
    **{f"batch-{N}": (*RESNET, "gradient", "--batch", str(N)) for N in BATCHES},
}
"""Arguments of `benchmarks.bench`, by the name of the file that its figures are kept in."""

NAMES = {
    "lif": "LIF forward and backward (floor: a copy)",
    "gradient": "input gradient",
    "finetuning": "finetuning step",
    "adversarial training": "step of adversarial training (ANN)",
    "FGSM-19": "FGSM over 19 paths, half of the images robust",
    "PGD-20-19": "PGD-20 over 19 paths, half of the images robust",
    "calibration": "calibration (floor: one pass)",
}


@dataclass(frozen=True)
class Aim:
    """What was to be reached: ``ratio`` at least, ``floors`` and ``memory`` at most."""

    of: str
    limit: float

    def told(self, row: Timing, turns: int) -> str:
        """Whether the row reaches it."""
        value = getattr(row, self.of)
        reached = value >= self.limit if self.of == "ratio" else value <= self.limit
        unit = {"ratio": "times plain", "floors": "floors", "memory": "of the memory"}[self.of]
        return f"{self.limit:g} {unit}: {'reached' if reached else 'missed'}{' in one turn' if turns == 1 else ''}"


AIMS: dict[tuple[str, str], tuple[Aim, ...]] = {
    ("resnet20", "forward"): (Aim("ratio", 3), Aim("floors", 1.5)),
    ("resnet20", "gradient"): (Aim("ratio", 4),),
    ("resnet20", "finetuning"): (Aim("ratio", 3.5), Aim("floors", 1.8), Aim("memory", 0.5)),
    ("resnet20", "FGSM-19"): (Aim("ratio", 8),),
    ("ensemble", "PGD-20-19"): (Aim("ratio", 4),),
    ("vgg11", "finetuning"): (Aim("ratio", 2.5),),
}
"""Set before building."""


def read(name: str) -> dict[str, Any]:
    """A file of figures."""
    kept: dict[str, Any] = json.loads((KEPT / f"{name}.json").read_bytes())
    return kept


def rows(name: str) -> dict[str, Timing]:
    """The rows of a file of figures."""
    found = {}
    for row in read(name)["figures"]:
        values: dict[str, Any] = {each.name: NONE if row[each.name] is None else row[each.name] for each in fields(Timing)}
        found[row["what"]] = Timing(**values)
    return found


def table(names: Sequence[str]) -> str:
    """The rows of some files with what was to be reached."""
    lines = [["", *Timing.HEAD, "aims"]]
    for name in names:
        arguments = read(name)["arguments"]
        turns = int(arguments[arguments.index("--repeats") + 1]) if "--repeats" in arguments else 3
        for what, row in rows(name).items():
            aims = ", ".join(aim.told(row, turns) for aim in AIMS.get((name, what), ())) or "-"
            lines.append([NAMES.get(what, what), *row.cells()[1:], aims])
    return markdown(lines)


def along(names: Sequence[str], head: Sequence[str]) -> str:
    """The only row of each of some files, one column per file."""
    columns = [next(iter(rows(name).values())) for name in names]
    lines = [list(head)]
    lines += [[f"{form} s", *(f"{getattr(row, form):.3g}" for row in columns)] for form in ("ours", "plain", "floor")]
    lines += [
        [f"{form} GiB", *(f"{getattr(row, f'{form}_bytes') / 2**30:.3g}" for row in columns)] for form in ("ours", "plain")
    ]
    return markdown(lines)


def page() -> str:
    """docs/performance.md."""
    ours = {name: next(iter(rows(name).values())) for name in MEASURED if name.startswith(("steps-", "batch-"))}
    return render(
        "performance.md.jinja",
        **costs(),
        machines=machines([read(name)["versions"] for name in MEASURED]),
        resnet20=table(["resnet20", "ensemble"]),
        vgg11=table(["vgg11"]),
        steps=along([f"steps-{T}" for T in STEPS], ["finetuning step, batch 16", *(f"T = {T}" for T in STEPS)]),
        batches=along([f"batch-{N}" for N in BATCHES], ["input gradient, T = 8", *(f"batch {N}" for N in BATCHES)]),
        of={name: rows(name) for name in ("resnet20", "vgg11")},
        memory={T: ours[f"steps-{T}"].ours_bytes / 2**30 for T in STEPS},
        per_image={N: 1000 * ours[f"batch-{N}"].ours / N for N in BATCHES},
    )


def measure(names: Sequence[str]) -> None:
    """Run the benchmark and keep its figures."""
    for name in names:
        with TemporaryDirectory() as folder:
            out = Path(folder) / "figures.json"
            subprocess.run([sys.executable, "-m", "benchmarks.bench", *MEASURED[name], "--out", str(out)], check=True)
            kept = {"arguments": MEASURED[name], "versions": versions(), "figures": json.loads(out.read_bytes())}
        write_atomic(KEPT / f"{name}.json", (json.dumps(kept, indent=1) + "\n").encode())


def main(args: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "page"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASURED))
    given = parser.parse_args(args)
    if unknown := set(given.names) - set(MEASURED):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(MEASURED)}")
    if given.what == "page":
        (Path(__file__).parents[1] / "docs/performance.md").write_text(page())
    else:
        measure(given.names or [name for name in MEASURED if not (KEPT / f"{name}.json").is_file()])


if __name__ == "__main__":
    main()
