"""The one primitive: a second module tree over the same tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy as shallow_copy
from copy import deepcopy
from types import MethodType
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Net = TypeVar("Net", bound=nn.Module)

Swap = Callable[[str, nn.Module], nn.Module | None]


def rewire(net: nn.Module, swap: Swap) -> nn.Module:
    """A copy of the module tree of ``net`` over the very same parameters and buffers, with some modules exchanged.

    Arguments:
        net: left untouched: its modules, flags, hooks and tensors stay as they are.
        swap: ``swap(name, module)`` is asked once for every module, the root (``""``) first, and returns the module to
            put in that place, or None (or the module itself) to keep a copy of what is there. What it puts there is
            taken as it is. A module that stands in several places is asked for once and stays shared.

    Returns:
        The view. Its train/eval flags start as those of ``net`` and are its own from then on.

    Raises:
        ValueError: ``net`` is compiled or scripted code, which cannot be taken apart.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    >>> view = rewire(net, lambda name, module: nn.Tanh() if isinstance(module, nn.ReLU) else None)
    >>> view[0].weight is net[0].weight, view[1], net[1]
    (True, Tanh(), ReLU())
    """
    placed: dict[int, nn.Module] = {}

    def visit(name: str, module: nn.Module) -> nn.Module:
        if id(module) not in placed:
            chosen = swap(name, module)
            if chosen is not None and chosen is not module:
                placed[id(module)] = chosen
            else:
                copy = placed[id(module)] = _shallow(name, module)
                for key, child in module._modules.items():
                    if child is not None:
                        copy._modules[key] = visit(f"{name}.{key}" if name else key, child)
        return placed[id(module)]

    return visit("", net)


def view(net: Net) -> Net:
    """A copy of the module tree of ``net`` over the very same tensors: see `rewire`."""
    return rewire(net, lambda _, __: None)  # type: ignore[return-value]


def copied(net: Net) -> Net:
    """A deep copy; of a weight that a hook computes before every call, without the graph that torch refuses to copy."""
    fresh = view(net)
    for module in fresh.modules():
        computed = {
            key: value.detach() for key, value in module.__dict__.items() if isinstance(value, Tensor) and value.grad_fn
        }
        module.__dict__.update(computed)
    return deepcopy(fresh)


def with_tensors(net: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A view of ``net`` in which some parameters or buffers, by their names, are other tensors.

    They may depend on the parameters of ``net``: gradients then flow back to those. A weight that the network computes, by a
    parametrization or before every call, is no longer computed. Raises ValueError: a name that ``net`` does not have.
    """
    changed = view(net)
    for name, tensor in tensors.items():
        path, _, last = name.rpartition(".")
        module = changed.get_submodule(path)
        computed = module._modules.get("parametrizations")
        if last in module._parameters:
            module._parameters[last] = tensor  # type: ignore[assignment]
        elif last in module._buffers:
            module._buffers[last] = tensor
        elif isinstance(computed, nn.ModuleDict) and last in computed:
            computed[last] = _Given(tensor)
        elif isinstance(module.__dict__.get(last), Tensor):
            module.__dict__[last] = tensor
            for key, hook in list(module._forward_pre_hooks.items()):
                if last in (getattr(hook, "name", None), getattr(hook, "_tensor_name", None)):
                    del module._forward_pre_hooks[key]  # torch.nn.utils.weight_norm, spectral_norm, prune
        else:
            raise ValueError(f"{type(net).__name__} has no tensor {name!r}: give names of its state_dict")
    return changed


class _Given(nn.Module):
    """Stands for a parametrization whose outcome is known."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.__dict__["tensor"] = tensor  # no parameter of its own

    def forward(self) -> Tensor:
        return self.__dict__["tensor"]  # type: ignore[no-any-return]


WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def unwrapped(net: nn.Module) -> nn.Module:
    """The network inside of `WRAPPERS`, which hold it as ``module``."""
    while isinstance(net, WRAPPERS):
        net = net.module
    return net


def _shallow(name: str, module: nn.Module) -> nn.Module:
    """The module with containers of its own (children, hooks, buffers by name) that hold the same things."""
    compiled = hasattr(module, "_orig_mod") or module._compiled_call_impl is not None
    if compiled or isinstance(module, torch.jit.ScriptModule):
        raise ValueError(f"module {name!r} is compiled code: give the plain nn.Module it was made from")
    copy: nn.Module = object.__new__(type(module))
    for key, value in module.__dict__.items():
        if isinstance(value, dict | set):
            value = shallow_copy(value)
        elif isinstance(value, MethodType) and value.__self__ is module:
            value = MethodType(value.__func__, copy)
        copy.__dict__[key] = value
    return copy
