"""Intervals through a whole network, step by step along its graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from robustsnn.certification.boxes import Affine, Box, Norm, normalised, weighted
from robustsnn.certification.firing import Rule, fired
from robustsnn.certification.spans import Span
from robustsnn.conversion.operations import (
    DROPOUTS,
    JOINS,
    MAX_POOLS,
    MEANS,
    NORMS,
    POOLS,
    PRODUCTS,
    QUOTIENTS,
    RELU,
    SHAPES,
    SIZES,
    SUMS,
    TOTALS,
    WEIGHTS,
    kind_of,
)
from robustsnn.models import QCFS
from robustsnn.spiking import NeuronLayer

AFFINE = (WEIGHTS, NORMS, POOLS, MEANS, SHAPES, DROPOUTS, SUMS, JOINS, TOTALS, PRODUCTS, QUOTIENTS, SIZES)
"""Operations that may stand between a `Span` and the first neurons."""


class Propagation(fx.Interpreter):
    """Runs a body on a `Box`, or on the basis of a `Span` until the first neurons.

    Arguments:
        body: the body, in eval mode; graph: its graph.
        rule: how neurons are bounded.
        span: what the first neurons see, if the input is its basis.
        dense: whether the body is an ANN, whose activations and max-pools never fall if their input rises.
    """

    def __init__(self, body: nn.Module, graph: fx.Graph, rule: Rule, span: Span | None, dense: bool) -> None:
        super().__init__(body, graph=graph)
        self.extra_traceback = False
        self.rule, self.span, self.dense = rule, span, dense
        self.counts: dict[str, tuple[Tensor, Tensor]] = {}
        self.read: tuple[nn.Linear, Box] | None = None
        (last,) = next(node for node in graph.nodes if node.op == "output").all_input_nodes
        self.last = last

    def run_node(self, n: fx.Node) -> Any:
        module = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        boxes = [each for each in _flat(args, kwargs) if isinstance(each, Box)]
        if n.op == "output":
            return super().run_node(n)
        if isinstance(module, NeuronLayer):
            return self._fired(n, module, args[0])
        kind = kind_of(n, module)
        if not boxes:
            if self.span is not None and n.op.startswith("call") and kind not in AFFINE:
                raise ValueError(f"step {n.name!r} before the first neurons is not linear and has no intervals: use Smoothing")
            return super().run_node(n)
        if n is self.last and type(module) is nn.Linear:
            self.read = module, args[0]
        found = self._bounded(n, kind, module, args, kwargs)
        if found is None:
            what = getattr(n.target, "__name__", n.target) if module is None else type(module).__name__
            raise ValueError(f"step {n.name!r} ({what}) has no intervals: use Smoothing, which takes any network")
        return found

    def _fired(self, n: fx.Node, layer: NeuronLayer, given: Any) -> Box:
        if isinstance(given, Tensor):
            assert self.span is not None
            given = self.span.box(given)
        found, self.counts[str(n.target)] = fired(layer, given, self.rule)
        return found

    def _bounded(self, n: fx.Node, kind: Any, module: Any, args: Any, kwargs: Any) -> Any:
        """Return the result of a step with a box among its arguments; None if it has no intervals."""

        def of(part: str, values: Any) -> Any:
            return fx.node.map_aggregate(values, lambda each: getattr(each, part) if isinstance(each, Box) else each)

        def run(values: Any, named: Any) -> Any:
            if module is not None:
                return module(*values, **named)
            if n.op == "call_method":
                return getattr(values[0], str(n.target))(*values[1:], **named)
            return n.target(*values, **named)  # type: ignore[operator]

        def each(box: Box) -> Box:
            center, radius = (run(of(part, args), of(part, kwargs)) for part in ("center", "radius"))
            return Box(center, radius, box.times, box.slack)

        box = next(value for value in _flat(args, kwargs) if isinstance(value, Box))
        if isinstance(module, Affine):
            return weighted(module, box)
        if isinstance(module, Norm):
            return normalised(module, box)
        if isinstance(module, QCFS) or (kind is RELU and self.dense):
            return box.monotone(module if module is not None else torch.relu)
        if kind is MAX_POOLS and self.dense:
            return box.monotone(lambda x: run((x, *args[1:]), kwargs))
        if kind is DROPOUTS:
            return box
        if kind is SIZES:
            return run(of("center", args), of("center", kwargs))
        padded = getattr(module, "value", 0) or kwargs.get("value") or (len(args) > 3 and n.target is nn.functional.pad)
        if kind in (POOLS, MEANS, TOTALS, JOINS) or (kind is SHAPES and not padded):
            return each(box)
        if kind is SUMS:
            return self._sum(str(getattr(n.target, "__name__", n.target)), args)
        if kind in (PRODUCTS, QUOTIENTS) and not all(isinstance(value, Box) for value in args[:2]):
            if kind is QUOTIENTS:
                return box.scaled(1 / args[1]) if isinstance(args[0], Box) else None
            return box.scaled(args[1] if isinstance(args[0], Box) else args[0])
        return None

    def _sum(self, name: str, args: Any) -> Any:
        sign = -1.0 if "sub" in name else 1.0
        if "neg" in name:
            return args[0].scaled(-1.0)
        one, other = args[:2]
        if isinstance(one, Box) and isinstance(other, Box):
            return one.plus(other, sign)
        return one.shifted(sign * other) if isinstance(one, Box) else other.scaled(sign).shifted(one)


def _flat(*values: Any) -> list[Any]:
    found: list[Any] = []
    fx.node.map_aggregate(values, found.append)
    return found
