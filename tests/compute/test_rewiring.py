import pytest
import torch
from torch import fx, nn
from torch.nn.utils import parametrizations

from robustsnn.compute import rewire
from robustsnn.conversion import spiking


def nothing(name, module):
    return None


def no_relus(name, module):
    return nn.Tanh() if isinstance(module, nn.ReLU) else None


class Shared(nn.Module):
    """One linear and one activation in two places each, a bound method, a list of names."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.act = nn.ReLU()
        self.again = self.first
        self.blocks = nn.ModuleList([self.act, self.act])
        self.order = ["first", "again"]
        self.readout = self.total

    def total(self, x):
        return self.act(x).sum(1)

    def forward(self, x):
        for name, act in zip(self.order, self.blocks, strict=True):
            x = act(getattr(self, name)(x) - 0.1)
        return self.readout(x)


def sequential():
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3), nn.ReLU())
    )


def with_hooks():
    net = sequential()
    net[0].register_forward_hook(lambda module, inputs, output: output + 1)
    net[3].register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    return net


class Settings(dict):
    __getattr__ = dict.__getitem__


class Configured(nn.Module):
    def __init__(self):
        super().__init__()
        self.settings = Settings(factor=2)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(x) * self.settings.factor


NETS = {
    "sequential": sequential,
    "shared modules": Shared,
    "hooks": with_hooks,
    "graph module": lambda: fx.symbolic_trace(sequential()),
    "parametrized": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.ReLU()),
    "old weight norm": lambda: nn.Sequential(torch.nn.utils.weight_norm(nn.Linear(4, 4)), nn.ReLU()),
    "attributes that are a kind of dict": Configured,
    "a leaf": nn.ReLU,
}
every_net = pytest.mark.parametrize("make", NETS.values(), ids=NETS.keys())
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
X = torch.linspace(-1, 1, 20).view(5, 4)


@every_net
def test_rewired_to_nothing_else_a_network_computes_the_same(make):
    net = make().eval()
    assert torch.equal(rewire(net, nothing)(X), net(X))
    assert torch.equal(rewire(rewire(net, nothing), lambda name, module: module)(X), net(X))


@every_net
def test_a_view_is_another_tree_over_the_same_tensors(make):
    net = make()
    view = rewire(net, nothing)
    for tensors in (nn.Module.named_parameters, nn.Module.named_buffers):
        theirs = dict(tensors(net, remove_duplicate=False))
        assert dict(tensors(view, remove_duplicate=False)).keys() == theirs.keys()
        assert all(tensor is theirs[name] for name, tensor in tensors(view, remove_duplicate=False))
    assert list(view.state_dict()) == list(net.state_dict())
    modules = dict(view.named_modules(remove_duplicate=False))
    assert list(modules) == [name for name, _ in net.named_modules(remove_duplicate=False)]
    assert not set(map(id, modules.values())) & set(map(id, net.modules()))


@every_net
@pytest.mark.parametrize("swap", [nothing, no_relus])
def test_nothing_done_to_a_view_reaches_the_original(make, swap, unchanged):
    net = make()
    with unchanged(net):
        view = rewire(net, swap)
        view.eval().train()
        view.eval()
        view(X).sum()
        for module in list(view.modules()):
            module.register_forward_hook(lambda module, inputs, output: output * 2)
            module.register_forward_pre_hook(lambda module, inputs: None)
            module.register_full_backward_hook(lambda module, before, after: None)
            module.register_buffer("extra", torch.zeros(1))
            module.add_module("another", nn.Identity())
            module.note = "mine"
            module._parameters.clear()


@every_net
def test_only_the_view_has_what_was_swapped(make, unchanged):
    net = make()
    with unchanged(net):
        view = rewire(net, no_relus)
    assert not any(isinstance(module, nn.ReLU) for module in view.modules())
    assert any(isinstance(module, nn.ReLU) for module in net.modules())


def test_flags_start_as_the_originals_and_are_the_views_own():
    net = sequential().train()
    net[3].eval()
    view = rewire(net, nothing)
    assert [module.training for module in view.modules()] == [module.training for module in net.modules()]
    net.eval()
    assert view.training
    assert not view[3].training


def test_training_a_view_in_train_mode_trains_the_very_tensors():
    net = sequential()
    view = rewire(net, nothing).train()
    view(X).sum().backward()
    torch.optim.SGD(view.parameters(), lr=0.1).step()
    assert net[0].weight is view[0].weight
    assert net[0].weight.grad is not None
    assert net[1].num_batches_tracked == 1


def test_swap_is_asked_once_for_every_module_the_root_first():
    asked = []
    rewire(Shared(), lambda name, module: asked.append(name))
    assert asked == ["", "first", "act", "blocks"]


def test_shared_modules_stay_shared_copied_or_swapped():
    for swap in (nothing, no_relus):
        view = rewire(Shared(), swap)
        assert view.again is view.first
        assert view.blocks[0] is view.blocks[1] is view.act


def test_a_bound_method_belongs_to_the_view():
    view = rewire(Shared(), lambda name, module: nn.Identity() if name == "act" else None)
    assert view.readout.__self__ is view
    assert torch.equal(view.readout(-torch.ones(1, 4)), torch.tensor([-4.0]))


def test_what_is_swapped_in_is_taken_as_it_is_and_not_entered():
    replacement, asked = nn.Sequential(nn.ReLU()), []

    def swap(name, module):
        asked.append(name)
        return replacement if name == "3" else None

    assert rewire(sequential(), swap)[3] is replacement
    assert asked == ["", "0", "1", "2", "3"]
    assert rewire(sequential(), lambda name, module: replacement) is replacement


def test_a_hook_of_the_original_that_is_removed_stays_with_the_view():
    net = sequential().eval()
    hook = net.register_forward_hook(lambda module, inputs, output: output + 1)
    view = rewire(net, nothing)
    hook.remove()
    assert torch.allclose(view(X), net(X) + 1)


def in_place_compiled():
    net = sequential()
    net.compile(backend="eager")
    return net


@pytest.mark.parametrize(
    "compiled",
    [
        lambda: torch.compile(sequential(), backend="eager"),
        lambda: nn.Sequential(nn.Flatten(), torch.compile(sequential(), backend="eager")),
        lambda: torch.jit.trace(sequential().eval(), X),
        in_place_compiled,
    ],
    ids=["compiled", "compiled part", "traced by jit", "compiled in place"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_code_is_refused(compiled):
    with pytest.raises(ValueError, match="compiled code"):
        rewire(compiled(), no_relus)


def test_a_view_of_a_traced_spiking_network_computes_the_same():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.b(self.a(x.flatten(1)).relu())

    net = spiking(Functional(), torch.rand(3, 1, 2, 2), threshold=0.1)
    x = torch.rand(5, 1, 2, 2)
    assert isinstance(net.body, fx.GraphModule)
    assert torch.equal(rewire(net, nothing)(x), net(x))
    assert rewire(net, nothing).body.a.weight is net.body.a.weight
