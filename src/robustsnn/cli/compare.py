"""``report FOLDER ...``."""

from typing import Any

from robustsnn.cli.arguments import Report
from robustsnn.cli.terminal import Terminal
from robustsnn.names import is_toml
from robustsnn.recipes import measuring, packaged
from robustsnn.reporting.comparison import Group, differences, groups, winner


def compare(chosen: Report, terminal: Terminal) -> None:
    """Rank the networks of several runs.

    Raises:
        ValueError: a folder does not exist or has no report.
    """
    for folder in chosen.folders:
        recipe = str(folder)
        if not folder.is_dir() and (recipe in packaged() or is_toml(recipe)):
            raise ValueError(
                f"{recipe} is a recipe, but report takes folders of runs: 'robustsnn run {recipe}' writes its report"
            )
    runs = measuring.compare(chosen.folders, chosen.out)
    ranked = [_ranking(group) for group in groups(runs)]
    terminal.answer(
        {"page": chosen.out, "groups": ranked, "differences": differences(runs)}, lambda: terminal.comparison(runs)
    )
    terminal.note(f"The page is {chosen.out}.")


def _ranking(group: Group) -> dict[str, Any]:
    """Return a group as plain values, the most robust network first."""
    networks = [
        {
            "network": entry.row.network,
            "run": entry.run,
            "timesteps": entry.report.timesteps,
            "clean": entry.report.clean,
            "robust": group.robust(entry),
        }
        for entry in group.entries
    ]
    eps = None if group.threat is None else group.threat.eps
    return {"title": group.title, "eps": eps, "winner": winner(group), "networks": networks}
