"""Every tensor made in the package names its device, read off the source; and networks run on a second device, ``meta``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from robustsnn.conversion import spiking
from robustsnn.models import create
from robustsnn.spiking import LIF, PATHS, PLIF, SURROGATES, Dynamics, MultiSpike, Surrogate, Ternary

SOURCE = Path(__file__).resolve().parents[1] / "src/robustsnn"
MAKERS = {
    *("zeros", "ones", "empty", "full", "arange", "tensor", "rand", "randn", "randint", "randperm", "linspace", "logspace"),
    *("eye", "as_tensor", "asarray", "from_numpy", "frombuffer", "normal", "scalar_tensor", "tril_indices", "triu_indices"),
    *("hann_window", "bartlett_window", "cartesian_prod", "sparse_coo_tensor", "empty_strided"),
}
ON_THE_CPU = {
    "data/": "data sets and their augmentation live on the CPU; batches are moved",
    "evaluation/measures/worst_case.py": "flags, costs and places of images, which processes exchange",
    "evaluation/measures/checks.py": "flags of a report",
    "evaluation/measures/examples.py": "flags of a report",
    "evaluation/measures/activity.py": "sums, to which counts are moved",
    "evaluation/measures/audit.py": "places of images",
    "evaluation/state.py": "flags on disk",
    "evaluation/sponging.py": "labels that nobody reads",
    "certification/firing.py": "times of rows, which are moved in the end",
    "evaluation/measures/energy.py": "places of images",
    "evaluation/meter.py": "places of images",
    "certification/voting.py": "votes on disk and their random numbers",
    "certification/intervals.py": "verdicts, which processes exchange",
    "certification/smoothing.py": "verdicts of a report",
    "certification/sparse.py": "one number",
    "training/training_state.py": "a digest",
    "training/steady.py": "a number, which tensors of every device take",
    "recipes/working.py": "places of images",
    "deploy/follow.py": "exports run on the CPU",
    "processes.py": "places of images, and sums, which are moved",
    "models/": "networks start on the CPU and are moved whole",
    "conversion/blueprint.py": "constants of a network, which is moved whole",
    "conversion/converting.py": "places of images, and thresholds, which are moved to their network",
    "conversion/frontier.py": "places of images",
    "spiking/compiled.py": "numbers, which tensors of every device take",
    "spiking/network.py": "given values, which are moved to their network",
    "spiking/neurons/lif.py": "one number, read on the CPU",
}
"""Files, or folders, whose tensors are on the CPU or moved later, and why."""


def unnamed(tree: ast.AST) -> list[str]:
    """The calls that make a tensor of the default device and do not move it at once."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}

    def moved(node: ast.AST) -> bool:
        while isinstance(parent := parents.get(node), ast.Attribute | ast.Call | ast.Subscript):
            if node in getattr(parent, "args", ()):
                return False
            if isinstance(parent, ast.Attribute) and parent.attr in ("to", "type_as"):
                return True
            node = parent
        return False

    def makes(node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "torch"
            and node.func.attr in MAKERS
            and not any(keyword.arg == "device" for keyword in node.keywords)
        )

    return [f"line {node.lineno}: {ast.unparse(node)}" for node in ast.walk(tree) if makes(node) and not moved(node)]


def found() -> dict[str, list[str]]:
    files = {str(file.relative_to(SOURCE)): unnamed(ast.parse(file.read_text())) for file in sorted(SOURCE.rglob("*.py"))}
    return {name: calls for name, calls in files.items() if calls}


def allowed(name: str) -> list[str]:
    return [place for place in ON_THE_CPU if name == place or (place.endswith("/") and name.startswith(place))]


def test_every_tensor_names_its_device():
    wrong = {name: calls for name, calls in found().items() if not allowed(name)}
    assert not wrong, f"write device=, zeros_like or new_zeros, or say in ON_THE_CPU why not: {wrong}"


def test_no_excuse_is_stale():
    assert {place for name in found() for place in allowed(name)} == set(ON_THE_CPU)


@pytest.mark.parametrize(
    ("line", "is_named"),
    [
        ("torch.zeros(3)", False),
        ("torch.zeros(3, device=x.device)", True),
        ("torch.zeros_like(x)", True),
        ("x.new_zeros(3)", True),
        ("torch.arange(3)[1:].sqrt().to(x)", True),
        ("f(torch.arange(3)).to(x)", False),
    ],
)
def test_it_tells_named_devices_from_others(line, is_named):
    assert bool(unnamed(ast.parse(line))) != is_named


def test_mixed_devices_are_an_error():
    with pytest.raises(RuntimeError, match="device"):
        torch.zeros(3) + torch.zeros(3, device="meta")


NEURONS_ON_META = [LIF(leak=0.9), LIF(leak=0.9, reset="subtract", start=0.5), PLIF(), MultiSpike(), Ternary()]


@pytest.mark.parametrize("synchronous", [False, True])
@pytest.mark.parametrize("neuron", NEURONS_ON_META, ids=str)
def test_a_converted_network_runs_forward_and_backward_on_another_device(neuron, synchronous):
    """Its own backward pass, all gradient paths, and all surrogates: a tensor of the CPU among them would be an error."""
    body = create("digits", 10, size=8, channels=1, width=0.5)
    dynamics = Dynamics(3, neuron, synchronous=synchronous)
    net = spiking(body, torch.rand(2, 1, 8, 8), dynamics, threshold=0.5).to("meta").train()
    x = torch.rand(4, 1, 8, 8, device="meta", requires_grad=True)
    views = [net, *(Surrogate(kind())(net) for kind in SURROGATES.values())]
    views += [path(net) for path in (kind() for kind in PATHS.values()) if net.leads(path)]
    for view in views:
        gradients = torch.autograd.grad(view(x).sum(), [x, *net.parameters()], allow_unused=True)
        assert {each.device.type for each in gradients if each is not None} == {"meta"}
        assert gradients[0].shape == x.shape
