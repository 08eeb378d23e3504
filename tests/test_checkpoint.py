"""Checkpoints: a network there and back; a damaged file is refused by name; a file is whole or the old one."""

from __future__ import annotations

import errno
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from robustsnn import checkpoint
from robustsnn.checkpoint import import_published, load, read_header, read_weights, save
from robustsnn.conversion import convert, spiking
from robustsnn.files import PART, read_tensors, remove_leftovers, write_atomic, write_tensors
from robustsnn.models import MODELS, create
from robustsnn.seeds import generator
from robustsnn.spiking import (
    LIF,
    NEURONS,
    PLIF,
    SURROGATES,
    Dynamics,
    Exponential,
    MultiSpike,
    Rectangle,
    StraightThrough,
    Triangle,
)

MODEL = {"name": "vgg", "plan": [4, "A", 6], "hidden": [10], "classes": 4, "size": 8, "channels": 2, "seed": 3}
RECIPE = {"model": MODEL, "seed": 3, "note": "ε = 8/255"}
X = torch.rand(5, 2, 8, 8, generator=generator(0, "test checkpoint"))


def ann():
    """A body whose batch norms have seen images."""
    body = create(**MODEL)
    body(X)
    return body.eval()


def snn(dynamics=Dynamics(3), body=None):
    return convert(ann() if body is None else body, [X], dynamics, calibration_timesteps=4).eval()


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@pytest.mark.parametrize("make", [ann, snn])
def test_a_network_comes_back_bit_by_bit(make, path):
    net = make()
    save(path, net, RECIPE, {"clean": 0.5})
    back = load(path)
    assert type(back).__name__ == type(net).__name__
    assert same(back, net)
    assert torch.equal(back(X), net(X))
    assert not any(module.training for module in back.modules())
    assert [p.requires_grad for p in back.parameters()] == [p.requires_grad for p in net.parameters()]


@pytest.mark.parametrize(
    "dynamics",
    [
        Dynamics(1),
        Dynamics(5, neuron=LIF(leak=0.9, reset="subtract"), detach_reset=True, surrogate=Exponential(0.3, 2.0)),
        Dynamics(2, PLIF(0.9, start=0.5), surrogate=StraightThrough()),
        Dynamics(2, MultiSpike(3)),
        Dynamics(2, surrogate=Rectangle(0.25)),
        Dynamics(2, surrogate=Triangle(1 / 3), relative_surrogate=True),
    ],
    ids=str,
)
def test_dynamics_slots_and_thresholds_come_back(dynamics, path):
    net = snn(dynamics)
    save(path, net, RECIPE)
    back = load(path)
    assert back.dynamics == dynamics
    assert back.slots == net.slots
    assert any(slot.first for slot in net.slots)
    assert {name: t.item() for name, t in back.thresholds.items()} == {name: t.item() for name, t in net.thresholds.items()}
    assert len({t.item() for t in net.thresholds.values()}) == len(net.slots)


def test_thresholds_of_every_neuron_come_back(path):
    net = snn()
    first = net.slots[0].name
    net.thresholds[first].data = torch.linspace(0.1, 0.5, 4).view(4, 1, 1)
    save(path, net, RECIPE)
    assert same(load(path), net)
    assert torch.equal(load(path)(X), net(X))


def test_biases_that_conversion_added_come_back(path, monkeypatch):
    def bare(classes, size, channels, **_):
        inputs = channels * size * size
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 6, bias=False), nn.ReLU(), nn.Linear(6, classes, bias=False))

    monkeypatch.setitem(MODELS, "bare", bare)
    model = {"name": "bare", "classes": 4, "size": 8, "channels": 2}
    body = create(**model)
    save(path, body, {"model": model})
    assert same(load(path), body)
    net = snn(body=body)
    with torch.no_grad():
        net.body[1].bias.fill_(0.25)
    save(path, net, {"model": model})
    assert torch.equal(load(path).body[1].bias, torch.full((6,), 0.25))
    assert torch.equal(load(path)(X), net(X))


def test_the_header_says_what_was_saved(path):
    save(path, snn(), RECIPE, {"history": [{"loss": 0.1}], "best": 0})
    header = read_header(path)
    assert (header.kind, header.recipe, header.metrics) == ("snn", RECIPE, {"history": [{"loss": 0.1}], "best": 0})
    assert set(header.spiking) == {"dynamics", "signal", "blueprint"}
    save(path, ann(), RECIPE)
    assert (read_header(path).kind, read_header(path).metrics, read_header(path).spiking) == ("ann", {}, {})


