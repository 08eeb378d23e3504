import copy
import linecache
import random
import re
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from bodies import BODIES, Modules, Net, Reused, trained
from torch import fx, nn

import robustsnn
from robustsnn.conversion import spiking, trace
from robustsnn.spiking import Analog, Dynamics, Slot, SpikingNetwork

every_body = pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)


@every_body
def test_the_body_computes_what_the_ann_does(body, images):
    ann = trained(body)
    torch.testing.assert_close(trace(ann)[0](images.clone()), ann(images.clone()))


@every_body
def test_the_body_has_one_relu_module_for_each_activation(body, images):
    traced, layers = trace(trained(body))
    relus = [name for name, module in traced.named_modules() if isinstance(module, nn.ReLU)]
    assert len(relus) == body.activations
    assert sorted(relus) == sorted(layer.place for layer in layers if layer.action.startswith("spiking neurons"))
    assert not any(traced.get_submodule(name).inplace for name in relus)


@every_body
def test_tensors_keep_their_names_and_identity(body):
    ann = trained(body)
    traced, _ = trace(ann)
    assert traced.state_dict().keys() == ann.state_dict().keys()
    for name, tensor in [*ann.named_parameters(), *ann.named_buffers()]:
        parent, _, last = name.rpartition(".")
        assert getattr(traced.get_submodule(parent), last) is tensor


@every_body
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_tracing_leaves_the_ann_as_it_is_and_keeps_its_flags(body, training, unchanged):
    ann = trained(body).train(training)
    with unchanged(ann):
        traced, _ = trace(ann)
    assert {module.training for module in traced.modules()} == {training}


@every_body
def test_spikes_stand_for_every_activation(body, images):
    ann = trained(body)
    net = spiking(ann, images, Dynamics(3), threshold=0.2).eval()
    assert len(net.thresholds) == body.activations
    account = [layer.place for layer in net.conversion_report.layers if layer.action.startswith("spiking neurons")]
    assert list(net.thresholds) == account
    assert net(images).std() > 0
    net.steps(images).square().sum().backward()
    assert all(threshold.grad is not None for threshold in net.thresholds.values())


@every_body
def test_a_deep_copy_of_the_network_is_another_like_it(body, images):
    net = spiking(trained(body), images, Dynamics(3), threshold=0.2).eval()
    clone = copy.deepcopy(net)
    assert torch.equal(clone(images), net(images))
    assert clone.state_dict().keys() == net.state_dict().keys()
    assert not set(map(id, clone.parameters())) & set(map(id, net.parameters()))


@every_body
def test_nothing_is_printed(body, images, capfd):
    spiking(trained(body), images)
    assert capfd.readouterr() == ("", "")


@every_body
def test_with_relu_for_spikes_the_network_is_the_ann(body, images):
    ann = trained(body)
    torch.testing.assert_close(Analog()(spiking(ann, images))(images), ann(images))


@every_body
def test_running_the_first_part_once_changes_nothing(body, images):
    net = spiking(trained(body), images, Dynamics(3), threshold=0.2).eval()
    plain = Analog()(net)
    repeated = SpikingNetwork(plain, net.dynamics, slots=[Slot(slot.name) for slot in net.slots])
    repeated = repeated.replace(dict.fromkeys(net.thresholds, 0.2)).eval()
    torch.testing.assert_close(repeated.steps(images), net.steps(images))
    assert any(slot.first for slot in net.slots) == body.begins_alike


def test_a_plain_body_stays_what_it_is():
    traced, _ = trace(Modules())
    assert type(traced) is Modules
    assert isinstance(trace(Reused())[0], fx.GraphModule)


def test_the_account_lists_layers_in_order_of_execution():
    _, layers = trace(Modules())
    assert [(layer.place, layer.kind) for layer in layers] == [
        *(("conv1", "Conv2d"), ("bn1", "BatchNorm2d"), ("relu1", "ReLU")),
        *(("conv2", "Conv2d"), ("relu2", "ReLU"), ("fc", "Linear")),
    ]
    assert [layer.action for layer in layers] == ["kept", "kept", "spiking neurons", "kept", "spiking neurons", "kept"]


def test_functional_dropout_becomes_a_module_that_obeys_the_flags():
    class Dropped(nn.Module):
        def forward(self, x):
            return F.dropout(F.relu(x), 0.5, self.training)

    traced, layers = trace(Dropped().eval())
    x = torch.ones(1, 1, 20, 20)
    assert torch.equal(traced(x), x)
    assert set(traced.train()(x).unique().tolist()) == {0.0, 2.0}
    assert [layer.kind for layer in layers] == ["ReLU", "Dropout"]


def layers(*modules):
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Sequential(*modules))


