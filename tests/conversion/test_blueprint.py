"""A blueprint is all that loading needs: it neither traces nor guesses, and runs nothing that a file names."""

import json
import sys
from dataclasses import asdict, replace

import pytest
import torch
from bodies import BODIES, Functional, Modules, Reused, trained

from robustsnn import checkpoint
from robustsnn.conversion import Blueprint, convert, spiking
from robustsnn.files import read_tensors, write_tensors
from robustsnn.spiking import PLIF, Constant, Dynamics

every_body = pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)


def through_json(net):
    return Blueprint(**json.loads(json.dumps(asdict(Blueprint.of(net)))))


@every_body
def test_a_body_is_built_again_without_tracing(body, images, monkeypatch):
    net = spiking(trained(body), images, Dynamics(3, PLIF(0.9)), 0.2).eval()
    plan, fresh = through_json(net), body()
    monkeypatch.setattr("robustsnn.conversion.fold.Tracer.trace", None)
    built = plan.built(fresh, net.dynamics, Constant())
    built.load_state_dict(net.state_dict())
    assert built.slots == net.slots
    assert list(built.state_dict()) == list(net.state_dict())
    torch.testing.assert_close(built.eval().steps(images), net.steps(images))


def test_a_checkpoint_of_one_tracer_loads_under_another(images, tmp_path, monkeypatch):
    net = spiking(trained(Reused), images, Dynamics(3), 0.2).eval()
    checkpoint.save(tmp_path / "net.safetensors", net)
    tracing = sys.modules["robustsnn.conversion.tracing"]
    put = tracing._put

    def elsewhere(tree, node, module, place=None):
        put(tree, node, module, place or f"other_{len(list(tree.modules()))}")

    monkeypatch.setattr(tracing, "_put", elsewhere)
    assert list(spiking(trained(Reused), images, Dynamics(3)).thresholds) != list(net.thresholds)
    back = checkpoint.load(tmp_path / "net.safetensors", Reused())
    assert list(back.thresholds) == list(net.thresholds)
    torch.testing.assert_close(back(images), net(images))


def test_shapes_of_thresholds_are_told(images):
    net = convert(trained(Modules), [images], Dynamics(3), calibration_timesteps=4, granularity="channel")
    shapes = Blueprint.of(net).shapes
    assert shapes == {f"{name}.threshold": list(value.shape) for name, value in net.thresholds.items()}
    assert any(shapes.values())


EVIL = [
    {"op": "call_function", "target": "os.system"},
    {"op": "call_function", "target": "getattr", "args": {"tuple": [1, "__class__"]}},
    {"op": "call_method", "target": "__reduce__"},
    {"op": "call_method", "target": "relu(); import os"},
    {"op": "call_module", "target": 'conv1");import os;("'},
    {"op": "get_attr", "target": "__class__"},
    {"op": "placeholder", "target": "x, y=print(1)"},
    {"op": "call_function", "target": "torch.add", "name": "a; import os"},
    {"op": "call_function", "target": "torch.add", "kwargs": {"table": {"a=print(1), b": 1}}},
    {"op": "call_function", "target": "torch.add", "args": {"code": "print(1)"}},
    {"op": "call_function", "target": "torch.add", "args": {"tuple": [{"torch": "load"}]}},
    {"op": "exec", "target": "x"},
]


@pytest.mark.parametrize("evil", EVIL, ids=str)
def test_steps_that_no_conversion_writes_are_refused(evil, images):
    net = spiking(trained(Functional), images, Dynamics(3))
    plan = through_json(net)
    step = {"name": "evil", "args": {"tuple": []}, "kwargs": {"table": {}}} | evil
    with pytest.raises((ValueError, LookupError, AttributeError)):
        replace(plan, steps=[*plan.steps[:1], step, *plan.steps[1:]]).built(Functional(), net.dynamics, Constant())


def test_a_file_of_before_says_what_to_do(images, tmp_path):
    path = tmp_path / "old.safetensors"
    checkpoint.save(path, spiking(trained(Modules), images, Dynamics(3)))
    tensors, texts = read_tensors(path)
    write_tensors(path, tensors, texts | {"spiking": json.dumps({"dynamics": {"timesteps": 3}, "slots": []})})
    with pytest.raises(ValueError, match=r"old.safetensors was saved before.*benchmarks/blueprints.py FILE"):
        checkpoint.load(path, Modules())
