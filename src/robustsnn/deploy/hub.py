"""Share a network on the Hugging Face Hub: checkpoint, report and model card. `robustsnn.load` reads ``hf://USER/NAME``."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from robustsnn.checkpoint import save
from robustsnn.names import one_line
from robustsnn.spiking import SpikingNetwork
from robustsnn.zoo import FILE, HUB

if TYPE_CHECKING:
    from robustsnn.evaluation import Report

CARD = """\
# {{ repo }}

A spiking network of {{ "{:,}".format(parameters) }} parameters and T = {{ net.timesteps }} time steps, saved by robustsnn.

```python
import robustsnn

net = robustsnn.load("{{ hub }}{{ repo }}"{{ "" if known else ", body" }})  # inputs [N, C, H, W] in [0, 1] to logits [N, K]
```
{% if not known %}

`body` is a module like the ANN that was converted; loading never runs code of a file.
{% endif %}

## Robustness

{{ figures or "Robustness was not measured." }}
"""


def push_to_hub(
    net: SpikingNetwork,
    repo: str,
    *,
    report: Report | None = None,
    private: bool = False,
    token: str | None = None,
    message: str = "Upload a spiking network",
) -> str:
    """Upload a network with a model card to the Hugging Face Hub, and create the repository if it does not exist.

    Arguments:
        net: the network. Its `recipe` lets `load` build the body; without a recipe, `load` needs a body.
        repo: such as ``"me/net"``.
        report: a result of `evaluate`; its figures are shown on the card, and its pages are uploaded.
        private: whether a new repository is visible to its owner only.
        token: an access token; None uses that of ``hf auth login``.
        message: message of the commit.

    Returns:
        The URL of the commit.

    Raises:
        ValueError: huggingface_hub is not installed, the network cannot be saved, or the hub cannot be reached or rejects it.
    """
    try:
        hub: Any = import_module("huggingface_hub")
    except ModuleNotFoundError:
        raise ValueError("sharing needs the package huggingface_hub: run pip install 'robustsnn[hub]'") from None
    if report is not None and not hasattr(report, "measured"):
        raise ValueError("report must be a result of evaluate: of a run's report, give one row's, report.rows[-1].report")
    with TemporaryDirectory() as made:
        folder = Path(made)
        told = {}
        if report is not None:
            report.save(folder, name=repo)
            told["report"] = json.loads((folder / "report.json").read_bytes())
        save(folder / FILE, net, metrics=told)
        (folder / "README.md").write_text(str(hub.ModelCard(card(net, repo, report))), encoding="utf-8")
        try:
            api = hub.HfApi(token=token)
            api.create_repo(repo, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message))
        except Exception as error:  # those of the network and of the library share no class
            raise ValueError(
                f"cannot upload to {repo}: {one_line(error)}. Check the name USER/NAME, the connection, and 'hf auth login'"
            ) from None


def card(net: SpikingNetwork, repo: str, report: Report | None = None) -> str:
    """Return the model card of a network: front matter, how to load it, and its robustness."""
    front = "---\nlibrary_name: robustsnn\ntags:\n- spiking-neural-network\n- adversarial-robustness\n---\n"
    template = Environment(trim_blocks=True, undefined=StrictUndefined, keep_trailing_newline=True).from_string(CARD)
    return front + template.render(
        repo=repo,
        net=net,
        hub=HUB,
        known="name" in net.recipe.get("model", {}),
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        figures="" if report is None else f"```text\n{report}\n```\n\nIn full: `report.html`, `report.json`.",
    )