def test_saving_and_loading_leave_network_and_generator_alone(path, unchanged):
    net = snn()
    with unchanged(net):
        save(path, net, RECIPE)
        load(path)


def test_tensors_over_the_same_memory_may_be_saved(path):
    whole = torch.arange(6.0)
    write_tensors(path, {"whole": whole, "part": whole[2:4], "turned": whole.view(2, 3).T}, {"note": "x"})
    tensors, texts = read_tensors(path)
    assert torch.equal(tensors["part"], whole[2:4])
    assert torch.equal(tensors["turned"], whole.view(2, 3).T)
    assert texts == {"note": "x"}


def test_a_model_that_is_no_table_of_arguments_is_refused(path):
    with pytest.raises(ValueError, match="model"):
        save(path, ann(), {"model": "vgg"})
    for wrong in ({"name": "vgg"}, {"name": "nothing"}, RECIPE["model"] | {"plan": [2, "G"]}):
        with pytest.raises(ValueError, match=r"recipe\['model'\] does not make the body of this network"):
            save(path, snn(), {"model": wrong})
    assert not path.exists()


@dataclass(frozen=True)
class Flat:
    """A surrogate of one's own."""

    height: float = 0.5

    def __call__(self, u):
        return torch.full_like(u, self.height)


@dataclass(frozen=True)
class Own(LIF):
    """A neuron of one's own."""


def test_what_could_not_be_loaded_is_not_saved(path, monkeypatch):
    net = snn()
    for surrogate in (lambda u: u, Flat()):
        with pytest.raises(ValueError, match="SURROGATES"):
            save(path, net.replace(surrogate=surrogate), RECIPE)
    with pytest.raises(ValueError, match="NEURONS"):
        save(path, net.replace(neuron=Own()), RECIPE)
    with pytest.raises(ValueError, match=r"net\.safetensors.*numbers"):
        save(path, net, RECIPE, {"clean": torch.tensor(0.5)})
    assert not path.exists()
    monkeypatch.setitem(SURROGATES, "Flat", Flat)
    save(path, net.replace(surrogate=Flat(0.25)), RECIPE)
    assert load(path).dynamics.surrogate == Flat(0.25)
    monkeypatch.setitem(NEURONS, "Own", Own)
    save(path, net.replace(neuron=Own(0.9)), RECIPE)
    assert load(path).dynamics.neuron == Own(0.9)
    monkeypatch.delitem(NEURONS, "Own")
    with pytest.raises(ValueError, match=r"saved with the neuron Own.*add its dataclass to .*NEURONS before"):
        load(path)


