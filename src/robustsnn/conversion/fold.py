"""The network that attacks differentiate: batch norms are folded into convolutions, and no parameter requires a gradient."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from robustsnn.compute import rewire, view
from robustsnn.compute.norm import BatchNorm2d, Synchronised
from robustsnn.models import QCFS, MeanOverTime, Normalize, weight_layers
from robustsnn.names import one_line
from robustsnn.spiking import NeuronLayer, SpikingNetwork


def folded(net: nn.Module) -> nn.Module:
    """Return a view in eval mode that computes the same with fewer operations and has gradients for pixels only.

    It equals ``net`` except for rounding, which can flip single spikes: judge adversarial images by ``net`` itself. A network
    that torch.fx cannot trace keeps its batch norms.
    """
    body = net.body if isinstance(net, SpikingNetwork) else net
    modules = dict(body.named_modules(remove_duplicate=False))
    norms = {id(modules[layer]): modules[norm] for layer, norm in _followers(body).items()}
    folded_away = {id(norm) for norm in norms.values()}

    def swap(_: str, module: nn.Module) -> nn.Module | None:
        if id(module) in folded_away:
            return nn.Identity()
        return _both(module, norms[id(module)]) if id(module) in norms else None

    view = rewire(net, swap).eval()
    for part in view.modules():
        _fix(part, lambda parameter: parameter)
        if type(part) is nn.Conv2d and part.padding_mode == "zeros" and not isinstance(part.padding, str):
            part.__class__ = _Frozen
    return view


def _fix(module: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    """Replace a module's parameters by ``change(parameter)`` without gradients."""
    for key, parameter in module._parameters.items():
        if parameter is not None:
            module._parameters[key] = nn.Parameter(change(parameter.detach()), requires_grad=False)


