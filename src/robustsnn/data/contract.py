"""Checks that a network and samples fit together, made once before measuring or training."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from robustsnn.compute import view
from robustsnn.data.samples import Samples
from robustsnn.names import one_line


def a_network(net: object) -> None:
    """Raise ValueError if ``net`` is not an ``nn.Module``."""
    if isinstance(net, str | Path):
        raise ValueError(f"the network is the text {str(net)[:80]!r}: open a checkpoint with load, and pass the result")
    if isinstance(net, type) or not isinstance(net, nn.Module):
        given = f"the class {net.__name__}" if isinstance(net, type) else f"a {type(net).__name__}"
        raise ValueError(f"the network must be an nn.Module, not {given}: pass an object of a module class")


@torch.no_grad()
def answers(net: nn.Module, samples: Samples) -> Tensor:
    """Return logits ``[n,K]`` of ``net`` in eval mode on the first two samples.

    Raises:
        ValueError: the network supports no gradients, rejects the inputs, does not return finite float32 logits, or returns
            fewer than two logits or fewer than the labels need.
    """
    few = samples.first(2)
    logits, name = takes(net, few.batch(torch.arange(len(few)))[0]), type(net).__name__
    if logits.shape[1] < 2:
        raise ValueError(f"{name} returns one number per input: return two logits, one per class")
    if len(samples) and (highest := int(samples.labels.max())) >= logits.shape[1]:
        raise ValueError(
            f"labels go up to {highest}, but {name} has logits for 0 .. {logits.shape[1] - 1} only: "
            "number the classes from 0, or use the data that the network was made for"
        )
    return logits


@torch.no_grad()
def takes(net: nn.Module, x: Tensor) -> Tensor:
    """Return the finite logits ``[n,K]`` of ``net`` in eval mode on inputs ``[n, ...]``.

    Raises:
        ValueError: the network returns anything else, rejects the inputs, or supports no gradients.
    """
    a_network(net)
    name = type(net).__name__
    for path, module in net.named_modules():
        if type(module).__module__.startswith("torch.ao.nn."):
            raise ValueError(f"layer {path!r} of {name} is quantised and has no gradient: use the unquantised network")
    for path, parameter in net.named_parameters():
        if is_lazy(parameter):
            raise ValueError(f"parameter {path!r} of {name} has no shape yet: run the network once on a sample")
        if parameter.is_meta:
            raise ValueError(f"parameter {path!r} of {name} is on the 'meta' device and has no values: load its weights")
        if parameter.is_inference():
            raise ValueError(f"{name} was made inside torch.inference_mode() and has no gradients: make or load it outside")
    x = x.to(next(net.parameters(), x).device)
    others = {parameter.dtype for parameter in net.parameters() if parameter.is_floating_point()} - {torch.float32}
    remedy = f"; parameters are {', '.join(map(str, others))}, but inputs are float32: use net.float()" if others else ""
    try:
        logits = view(net).eval()(x.clone())  # the network may write to its input
    except Exception as error:
        last = x.dim() == 4 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3)
        if x.dim() == 3:
            remedy = remedy or "; images are [N,C,H,W]: add the missing axis with x[:, None], or x[None] for one image"
        if x.dim() == 5 and not isinstance(error, ValueError):
            remedy = remedy or "; a network for images takes frames behind models.MeanOverTime()"
        if not isinstance(error, ValueError):  # whose own message says what to do
            remedy = remedy or ("; put channels first, as [N,C,H,W]" if last else "; use inputs that it was made for")
        raise ValueError(f"{name} cannot take inputs {list(x.shape)}: {one_line(error)}{remedy}") from error
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(x):
        found = list(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        steps = not isinstance(logits, Tensor) or logits.dim() == 3
        wrap = ", or wrap a spiking network that returns every time step (docs/interop.md)" if steps else ""
        raise ValueError(f"{name} returns {found} for {len(x)} inputs: return logits [{len(x)}, K], one per class{wrap}")
    if logits.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name} returns logits of {logits.dtype}{remedy or ': return float32'}")
    if not logits.isfinite().all():
        raise ValueError(f"{name} returns NaN or infinite logits: check its weights, batch-norm statistics and divisions")
    return logits
