"""A reader of NIR graphs in plain numpy that knows nothing of this project: NIR's equations, one Euler step at a time."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def run(graph, images, steps=None):
    """The output ``[T,N,...]`` of a graph for images that are its input at every step, or frames ``[N,T,...]``, and the
    spikes of its neurons by name.

    Neurons fire, and are reset, as the graph's metadata say.
    """
    facts = graph.metadata
    order, potentials, spikes, outputs = ordered(graph), {}, {}, []
    for step in range(int(steps or facts["timesteps"])):
        values = {}
        for name in order:
            node = graph.nodes[name]
            kind = type(node).__name__
            if kind == "Input":
                values[name] = images[:, step] if facts["coding"].startswith("frames") else images
                continue
            x = sum(values[source] for source, target in graph.edges if target == name)
            if kind in ("IF", "LIF"):
                values[name], potentials[name] = fire(node, x, potentials.get(name, np.zeros_like(x)), facts)
                spikes.setdefault(name, []).append(values[name])
            else:
                values[name] = STATELESS[kind](node, x)
        outputs.append(values["output"])
    return np.stack(outputs), {name: np.stack(found) for name, found in spikes.items()}


def ordered(graph):
    """Names of nodes, every one after those that it reads."""
    left, done = dict.fromkeys(graph.nodes), []
    while left:
        ready = [name for name in left if all(source in done for source, target in graph.edges if target == name)]
        assert ready, "the graph has a cycle"
        done += ready
        for name in ready:
            del left[name]
    return done


def fire(node, x, v, facts):
    """IF: dv/dt = R I. LIF: tau dv/dt = v_leak - v + R I."""
    dt = float(facts["dt"])
    if type(node).__name__ == "IF":
        v = v + gain(node.r * dt) * x
    else:
        assert not node.v_leak.any()
        v = (1 - dt / node.tau) * v + gain(node.r * dt / node.tau) * x
    s = (v > node.v_threshold if ">=" not in facts["fires"] else v >= node.v_threshold).astype(x.dtype)
    return s, v - s * node.v_threshold if facts["reset"] == "subtract" else np.where(s == 1, node.v_reset, v)


def gain(factor):
    """One, where only rounding keeps it from being one."""
    return np.where(np.isclose(factor, 1, rtol=1e-6), 1, factor).astype(factor.dtype)


def conv(node, x):
    (a, b), (s, t), (d, e) = (np.broadcast_to(value, 2) for value in (node.padding, node.stride, node.dilation))
    k, m = node.weight.shape[2:]
    x = np.pad(x, ((0, 0), (0, 0), (a, a), (b, b)))
    windows = sliding_window_view(x, (d * (k - 1) + 1, e * (m - 1) + 1), (2, 3))[:, :, ::s, ::t, ::d, ::e]
    return np.einsum("nchwkm,ockm->nohw", windows, node.weight, optimize=True) + node.bias[:, None, None]


def conv1d(node, x):
    x = np.pad(x, ((0, 0), (0, 0), (node.padding, node.padding)))
    windows = sliding_window_view(x, node.dilation * (node.weight.shape[2] - 1) + 1, 2)[:, :, :: node.stride, :: node.dilation]
    return np.einsum("nclk,ock->nol", windows, node.weight, optimize=True) + node.bias[:, None]


def summed(node, x):
    (k, m), (s, t), (a, b) = node.kernel_size, node.stride, node.padding
    x = np.pad(x, ((0, 0), (0, 0), (a, a), (b, b)))
    return sliding_window_view(x, (k, m), (2, 3))[:, :, ::s, ::t].sum((-2, -1))


def flatten(node, x):
    first, last = (axis % (x.ndim - 1) for axis in (node.start_dim, node.end_dim))
    return x.reshape(*x.shape[: first + 1], -1, *x.shape[last + 2 :])


STATELESS = {
    "Output": lambda node, x: x,
    "Affine": lambda node, x: x @ node.weight.T + node.bias,
    "Scale": lambda node, x: x * node.scale,
    "Conv1d": conv1d,
    "Conv2d": conv,
    "SumPool2d": summed,
    "AvgPool2d": lambda node, x: summed(node, x) / np.prod(node.kernel_size).astype(x.dtype),
    "Flatten": flatten,
}
