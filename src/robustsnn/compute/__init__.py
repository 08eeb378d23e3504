"""Fast execution: views of module trees, layouts, exact norms, mixing, recomputation, machine code. Independent of neurons."""

from robustsnn.compute.rewiring import copied, rewire, unwrapped, view, with_tensors

__all__ = ["copied", "rewire", "unwrapped", "view", "with_tensors"]
