"""How things run fast: views of module trees, layouts, exact norms, mixing, recomputation, machine code. Knows no neuron."""

from robustsnn.compute.rewiring import copied, rewire, unwrapped, view, with_tensors

__all__ = ["copied", "rewire", "unwrapped", "view", "with_tensors"]
