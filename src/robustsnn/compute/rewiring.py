"""The basic operation: a second module tree over the same tensors."""

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
    """Copy the module tree of ``net`` over the same parameters and buffers, and replace some modules.

    Arguments:
        net: not changed: its modules, flags, hooks and tensors stay as they are.
        swap: ``swap(name, module)`` is called once for every module, starting with the root (``""``). It returns the
            replacement, which is used as it is, or None (or the module itself) for a copy of the module. A module in several
            places is visited once and stays shared.

    Returns:
        The view. Its train/eval flags start as those of ``net`` and are then independent.

    Raises:
        ValueError: ``net`` contains compiled or scripted modules, which cannot be copied.

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
    """Copy the module tree of ``net`` over the same tensors; see `rewire`."""
    return rewire(net, lambda _, __: None)  # type: ignore[return-value]


def copied(net: Net) -> Net:
    """Return a deep copy. Weights that a hook computes before every call are detached, since torch cannot copy their graph."""
    fresh = view(net)
    for module in fresh.modules():
        computed = {
            key: value.detach() for key, value in module.__dict__.items() if isinstance(value, Tensor) and value.grad_fn
        }
        module.__dict__.update(computed)
    return deepcopy(fresh)


def with_tensors(net: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return a view of ``net`` in which some parameters or buffers, given by name, are other tensors.

    The tensors may depend on parameters of ``net``; gradients then flow back to those. A weight that a parametrization or hook
    computes is no longer computed. Raises ValueError if ``net`` has no tensor of a name.
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
            raise ValueError(f"{type(net).__name__} has no tensor {name!r}: use the names of its state_dict")
    return changed


class _Given(nn.Module):
    """A parametrization with a fixed result."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.__dict__["tensor"] = tensor  # must not be a parameter

    def forward(self) -> Tensor:
        return self.__dict__["tensor"]  # type: ignore[no-any-return]


WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def unwrapped(net: nn.Module) -> nn.Module:
    """Return the network inside `WRAPPERS`, which hold it as ``module``."""
    while isinstance(net, WRAPPERS):
        net = net.module
    return net


def _shallow(name: str, module: nn.Module) -> nn.Module:
    """Copy a module with its own containers (children, hooks, buffers by name) that hold the same objects."""
    compiled = hasattr(module, "_orig_mod") or module._compiled_call_impl is not None
    if compiled or isinstance(module, torch.jit.ScriptModule):
        raise ValueError(f"module {name!r} is compiled code: pass the plain nn.Module that was compiled")
    copy: nn.Module = object.__new__(type(module))
    for key, value in module.__dict__.items():
        if isinstance(value, dict | set):
            value = shallow_copy(value)
        elif isinstance(value, MethodType) and value.__self__ is module:
            value = MethodType(value.__func__, copy)
        copy.__dict__[key] = value
    return copy
