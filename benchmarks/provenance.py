"""How the figures of the page of results came about: commands, machines, images."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.measured import found


def commands(rows: Iterable[str]) -> list[list[str]]:
    """What makes each row again."""
    lines = [["network", "train and measure", "train only", "processor", "source digest"]]
    for each in found(rows):
        versions = [run.versions for run in each.runs.values()]
        steps = f", run with T = {each.row.timesteps}" if each.row.timesteps else ""
        lines.append(
            [
                f"{each.row.what}, seed {each.seed}",
                f"`python -m benchmarks.results run {each.name} --seeds {each.seed} --kept runs/again`",
                f"`{each.made['command']} --out runs/{each.name}-{each.seed}`: `{each.row.network}.safetensors`{steps}",
                *(", ".join(sorted({v[what] for v in versions})) for what in ("processor", "source")),
            ]
        )
    return lines


def machines(rows: Iterable[str]) -> str:
    """What the figures were made on."""
    kinds = {
        f"{v['processor']}, {v['device']}, torch {v['torch']}, torch threads: {v['threads']}, cores: {each.made['cores']}"
        for each in found(rows)
        for v in (run.versions for run in each.runs.values())
    }
    return "; ".join(sorted(kinds))


def images(rows: Iterable[str], trained: Iterable[str]) -> str:
    """Digests of the images with which rows were measured, by how many they are, and with which some of them were made.

    Raises:
        ValueError: as many images, but not the same ones: figures of different rows would not be of the same images.
    """
    made = {next(iter(each.runs.values())).versions["data"] for each in found(trained)}
    tested: dict[int, set[str]] = {}
    for report, versions in ((run.rows[0].report, run.versions) for each in found(rows) for run in each.runs.values()):
        tested.setdefault(report.images, set()).add(versions["test images"])
    if mixed := [count for count, digests in tested.items() if len(digests) > 1]:
        raise ValueError(f"reports of {mixed[0]} images are not of the same images: {sorted(tested[mixed[0]])}")
    first = ", ".join(f"`{digests.pop()}` (first {count:,})" for count, digests in sorted(tested.items()))
    return f"digests: data {', '.join(f'`{each}`' for each in sorted(made))}; test images {first}"


def measuring(rows: Iterable[str]) -> str:
    """How long measuring took, as times what training took."""
    times = [sum(run.rows[0].report.seconds for run in each.runs.values()) / 60 / each.minutes for each in found(rows)]
    return f"{min(times):.1f} to {max(times):.1f} times"


def setting(rows: Iterable[str]) -> str:
    """What networks have in common, as their reports say it."""
    networks: dict[str, None] = {}
    tested: dict[str, dict[str, None]] = {}
    for each in found(rows):
        recipe = next(iter(each.runs.values())).recipe
        model, data = recipe["model"], recipe["data"]
        networks[
            f"`{model['name']}` of width {model['width']:g}, T = {recipe['timesteps']}, {data['limit']:,} training images "
            f"({100 * data['validation']:.0f} % held out)"
        ] = None
        most: dict[str, int] = {}
        for report in (run.rows[0].report for run in each.runs.values()):
            most[report.protocol] = max(report.images, most.get(report.protocol, 0))
        for protocol, count in most.items():
            tested.setdefault(protocol, {})[f"{count:,}"] = None
    measured = " and ".join(f"{' or '.join(counts)} for `{protocol}`" for protocol, counts in tested.items())
    return f"{'; or '.join(networks)}. Test images: {measured}"