class Part(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Calls(Net):
    """A body with a part that applies one function."""

    def __init__(self, function):
        super().__init__()
        self.part = Part(function)

    def forward(self, x):
        return self.head(self.part(F.relu(self.conv2(self.conv1(x)))))


def branches(x):
    return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("ann", "line"),
    [
        (layers(nn.Sigmoid()), r"layer '2\.0' \(Sigmoid\).*nn.ReLU"),
        (layers(nn.Identity(), nn.GELU()), r"layer '2\.1' \(GELU\).*nn.ReLU"),
        (layers(nn.LeakyReLU()), r"layer '2\.0' \(LeakyReLU\)"),
        (layers(nn.ReLU6()), r"layer '2\.0' \(ReLU6\)"),
        (layers(nn.MaxPool2d(2)), r"layer '2\.0' \(MaxPool2d\).*average pool.*allow=\{'max_pool'\}"),
        (Calls(torch.sigmoid), "sigmoid in module 'part'"),
        (Calls(lambda x: x.sigmoid()), "sigmoid in module 'part'"),
        (Calls(F.gelu), "gelu in module 'part'"),
        (Calls(lambda x: x.clamp(0, 1)), "clamp in module 'part'"),
        (Calls(lambda x: x**2), "pow in module 'part'"),
        (Calls(lambda x: x * x), "mul in module 'part' multiplies activations with each other"),
        (Calls(lambda x: x.mul_(x)), "mul_ in module 'part' multiplies"),
        (Calls(lambda x: x * x.mean((2, 3), keepdim=True)), "mul in module 'part' multiplies"),
        (Calls(lambda x: x / (x.sum(1, keepdim=True) + 1)), "truediv in module 'part' .*divides by them"),
        (Calls(lambda x: 1 / (x + 1)), "truediv in module 'part' .*divides by them"),
        (Calls(lambda x: torch.div(x, x + 1)), "div in module 'part'"),
        (Calls(lambda x: x @ x.transpose(2, 3)), "matmul in module 'part' multiplies"),
        (Calls(lambda x: torch.einsum("nchw,nchw->nchw", x, x)), "einsum in module 'part' multiplies"),
        (Calls(lambda x: F.conv2d(x, x.mean(0, keepdim=True))), "conv2d in module 'part' multiplies"),
        (Calls(lambda x: F.max_pool2d(x, 1)), "max_pool2d in module 'part'.*average pool"),
        (Calls(branches), r"forward pass of Calls at .*test_tracing\.py, line \d+: .*control flow.*without branches"),
        (nn.Sequential(nn.Flatten(), nn.Linear(128, 4)), "Sequential has no ReLU"),
        (layers(nn.Softmax(1)), r"layer '2\.0' \(Softmax\)"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_what_no_spikes_can_stand_for_is_refused_by_name_and_with_a_remedy(ann, line, unchanged):
    with unchanged(ann), pytest.raises(ValueError, match=line):
        trace(ann)


@pytest.mark.parametrize("package", [torch, robustsnn], ids=lambda package: package.__name__)
def test_the_line_of_a_package_whose_name_begins_like_another_is_named(package, monkeypatch):
    """torchvision lies next to torch."""
    file, text = f"{Path(package.__file__).parent}vision/nets.py", "def branches(x):\n    return x if x.sum() > 0 else -x\n"
    monkeypatch.setitem(linecache.cache, file, (len(text), None, text.splitlines(True), file))
    exec(compile(text, file, "exec"), made := {})
    with pytest.raises(ValueError, match=rf"at {re.escape(file)}, line 2: 'return x if"):
        trace(Calls(made["branches"]))


def test_the_line_is_not_that_of_python_itself_nor_of_code_without_source():
    with pytest.raises(ValueError, match=r"Calls at .*test_tracing\.py, line \d+: 'return random\.randint"):
        trace(Calls(drawn))
    exec("def branches(x):\n    return x if x.sum() > 0 else -x\n", made := {})
    with pytest.raises(ValueError, match=r"Calls at .*test_tracing\.py, line \d+: 'return self\.function"):
        trace(Calls(made["branches"]))


def drawn(x):
    return random.randint(0, x.shape[0]) * x


@pytest.mark.parametrize("ann", [layers(nn.MaxPool2d(2)), Calls(lambda x: F.max_pool2d(x, 1))], ids=["module", "function"])
def test_max_pooling_may_be_allowed(ann, images):
    body, account = trace(ann, allow={"max_pool"})
    torch.testing.assert_close(body(images), ann(images))
    assert any(layer.action.startswith("spiking") for layer in account)


def test_nothing_but_max_pooling_can_be_allowed():
    with pytest.raises(ValueError, match="only 'max_pool' can be allowed"):
        trace(Modules(), allow={"sigmoid"})


def test_an_ann_is_followed_exactly_or_refused(images):
    """Here an activation writes through a view into what is read later."""

    class ThroughView(Net):
        def forward(self, x):
            x = self.bn1(self.conv1(x))
            F.relu_(x.flatten(1))
            return self.head(self.conv2(x))

    ann = trained(ThroughView)
    with suppress(ValueError):
        net = spiking(ann, images)
        torch.testing.assert_close(Analog()(net)(images), ann(images))


def reshape_to(count):
    return lambda x: x.reshape(count, -1, 8, 8)


@pytest.mark.parametrize("count", [1, 2, 6, 8])
def test_a_fixed_batch_size_is_refused(count, images):
    with pytest.raises(ValueError, match="batch"):
        spiking(Calls(reshape_to(count)), images)


@pytest.mark.parametrize(
    "mix",
    [lambda x: x.sum(0, keepdim=True) + x, lambda x: x - x.mean(0, keepdim=True), lambda x: x + x[:1]],
    ids=["sum", "mean", "first image"],
)
def test_a_body_that_mixes_images_is_refused(mix, images):
    with pytest.raises(ValueError, match="mixes the images of a batch"):
        spiking(Calls(mix), images)