def _both(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """Return a convolution fused with the batch norm behind it."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    whole, given = view(layer), layer._parameters
    assert given["weight"] is not None
    with torch.no_grad():
        weight, bias = fuse_conv_bn_weights(
            given["weight"], given["bias"], norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
    whole._parameters.update(weight=weight, bias=bias)
    return whole


class _Frozen(nn.Conv2d):
    """A convolution with fixed weights: its graph does not keep the input, which only the weight gradient needs."""

    def forward(self, input: Tensor) -> Tensor:
        return _InputGradient.apply(input, self)  # type: ignore[no-untyped-call, no-any-return]


class _InputGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: _Frozen) -> Tensor:
        ctx.layer, ctx.shape, ctx.strides, ctx.dtype = layer, x.shape, x.stride(), x.dtype
        return nn.functional.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        layer: _Frozen = ctx.layer
        unread = torch.empty_strided(ctx.shape, ctx.strides, dtype=grad.dtype, device=grad.device)  # for shape and layout
        how = (layer.stride, layer.padding, layer.dilation, False, [0, 0], layer.groups, [True, False, False])
        weight = layer.weight.to(grad.dtype)  # under autocast the convolution computed in this type
        found = torch.ops.aten.convolution_backward(grad, unread, weight, None, *how)
        return found[0].to(ctx.dtype), None


def bfloat16(net: nn.Module) -> nn.Module:
    """Return a view whose convolutions and linear layers compute in bfloat16: spikes are exact there, weights keep eight bits.

    Everything else, in particular neurons and outputs, stays in float32. Attacks may use it; never judge images by it.
    """
    layers = {id(layer) for layer in weight_layers(net).values()}
    return rewire(net, lambda _, module: _Half(module) if id(module) in layers else None)


class _Half(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = view(layer)
        _fix(self.layer, Tensor.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.bfloat16()).float()  # type: ignore[no-any-return]


_known: WeakKeyDictionary[nn.Module, tuple[object, dict[str, str]]] = WeakKeyDictionary()


def _followers(body: nn.Module) -> dict[str, str]:
    """Return the convolutions whose output goes only to a batch norm, and that norm, by module path.

    Tracing is slow and training needs the result at every step: it is cached while the body holds the same modules.
    """
    made_of = [
        (name, id(module), type(module), _hooked(module)) for name, module in body.named_modules(remove_duplicate=False)
    ]
    if body not in _known or _known[body][0] != made_of:
        _known[body] = made_of, _pairs(view(body).eval())
    return _known[body][1]


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _pairs(body: nn.Module) -> dict[str, str]:
    try:
        graph = followed(body)
    except ValueError:
        return {}
    modules = dict(body.named_modules(remove_duplicate=False))
    calls = Counter(id(modules[str(node.target)]) for node in graph.nodes if node.op == "call_module")

    def once(node: fx.Node, *kinds: type[nn.Module]) -> bool:
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        return (
            module is not None and type(module) in kinds and calls[id(module)] == 1 and not _hooked(module) and not node.kwargs
        )

    found = {}
    for node in graph.nodes:
        if once(node, nn.BatchNorm2d, BatchNorm2d, Synchronised) and modules[str(node.target)].running_mean is not None:
            (source,) = node.all_input_nodes
            if once(source, nn.Conv2d) and len(source.users) == 1:
                found[str(source.target)] = str(node.target)
    return found


class Tracer(fx.Tracer):
    """Traces a body down to the layers of this package and of torch. Arguments with a default keep it."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = isinstance(m, NeuronLayer | MeanOverTime | Normalize | BatchNorm2d | QCFS | _Frozen)
        return own or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(self, *given: Any, **named: Any) -> tuple[Any, list[Any]]:
        call, args = super().create_args_for_root(*given, **named)
        for i, arg in enumerate(args[2:], 2):  # after the module and its input
            kind, default = str(arg.node.target).count("*"), arg.node.args
            if kind or default:
                args[i] = default[0] if default else [(), {}][kind - 1]
                self.graph.erase_node(arg.node)
        return call, args


def followed(body: nn.Module) -> fx.Graph:
    """Return the graph of a forward pass. Raises ValueError if torch.fx cannot trace it."""
    try:
        return traced(body)
    except Exception as error:  # foreign forward passes may raise anything when traced
        raise ValueError(
            f"cannot trace the forward pass of {type(body).__name__}{_line(error)}: {one_line(error)}; write it "
            "without branches or loops that depend on the data or on shapes"
        ) from error


def _line(error: BaseException) -> str:
    """Return the last line of the user's own code that an error came through, as `` at FILE, line N: CODE``."""
    ours = tuple(f"{folder}{os.sep}" for folder in (Path(torch.__file__).parent, Path(__file__).parents[1]))
    python = f"{sysconfig.get_path('stdlib')}{os.sep}"
    theirs = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.line
        and not frame.filename.startswith(ours)
        and ("site-packages" in frame.filename or not frame.filename.startswith(python))
    ]
    return f" at {theirs[-1].filename}, line {theirs[-1].lineno}: '{theirs[-1].line}'" if theirs else ""


def traced(body: nn.Module) -> fx.Graph:
    """Trace a body by torch.fx; ``len(x)`` of a tensor becomes a step."""
    scopes = {id(scope): scope for module in body.modules() if (scope := getattr(module.forward, "__globals__", None))}
    plain = [s for s in scopes.values() if s.get("len", len) is len and not str(s.get("__name__")).startswith("torch.")]
    named = [scope for scope in plain if "len" in scope]  # as in code generated by torch.fx
    for scope in plain:
        scope["len"] = _length
    try:
        return Tracer().trace(body)
    finally:
        for scope in plain:
            del scope["len"]
        for scope in named:
            scope["len"] = len


def _length(of: Any) -> Any:
    return of.tracer.create_proxy("call_function", len, (of,), {}) if isinstance(of, fx.Proxy) else len(of)


Interpreter = TypeVar("Interpreter", bound=fx.Interpreter)


def faithful(body: nn.Module, x: Tensor, interpreted: Callable[[fx.Graph], Interpreter]) -> Interpreter | None:
    """Return ``interpreted(graph)`` for the graph of ``body``; None if the body cannot be traced, or the graph computes
    something else on ``x`` than the module (as with branches on types)."""
    try:
        run = interpreted(traced(body))
        same = torch.equal(run.run(x.clone()), run.module(x.clone()))
    except Exception:  # foreign bodies may raise anything here
        return None
    return run if same else None