def refused(path):
    """Both readers refuse the file in one line that names it."""
    for read in (load, read_header):
        with pytest.raises(ValueError, match="net\\.safetensors") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_no_file_and_a_folder_are_refused(path):
    refused(path)
    path.mkdir()
    refused(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a checkpoint."""
    path = tmp_path_factory.mktemp("whole") / "net.safetensors"
    save(path, snn(), RECIPE)
    return path.read_bytes()


@pytest.mark.parametrize("share", [0, 1, 7, 8, 9, 200, 0.1, 0.5, 0.9, -1])
def test_a_file_cut_short_is_refused(share, whole, path):
    path.write_bytes(whole[: int(share * len(whole)) if isinstance(share, float) else share])
    refused(path)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """One file for all examples of a property."""
    return tmp_path_factory.mktemp("scratch") / "net.safetensors"


@given(content=st.binary(max_size=200) | st.binary(max_size=50).map(lambda tail: b"\x10\0\0\0\0\0\0\0{" + tail))
def test_a_file_of_anything_is_refused(content, scratch):
    scratch.write_bytes(content)
    refused(scratch)


@given(data=st.data())
def test_a_header_with_flipped_bytes_is_read_or_refused_never_worse(data, whole, scratch):
    content = bytearray(whole)
    end = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(8, end - 1))] = data.draw(st.integers(32, 126))
    scratch.write_bytes(content)
    for read in (load, read_header):
        try:
            read(scratch)
        except ValueError as error:
            assert "net.safetensors" in str(error)  # noqa: PT017


def test_the_tensors_of_somebody_else_are_refused(path):
    save_file({"weight": torch.zeros(3)}, path)
    refused(path)
    save_file({"weight": torch.zeros(3)}, path, metadata={"format": "pt"})
    refused(path)


DAMAGED = {
    "another width": {"recipe": {"model": MODEL | {"hidden": [12]}}},
    "another model": {"recipe": {"model": MODEL | {"name": "vggmini"}}},
    "unknown model": {"recipe": {"model": MODEL | {"name": "vvg"}}},
    "unknown option": {"recipe": {"model": MODEL | {"hiden": [10]}}},
    "model of another type": {"recipe": {"model": [1]}},
    "endless model": {"recipe": {"model": MODEL | {"width": float("inf")}}},
    "no model": {"recipe": {}},
    "list for a table": {"recipe": []},
    "no dynamics": {"spiking": {}},
    "unknown surrogate": {
        "spiking": {
            "dynamics": {"timesteps": 2, "neuron": "LIF", "surrogate": "Square(1)"},
            "signal": "Constant",
            "blueprint": {},
        }
    },
    "no surrogate but a number": {
        "spiking": {"dynamics": {"timesteps": 2, "neuron": "LIF", "surrogate": "3"}, "signal": "Constant", "blueprint": {}}
    },
    "unknown neuron": {
        "spiking": {
            "dynamics": {"timesteps": 2, "neuron": "Cell", "surrogate": "Triangle(1)"},
            "signal": "Constant",
            "blueprint": {},
        }
    },
    "time steps below one": {
        "spiking": {
            "dynamics": {"timesteps": 0, "neuron": "LIF", "surrogate": "Triangle(1)"},
            "signal": "Constant",
            "blueprint": {},
        }
    },
    "slot that is none": {
        "spiking": {
            "dynamics": {"timesteps": 2, "neuron": "LIF", "surrogate": "Triangle(1)"},
            "signal": "Constant",
            "blueprint": {"slots": [{"name": "x"}]},
        }
    },
    "unknown kind": {"kind": "brain"},
    "kind that does not fit": {"kind": "ann"},
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_header_that_does_not_fit_its_tensors_is_refused(damage, path):
    save(path, snn(), RECIPE)
    tensors, texts = read_tensors(path)
    write_tensors(path, tensors, texts | {key: json.dumps(value) for key, value in DAMAGED[damage].items()})
    with pytest.raises(ValueError, match="net\\.safetensors"):
        load(path)


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000])
def test_a_header_that_is_no_json_is_refused(text, path):
    save(path, ann(), RECIPE)
    tensors, texts = read_tensors(path)
    write_tensors(path, tensors, texts | {"recipe": text})
    refused(path)


def test_nothing_in_a_checkpoint_is_executed(path, tmp_path):
    save(path, snn(), RECIPE)
    tensors, texts = read_tensors(path)
    evil = {"timesteps": 2, "neuron": "LIF", "surrogate": f"__import__('pathlib').Path({str(tmp_path / 'pwned')!r}).touch()"}
    write_tensors(path, tensors, texts | {"spiking": json.dumps({"dynamics": evil, "signal": "Constant", "blueprint": {}})})
    with pytest.raises(ValueError, match="net\\.safetensors"):
        load(path)
    assert not (tmp_path / "pwned").exists()


def test_a_file_is_written_with_the_folders_on_its_way(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("os.replace", errno.ENOSPC),
        ("os.fsync", errno.ENOSPC),
        ("os.fsync", errno.EIO),
        ("os.chmod", errno.EPERM),
        ("tempfile.mkstemp", errno.EROFS),
        ("tempfile.mkstemp", errno.EACCES),
        ("pathlib.Path.mkdir", errno.EACCES),
    ],
)
def test_when_writing_fails_the_old_file_stays_and_nothing_else(place, code, existing, path, monkeypatch):
    if existing:
        save(path, ann(), RECIPE)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}

    def fails(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(place, fails)
    with pytest.raises(ValueError, match=f"cannot write .*net\\.safetensors: {os.strerror(code)}; choose another folder"):
        save(path, snn(), RECIPE)
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_an_interrupt_while_writing_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    write_atomic(path, b"old")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["net.safetensors"]


def test_a_file_in_the_place_of_the_folder_is_said(tmp_path):
    (tmp_path / "runs").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot write"):
        write_atomic(tmp_path / "runs" / "net.safetensors", b"x")


def test_the_format_is_frozen():
    assert checkpoint.FORMAT == "robustsnn-1"


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    write_atomic(tmp_path / "kept.json", b"{}")
    (tmp_path / f".ann.state.x1y2{PART}").write_bytes(b"half")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]


def published(net):
    """The state dict of a spiking network as the published code names it."""
    state = {name.removeprefix("body."): value for name, value in net.state_dict().items()}
    return {name.replace(".threshold", ".v_th"): v for name, v in state.items() if not name.startswith("normalize.")}


def in_parallel(state):
    """As `nn.DataParallel` names it."""
    return {f"module.{name}": value for name, value in state.items()}


def narrow(seed, threshold):
    ann = create("resnet20", 4, 8, 2, width=0.25, seed=seed)
    return spiking(ann, torch.rand(2, 2, 8, 8, generator=generator(0, "test")), Dynamics(3), threshold).eval()


@pytest.mark.parametrize(
    ("wrapped", "write", "suffix"),
    [
        (lambda state: state, torch.save, "pth"),
        (lambda state: {"state_dict": state}, torch.save, "pt"),
        (lambda state: {"model": in_parallel(state)}, torch.save, "pth"),
        (lambda state: state, save_file, "safetensors"),
        (in_parallel, save_file, "safetensors"),
    ],
)
def test_weights_in_the_published_layout_come_in(wrapped, write, suffix, tmp_path):
    source, x = narrow(1, 0.7), torch.rand(3, 2, 8, 8, generator=generator(1, "test"))
    write(wrapped(published(source)), tmp_path / f"weights.{suffix}")
    net = import_published(narrow(2, 1.0), read_weights(tmp_path / f"weights.{suffix}"))
    assert torch.equal(net(x), source(x))


def under(prefix):
    return lambda state: {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    "wrapped",
    [
        under("_orig_mod."),
        under("module._orig_mod."),
        under("network.model."),
        lambda state: {"state_dict": under("model.")(state), "epoch": 3},
        lambda state: {"model": under("_orig_mod.module.")(state), "optimizer": {"state": {}}},
        lambda state: {"n_averaged": torch.tensor(3), **under("module.")(state)},
        lambda state: {"state_dict_ema": state},
        lambda state: {"weights": {"params": state}},
    ],
)
def test_wrappers_and_prefixes_are_taken_off(wrapped, tmp_path):
    source, x = narrow(1, 0.7), torch.rand(3, 2, 8, 8, generator=generator(1, "test"))
    torch.save(wrapped(published(source)), tmp_path / "weights.pt")
    assert torch.equal(import_published(narrow(2, 1.0), read_weights(tmp_path / "weights.pt"))(x), source(x))


def test_which_weights_are_meant_is_not_guessed(tmp_path):
    state = published(narrow(1, 0.7))
    torch.save({"model": state, "model_ema": state}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"several state dicts \(model, model_ema\)"):
        read_weights(tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"All their names begin with 'encoder\.'"):
        import_published(narrow(1, 1.0), under("encoder.")(state))


def test_weights_that_do_not_fit_are_refused_and_nothing_is_changed():
    net, tensors = narrow(1, 1.0), published(narrow(2, 0.5))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    lacking = {name: value for name, value in tensors.items() if name != "features.3.act1.v_th"}
    with pytest.raises(ValueError, match=r"lack 'body\.features\.3\.act1\.threshold'"):
        import_published(net, lacking)
    with pytest.raises(ValueError, match="do not fit"):
        import_published(net, tensors | {"features.99.weight": torch.zeros(1)})
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"no weights at all", None], ids=["empty", "text", "code"])
def test_a_foreign_weights_file_is_never_executed(content, tmp_path):
    class Code:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    path = tmp_path / "weights.pth"
    torch.save({"a": Code()}, path) if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.pth"):
        read_weights(path)
    assert not (tmp_path / "executed").exists()


def test_a_file_that_holds_no_tensors_is_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="not hold a state dict"):
        read_weights(tmp_path / "weights.pth")


class Foreign(nn.Module):
    """A body of somebody else: functional activations, a buffer that is not saved, a linear layer without bias."""

    def __init__(self, width=4):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, width, 3), nn.BatchNorm2d(width)
        self.register_buffer("shift", torch.tensor(0.5), persistent=False)
        self.hidden, self.fc = nn.Linear(36 * width, 6, bias=False), nn.Linear(6, 4)

    def forward(self, x):
        x = (self.norm(self.conv(x - self.shift))).relu()
        return self.fc(self.hidden(x.flatten(1)).relu())


def foreign_ann():
    body = Foreign()
    body(X)
    return body.eval()


def foreign_snn():
    return snn(body=foreign_ann())


every_foreign = pytest.mark.parametrize("make", [foreign_ann, foreign_snn])


@every_foreign
def test_a_network_from_outside_comes_back_given_a_body_like_it(make, path, unchanged):
    net, body = make(), Foreign()
    save(path, net, recipe={})
    with unchanged(body, net):
        back = load(path, body)
    assert same(back, net)
    assert torch.equal(back(X), net(X))
    assert not torch.equal(body.eval()(X), net(X))
    assert not any(module.training for module in back.modules())
    assert not set(map(id, back.parameters())) & set(map(id, body.parameters()))


@every_foreign
@pytest.mark.parametrize(
    ("recipe", "made"),
    [({}, "lacks the code of its network: "), ({"model": {"ann": "mynets:make", "seed": 0}}, "made by 'mynets:make'")],
    ids=str,
)
def test_without_a_body_it_is_refused_with_what_to_do(make, recipe, made, path):
    save(path, make(), recipe)
    with pytest.raises(ValueError, match=rf"{made}.*load\(path, body\).*--ann package\.module:factory") as caught:
        load(path)
    assert "net.safetensors" in str(caught.value)


@every_foreign
@pytest.mark.parametrize("body", [Foreign(5), ann(), nn.Sequential(nn.Flatten(), nn.Linear(128, 4))], ids=type)
def test_a_body_that_does_not_fit_is_refused(make, body, path, unchanged):
    save(path, make(), recipe={})
    with unchanged(body), pytest.raises(ValueError, match=r"net\.safetensors do not fit") as caught:
        load(path, body)
    assert "\n" not in str(caught.value)


def write_recipe(path, net, recipe):
    """A checkpoint whose recipe says anything, also what `save` would refuse."""
    save(path, net, recipe={})
    tensors, texts = read_tensors(path)
    write_tensors(path, tensors, texts | {"recipe": json.dumps(recipe)})


@pytest.mark.parametrize(
    "model",
    [
        {"ann": "pwning:make"},
        {"ann": "os:system", "command": "touch pwned"},
        {"name": "vgg", "ann": "os:system"},
        {"name": "pwning:make"},
        {"name": "vgg", "activation": "os.system('touch pwned')"},
    ],
    ids=str,
)
@pytest.mark.parametrize("body", [None, Foreign()], ids=["no body", "body"])
def test_what_a_header_names_is_never_imported_or_run(model, body, path, tmp_path, monkeypatch):
    (tmp_path / "pwning.py").write_text("import pathlib; pathlib.Path('pwned').touch()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    net = foreign_snn()
    write_recipe(path, net, {"ann": "pwning:make", "model": model})
    if body is None:
        with pytest.raises(ValueError, match=r"net\.safetensors"):
            load(path)
    else:
        assert torch.equal(load(path, body)(X), net(X))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.safetensors", "pwning.py"]
    assert "pwning" not in sys.modules


@pytest.mark.parametrize("model", [None, 3, ["ann"], "ann", "name"], ids=str)
def test_a_header_whose_model_is_no_table_is_refused(model, path):
    write_recipe(path, ann(), {"model": model})
    with pytest.raises(ValueError, match=r"net\.safetensors"):
        load(path)
    assert torch.equal(load(path, ann())(X), ann()(X))


def test_a_network_does_not_depend_on_torchs_default_type():
    x = torch.rand(2, 1, 8, 8)
    expected = load("zoo:digits-robust")(x)
    torch.set_default_dtype(torch.float64)
    try:
        net = load("zoo:digits-robust")
        assert torch.get_default_dtype() == torch.float64
        assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
        assert torch.equal(net(x), expected)
    finally:
        torch.set_default_dtype(torch.float32)
